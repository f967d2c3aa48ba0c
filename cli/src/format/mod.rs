//! How values and lists look: sizes and times for people, tables, templates, bars.

pub(crate) mod human;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod table;
