//! What is written down about containers and volumes, where it is, and how it is read back.

pub(crate) mod allowed;
pub mod config;
pub mod details;
pub mod list;
pub mod made_up_names;
pub(crate) mod resolve;
pub mod roots;
pub mod state;
pub mod volumes;
