//! How the large float steps are cut into parts for the threads of a run.

use runtime_kernels::{AcrossChannels, FloatConvolution, FloatFunction, FloatLinear, FloatProduct};

use super::Workers;
use super::workers::BYTES_MIN;

/// Products of bytes that take as long as one of floats: so many share a lane.
pub(super) const PRODUCT_COST: usize = 4;

pub(super) fn convolution_cost(convolution: &FloatConvolution) -> usize {
    let slower = if convolution.is_depthwise() { 3 } else { 1 };
    convolution.products() * PRODUCT_COST * slower
}

pub(super) fn linear_cost(linear: &FloatLinear, rows: usize) -> usize {
    rows * linear.depth() * linear.columns() * PRODUCT_COST
}

impl Workers<'_> {
    pub(super) fn convolve_floats(
        &mut self,
        convolution: &FloatConvolution,
        input: &[f32],
        added: Option<&[f32]>,
        output: &mut [f32],
    ) {
        let lines = convolution.lines();
        let part = self.part(lines, convolution_cost(convolution));
        if part >= lines || output.len() != convolution.output_length() {
            convolution.run(input, added, &mut self.scratches[0], output);
            return;
        }
        let line = output.len() / lines;
        self.team.share(self.scratches, output, (part * line).max(1), |scratch, number, output| {
            let first = number * part;
            let added = added.map(|added| &added[first * line..]);
            convolution.run_lines(input, added, first..first + output.len() / line, scratch, output);
        });
    }

    pub(super) fn linear_floats(
        &mut self,
        linear: &FloatLinear,
        input: &[f32],
        rows: usize,
        added: Option<&[f32]>,
        output: &mut [f32],
    ) {
        let (depth, columns) = (linear.depth(), linear.columns());
        let part = self.part(rows, linear_cost(linear, rows));
        self.team.share(self.scratches, output, (part * columns).max(1), |_, number, data| {
            let rows = data.len() / columns.max(1);
            let input = &input[number * part * depth..][..rows * depth];
            linear.run(input, rows, added.map(|added| &added[number * part * columns..]), data);
        });
    }

    pub(super) fn product(&mut self, product: &FloatProduct, [a, b]: [&[f32]; 2], output: &mut [f32]) {
        let (table, matrices) = (self.table, product.matrices());
        if matrices == 0 {
            return;
        }
        // Matrices that lie between each other are one thread's.
        let part = if product.is_plain() { self.part(matrices, product.products() * PRODUCT_COST) } else { matrices };
        let length = if part == matrices { output.len() } else { output.len() / matrices * part };
        self.team.share(self.scratches, output, length.max(1), |scratch, number, output| {
            let first = number * part;
            product.run(table, (first, part.min(matrices - first)), (a, b), scratch, output);
        });
    }

    pub(super) fn function(&mut self, function: FloatFunction, input: &[f32], output: &mut [f32]) {
        let table = self.table;
        self.each(input, output, |input, output| table.float_function(function, input, output));
    }

    pub(super) fn across_channels(&mut self, norm: &AcrossChannels, input: &[f32], output: &mut [f32]) {
        let (channels, table) = (norm.channels.max(1), self.table);
        let shared = self.team.size() > 1 && output.len() * 4 >= BYTES_MIN;
        let pixels = output.len() / channels;
        let part = if shared { pixels.div_ceil(self.team.size()) } else { pixels };
        let length = part.max(1) * channels;
        self.team.share(self.scratches, output, length, |_, number, output| {
            table.across_channels(norm, &input[number * length..][..output.len()], output);
        });
    }
}
