//! Pulling images.

mod progress;

pub use progress::{LayerEvent, NoProgress, Progress};
