//! This machine's containers: a file for each operation of docker's API, and the parts of creating one.

mod config;
pub mod create;
pub mod inspect;
pub mod leases;
pub mod lifecycle;
pub mod limits;
pub mod list;
pub mod mounts;
mod networks;
mod ports;
pub mod prune;
pub mod remove;
pub mod status;
pub mod update;

pub use create::{Begun, CreateContainer, Unfinished};
pub use list::ListContainers;
pub use prune::{PruneContainers, PrunedContainers};
pub use remove::RemoveContainer;
pub use update::UpdateContainer;
