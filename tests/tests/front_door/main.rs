//! Through the front door: `skep` as people and programs meet it, on nodes of a lab. One program, so that the tests of
//! every part run side by side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod badinput;
mod binary;
mod containers;
mod faults;
mod filters;
mod golden;
mod house;
mod images;
mod lab;
mod library;
mod machine;
mod names;
mod network;
mod programs;
mod swarm;
mod terminal;
mod vagrant;
