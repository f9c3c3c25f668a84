//! Float kernels: `f32`, channels last, the same shapes of work as the integer kernels.
//!
//! Sums of products are made in another order, and with fused multiply-adds, on every instruction set: answers agree
//! within tolerances, not to the byte, and a model that uses one is of numerics class float. The other loops
//! ([`loops`]) are one sequence of IEEE operations each, lanes of a sum included, and give the same bits on every
//! instruction set; their functions are polynomials that are right to a few units in the last place. The functions of
//! [`float`](crate::float) are those of `libm`.
//!
//! [`lanes`] has the kernels written once for every width of vectors; an instruction set gives its [`lanes::Vector`]
//! and one [`FloatKernel`].

mod across_channels;
mod broadcast;
mod convolution;
mod dense;
mod depthwise;
mod function;
pub(crate) mod lanes;
mod loops;
mod normalize;
mod pool;
mod product;
mod tiles;

pub use across_channels::AcrossChannels;
pub use broadcast::{Binary, Broadcast};
pub use convolution::{FloatConvolution, FloatEnd};
pub use dense::{FloatLinear, FloatWeight};
pub use function::FloatFunction;
pub use pool::FloatPool;
pub use product::{FloatProduct, ProductSide};

pub(crate) use depthwise::FloatDepthwiseRun;
pub(crate) use loops::FloatLoops;
#[cfg(target_arch = "x86_64")]
pub(crate) use normalize::{layer_norm, softmax};
#[cfg(target_arch = "x86_64")]
pub(crate) use tiles::pack;
pub(crate) use tiles::{FloatTile, FloatTileShape};

/// The float functions of one instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FloatKernel {
    /// Its tiles: how weights are packed.
    pub(crate) shape: FloatTileShape,
    /// Multiplies one tile.
    pub(crate) tile: fn(FloatTile<'_>),
    /// Some lines of a depthwise convolution.
    pub(crate) depthwise: fn(FloatDepthwiseRun<'_>),
    /// Channels of one vector.
    pub(crate) depthwise_lanes: usize,
    pub(crate) loops: FloatLoops,
}
