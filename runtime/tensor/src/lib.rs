//! Element types, shapes, owned tensors, quantization parameters and comparison.
//!
//! The words that every other crate speaks. Nothing here does I/O, reads a clock or an environment variable;
//! every size is checked before memory is reserved for it, and no input makes a function of this crate panic.
#![forbid(unsafe_code)]

mod compare;
mod convert;
mod element;
mod error;
mod quantization;
mod spec;
mod tensor;

pub use compare::{Difference, Tolerance, compare};
pub use element::{ElementType, Value};
pub use error::TensorError;
pub use quantization::{QuantizationParameters, QuantizationPlan};
pub use spec::{Dimension, TensorSpec};
pub use tensor::{NamedTensor, TENSOR_BYTES_MAX, TENSOR_RANK_MAX, Tensor};

#[cfg(target_endian = "big")]
compile_error!("tensors are little-endian in memory; a big-endian target needs its own conversion first");
