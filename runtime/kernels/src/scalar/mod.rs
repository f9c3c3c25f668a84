//! Plain Rust: the definition of every result, written so that the compiler finds the vector instructions that a
//! target has without being asked.

mod dense;
pub(crate) mod depthwise;

use crate::dynamic;
use crate::elementwise::ElementwiseKernel;
use crate::table::{DenseKernel, DepthwiseKernel};
use crate::{Add, AveragePool, GlobalAveragePool, Isa, Permutation, Product, Requantization, Table, border, pool};

pub(crate) const TABLE: Table = Table {
    isa: Isa::Scalar,
    available: || true,
    dense: DenseKernel { pack: dense::pack, run: dense::run },
    depthwise: DepthwiseKernel { pack: depthwise::pack, run: depthwise::run },
    product: Product::run_plain,
    elementwise: ElementwiseKernel {
        add: Add::run,
        quantize: border::quantize,
        dequantize: border::dequantize,
        requantize: Requantization::apply_shifted,
        bounds: dynamic::bounds,
        scale: |scaled, first, sums, output| scaled.rows(first, sums, output),
        sum_rows: |rows, length, sums| rows.sums(length, sums, |bytes| bytes.iter().map(|&byte| u32::from(byte)).sum()),
        scale_floats: |scaled, sums, output| scaled.row_of_floats(sums, output),
        permute: Permutation::run_bytes,
        max_pool: pool::max_pool,
        average_pool: AveragePool::run,
        global_average_pool: GlobalAveragePool::run,
    },
    stored: crate::stored::StoredKernel::PLAIN,
    float: crate::floats::lanes::SCALAR,
};
