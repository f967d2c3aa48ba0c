//! This machine's containers: a file for each operation of docker's API, and the parts of creating one.

pub mod inspect;
pub mod limits;
pub mod list;
mod ports;
pub mod prune;
pub mod status;

pub use list::ListContainers;
pub use prune::{PruneContainers, PrunedContainers};

/// The first 12 digits of an id.
pub fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
