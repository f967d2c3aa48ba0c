//! The way of a container: made, started, stopped, removed, and healed after a kill. A file for each verb.

mod copy_tree;
pub(crate) mod copy_up;
pub(crate) mod create;
pub(crate) mod heal;
pub(crate) mod hosts;
pub(crate) mod launch;
pub(crate) mod network;
pub(crate) mod remove;
pub(crate) mod start;
pub(crate) mod stop;
