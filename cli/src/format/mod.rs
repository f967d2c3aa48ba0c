//! How values and lists look: sizes and times for people, tables, templates, bars.

pub mod human;
pub mod output;
pub mod progress;
pub mod table;
