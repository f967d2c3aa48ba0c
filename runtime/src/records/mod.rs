//! What is written down about containers and volumes, where it is, and how it is read back.

pub(crate) mod allowed;
pub mod config;
pub(crate) mod details;
pub(crate) mod list;
pub(crate) mod made_up_names;
pub(crate) mod resolve;
pub(crate) mod roots;
pub mod state;
pub(crate) mod volumes;
