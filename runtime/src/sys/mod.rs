//! The only place in this crate that talks to the kernel without the compiler's help.
#![allow(unsafe_code)]
