//! What a table has for quantized rows beside products: functions by table, two tensors spread over each other,
//! normalizations.

use crate::{Broadcast, LayerNorm, Lookup, Pairwise, Scratch, StoredSoftmax, Table};

/// The loops of one instruction set. All of them give the scalar loops' bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredKernel {
    pub(crate) lookup: fn(&Lookup, &[u8], &mut [u8]),
    pub(crate) pairwise: fn(&Pairwise, &Broadcast, [&[u8]; 2], &mut [u8]),
    pub(crate) layer_norm: fn(&LayerNorm, &[u8], &mut [u8]),
    pub(crate) layer_norm_floats: fn(&LayerNorm, &[u8], &mut [f32]),
    pub(crate) softmax: fn(&StoredSoftmax, &[u8], &mut Scratch, &mut [u8]),
    pub(crate) softmax_floats: fn(&StoredSoftmax, &[u8], &mut [f32]),
}

impl StoredKernel {
    /// Compiled for what every CPU of the target has, without a fused multiply-add.
    pub(crate) const PLAIN: Self = Self {
        lookup: Lookup::run,
        pairwise: Pairwise::run::<false>,
        layer_norm: LayerNorm::run,
        layer_norm_floats: LayerNorm::run_floats,
        softmax: StoredSoftmax::run,
        softmax_floats: StoredSoftmax::run_floats,
    };
}

impl Table {
    /// `lookup` of every byte.
    pub fn lookup(&self, lookup: &Lookup, input: &[u8], output: &mut [u8]) {
        (self.stored.lookup)(lookup, input, output);
    }

    /// An operation of two tensors that are spread over each other.
    pub fn pairwise(&self, pairwise: &Pairwise, shape: &Broadcast, sides: [&[u8]; 2], output: &mut [u8]) {
        (self.stored.pairwise)(pairwise, shape, sides, output);
    }

    /// Layer normalization of whole rows to bytes.
    pub fn stored_layer_norm(&self, norm: &LayerNorm, input: &[u8], output: &mut [u8]) {
        (self.stored.layer_norm)(norm, input, output);
    }

    /// Layer normalization of whole rows to floats.
    pub fn stored_layer_norm_floats(&self, norm: &LayerNorm, input: &[u8], output: &mut [f32]) {
        (self.stored.layer_norm_floats)(norm, input, output);
    }

    /// Softmax of whole rows to bytes.
    pub fn stored_softmax(&self, softmax: &StoredSoftmax, input: &[u8], scratch: &mut Scratch, output: &mut [u8]) {
        (self.stored.softmax)(softmax, input, scratch, output);
    }

    /// Softmax of whole rows to floats.
    pub fn stored_softmax_floats(&self, softmax: &StoredSoftmax, input: &[u8], output: &mut [f32]) {
        (self.stored.softmax_floats)(softmax, input, output);
    }
}
