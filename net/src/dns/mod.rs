//! Names of containers and services.

pub mod records;
