//! A simulated swarm, for tests and for `make sim`: the real brains, control API and worker steps, machines that only
//! pretend, and time that is turned by hand.

mod machine;
mod specs;
mod world;

pub use machine::{Container, Fate, Machine};
pub use specs::{image, on_network, published, replicated, scale};
pub use world::{SECOND, World};

#[cfg(test)]
mod faults;
#[cfg(test)]
mod live;
#[cfg(test)]
mod placement;
#[cfg(test)]
mod services;
#[cfg(test)]
mod update;
