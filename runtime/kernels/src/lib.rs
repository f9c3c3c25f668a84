//! Integer kernels whose scalar form is the definition.
//!
//! Activations are `u8`, channels last; weights `i8`; accumulators `i32`. Signed activations are stored with 128
//! added, zero points too, which changes no difference between the two ([`SIGNED_OFFSET`]). Every kernel gives the
//! same bytes on every CPU: sums of products are exact, and what is float is a fixed sequence of IEEE operations
//! (one multiplication, one clamp, one rounding half to even; never a reciprocal). The only fused multiply-add is
//! in [`Add`], where ONNX Runtime has one, and there it is part of the definition.
//!
//! Beside them stand float kernels of the same shapes of work. Sums of products among them agree within tolerances
//! only: a model that uses one is of numerics class float.
//!
//! [`dispatch`] gives the table of functions of one instruction set. Another instruction set is one more file with
//! these functions and one more row; [`Table`]'s tests hold every row to the scalar one. x86-64 and 64-bit ARM have
//! rows of their own; 32-bit ARM runs the scalar one.
//!
//! **Invariant**: nothing here allocates while it runs, except that a [`Scratch`] grows to its largest use once.
#![deny(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod add;
mod aligned;
mod border;
mod convolution;
mod dense;
mod depthwise;
mod dynamic;
mod elementwise;
mod error;
mod float;
mod floats;
mod grouped;
mod layer_norm;
mod layout;
mod lookup;
mod order;
mod output;
mod pairwise;
mod pool;
mod product;
mod reading;
mod requantize;
mod resize;
mod rows;
mod scalar;
mod scratch;
mod softmax;
mod stored;
mod table;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tiles;
mod window;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use add::{Add, AddSide};
pub use aligned::AlignedFloats;
pub use border::Affine;
pub use convolution::{Convolution, ConvolutionShape, OutputScale};
pub use dense::{DEPTH_MAX, DenseWeights, Linear};
pub use depthwise::DepthwiseWeights;
pub use dynamic::{DynamicConvolution, DynamicLinear, Scaled, ScaledWeights, Scaling};
pub use error::KernelError;
pub use float::{sigmoid, softmax};
pub use floats::{
    AcrossChannels, Binary, Broadcast, FloatConvolution, FloatEnd, FloatFunction, FloatLinear, FloatPool, FloatProduct,
    FloatWeight, ProductSide,
};
pub use layer_norm::LayerNorm;
pub use layout::{Permutation, concat_rows};
pub use lookup::Lookup;
pub use order::WeightOrder;
pub use output::Output;
pub use pairwise::Pairwise;
pub use pool::{AveragePool, GlobalAveragePool};
pub use product::Product;
pub use requantize::{Requantization, round_half_even};
pub use resize::NearestResize;
pub use scratch::Scratch;
pub use softmax::StoredSoftmax;
pub use table::{Isa, Table, dispatch, fastest};
pub use window::Window;

/// What is added to a signed 8-bit value to store it as `u8`.
pub const SIGNED_OFFSET: i32 = 128;
