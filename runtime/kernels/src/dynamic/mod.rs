//! Layers over an input whose quantization is known at run time only (ONNX's DynamicQuantizeLinear, MatMulInteger,
//! ConvInteger).
//!
//! The input's bytes are multiplied as they are stored; what its zero point is off by is as many times the sum of a
//! column's weights, and comes off each sum at the end. The sums are exact, and what follows is one sequence of IEEE
//! operations for each element, so that the floats too are the same bits on every CPU.

mod convolution;
mod linear;
mod range;
mod scaling;

pub use convolution::DynamicConvolution;
pub use linear::DynamicLinear;
pub(crate) use range::bounds;
pub use scaling::{Scaled, ScaledWeights, Scaling};
