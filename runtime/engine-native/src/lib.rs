//! The default engine: integer regions on own kernels, tract for the rest.
#![forbid(unsafe_code)]

mod engine;

pub use engine::NativeEngine;
