//! The default engine: integer regions on own kernels, tract for the rest.
//!
//! A model whose every node the kernels cover (QDQ, or ONNX's quantized operators) is compiled to a flat program over
//! one planned arena and answers exactly: the same bytes on every CPU. Any other model runs in tract, in float, and
//! the session's coverage says which nodes kept it from being exact.
//!
//! **Invariants**: a compiled program allocates nothing while it runs but its outputs; no bytes, model or request,
//! make this crate panic past its border.
#![forbid(unsafe_code)]

mod compiled;
mod engine;
mod expand;
mod fallback;
mod program;
mod region;
mod simplify;
mod write_out;

pub use engine::NativeEngine;
