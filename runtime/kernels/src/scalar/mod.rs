//! Plain Rust: the definition of every result, written so that the compiler finds the vector instructions that a
//! target has without being asked.

mod dense;
pub(crate) mod depthwise;

use crate::{DenseKernel, DepthwiseKernel, Isa, Table};

pub(crate) const TABLE: Table = Table {
    isa: Isa::Scalar,
    available: || true,
    dense: DenseKernel { pack: dense::pack, run: dense::run },
    depthwise: DepthwiseKernel { pack: depthwise::pack, run: depthwise::run },
};
