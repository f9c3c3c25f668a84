//! The default engine: a program of own kernels, or tract.
//!
//! A model whose every node the kernels cover is compiled to a flat program over one planned arena. Where it is
//! quantized throughout (QDQ, or ONNX's quantized operators) it answers exactly: the same bytes on every CPU. Where a
//! step does float arithmetic its answers agree within a tolerance. Of any other model each connected region that the
//! kernels cover is such a program and one operator of a graph that runs in tract, in float; the session's coverage
//! says which nodes are in none and why.
//!
//! **Invariants**: from its second run on a compiled program allocates nothing but its outputs; no bytes, model or request,
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
