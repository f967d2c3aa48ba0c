//! The protobuf types and services, generated from `proto/`. Their documentation is in those files.

#![allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]

tonic::include_proto!("skep.v1");
