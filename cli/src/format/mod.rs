pub mod human;
pub mod output;
pub mod progress;

pub mod table;
pub mod template;
