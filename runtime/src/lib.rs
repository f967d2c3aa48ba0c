//! runtime

pub mod sandbox;
mod sys;
