//! From exact sums to real numbers, when the scale is known at run time.

use crate::error::{expect_length, expect_scale};
use crate::product::PRODUCT_DEPTH_MAX;
use crate::rows::Rows;
use crate::scratch::room;
use crate::{Affine, FloatEnd, KernelError, Scratch, Table, WeightOrder};

/// Weights as they are packed, and what they stand for.
#[derive(Clone, Copy, Debug)]
pub struct ScaledWeights<'a> {
    /// One column's after the other's, or as `order` says.
    pub values: &'a [i8],
    /// How they lie.
    pub order: WeightOrder,
    /// What the model's weights are more than `values`, one number a column or none: 128 less the zero point of
    /// unsigned weights, for instance.
    pub offsets: &'a [i32],
    /// One a column.
    pub scales: &'a [f32],
}

/// What each column's sums become: `(sum - zero point * sum of its weights) * (x_scale * w_scale) + bias`, held
/// between two bounds; each operation rounded on its own, as ONNX's Cast, Mul and Add.
#[derive(Clone, Debug)]
pub struct Scaling {
    weight_sums: Vec<i32>,
    offsets: Vec<i32>,
    weight_scales: Vec<f32>,
    bias: Vec<f32>,
    end: FloatEnd,
}

/// A [`Scaling`] for one quantization of the input.
#[derive(Clone, Copy, Debug)]
pub struct Scaled<'a> {
    /// What is added to each column's sums.
    pub(crate) shifts: &'a [i32],
    pub(crate) multipliers: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) end: FloatEnd,
    /// What is added to each column's sums as many times as the sum of the row's bytes; may be empty.
    pub(crate) offsets: &'a [i32],
    /// Those sums, from the first row on; empty as `offsets` is.
    pub(crate) row_sums: &'a [i32],
}

impl Scaling {
    /// `weights` has `depth` weights for each of the columns.
    pub(crate) fn new(weights: &ScaledWeights<'_>, depth: usize) -> Result<Self, KernelError> {
        let ScaledWeights { values, order, offsets, scales } = *weights;
        let columns = scales.len();
        for &scale in scales {
            expect_scale(scale)?;
        }
        expect_length("the number of weights", values.len(), depth.saturating_mul(columns))?;
        if !offsets.is_empty() {
            expect_length("the number of offsets", offsets.len(), columns)?;
            // A byte times the difference of two.
            if depth > PRODUCT_DEPTH_MAX {
                return Err(KernelError::Depth { found: depth, max: PRODUCT_DEPTH_MAX });
            }
        }
        let mut room = Vec::new();
        let sum = |column: usize| {
            let own = order.columns(values, (depth, columns), column..column + 1, &mut room);
            let own: i32 = own.iter().map(|&weight| i32::from(weight)).sum();
            own.wrapping_add(offsets.get(column).unwrap_or(&0).wrapping_mul(depth as i32))
        };
        Ok(Self {
            weight_sums: (0..columns).map(sum).collect(),
            offsets: offsets.to_vec(),
            weight_scales: scales.to_vec(),
            bias: vec![0.0; columns],
            end: FloatEnd::default(),
        })
    }

    /// That of sums over differences from the zero point: nothing comes off them.
    pub fn of_differences(weight_scales: &[f32]) -> Result<Self, KernelError> {
        Self::new(&ScaledWeights { values: &[], order: WeightOrder::Columns, offsets: &[], scales: weight_scales }, 0)
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.weight_scales.len()
    }

    /// Adds `row`, one number a column, to the results. Before any bounds only.
    pub fn add_bias(&mut self, row: &[f32]) -> Result<(), KernelError> {
        expect_length("the length of the bias", row.len(), self.columns())?;
        self.bias.iter_mut().zip(row).for_each(|(bias, more)| *bias += more);
        Ok(())
    }

    /// Whether a bias was added; a second one would be another sum than the model's.
    pub fn has_bias(&self) -> bool {
        self.bias.iter().any(|&bias| bias != 0.0)
    }

    /// The bounds behind the bias.
    pub fn end(&self) -> FloatEnd {
        self.end
    }

    /// The same, to be changed.
    pub fn end_mut(&mut self) -> &mut FloatEnd {
        &mut self.end
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        (self.weight_sums.len() + self.offsets.len() + self.weight_scales.len() + self.bias.len()) * 4
    }

    /// Calls `run` with what `x` makes of it.
    pub(crate) fn at(&self, x: &Affine, scratch: &mut Scratch, run: impl FnOnce(Scaled<'_>, &mut Scratch)) {
        // Taken out for the time of the run: the kernels have the rest of the scratch.
        let (mut shifts, mut multipliers) =
            (std::mem::take(&mut scratch.shifts), std::mem::take(&mut scratch.multipliers));
        let (columns_shifts, columns_multipliers) =
            (room(&mut shifts, self.columns()), room(&mut multipliers, self.columns()));
        for (shift, sum) in columns_shifts.iter_mut().zip(&self.weight_sums) {
            *shift = x.zero_point.wrapping_mul(*sum).wrapping_neg();
        }
        for (multiplier, scale) in columns_multipliers.iter_mut().zip(&self.weight_scales) {
            *multiplier = x.scale * scale;
        }
        let scaled = Scaled {
            shifts: columns_shifts,
            multipliers: columns_multipliers,
            bias: &self.bias,
            end: self.end,
            offsets: &self.offsets,
            row_sums: &[],
        };
        run(scaled, scratch);
        (scratch.shifts, scratch.multipliers) = (shifts, multipliers);
    }

    /// Scales sums that are floats already: rows of one element a column.
    pub fn run(&self, table: &Table, x: &Affine, sums: &[f32], scratch: &mut Scratch, output: &mut [f32]) {
        let columns = self.columns().max(1);
        self.at(x, scratch, |scaled, _| {
            let rows = sums.chunks_exact(columns).zip(output.chunks_exact_mut(columns));
            rows.for_each(|(sums, output)| (table.elementwise.scale_floats)(&scaled, sums, output));
        });
    }
}

impl Scaled<'_> {
    /// Those of the columns from `first` on, as many as `count`.
    pub(crate) fn part(&self, first: usize, count: usize) -> Scaled<'_> {
        let offsets = if self.offsets.is_empty() { self.offsets } else { &self.offsets[first..first + count] };
        Scaled {
            offsets,
            row_sums: self.row_sums,
            shifts: &self.shifts[first..first + count],
            multipliers: &self.multipliers[first..first + count],
            bias: &self.bias[first..first + count],
            end: self.end,
        }
    }

    /// Calls `run` with the sums of the bytes of `rows`, `length` of each piece, if there are offsets to multiply.
    pub(crate) fn with_row_sums(
        &self,
        table: &Table,
        rows: &Rows<'_>,
        length: usize,
        scratch: &mut Scratch,
        run: impl FnOnce(Scaled<'_>, &mut Scratch),
    ) {
        if self.offsets.is_empty() {
            return run(*self, scratch);
        }
        rows.with_sums(table, length, scratch, |sums, scratch| run(Scaled { row_sums: sums, ..*self }, scratch));
    }

    /// Rows of sums and of the output, each with its distance from row to row, the first being row `first`.
    #[inline(always)]
    pub(crate) fn rows(&self, first: usize, (sums, width): (&[i32], usize), (output, stride): (&mut [f32], usize)) {
        let columns = self.multipliers.len();
        for (number, sums) in sums.chunks_exact(width.max(1)).enumerate() {
            self.row(first + number, &sums[..columns], &mut output[number * stride..][..columns]);
        }
    }

    /// Row `row` of sums, from the first column on.
    #[inline(always)]
    fn row(&self, row: usize, sums: &[i32], output: &mut [f32]) {
        if let Some(&row_sum) = self.row_sums.get(row) {
            return self.row_with_offsets(row_sum, sums, output);
        }
        let columns = self.multipliers.iter().zip(self.bias).zip(self.shifts);
        for ((place, &sum), ((&multiplier, &bias), &shift)) in output.iter_mut().zip(sums).zip(columns) {
            *place = self.finish(sum.wrapping_add(shift) as f32, multiplier, bias);
        }
    }

    #[inline(always)]
    fn row_with_offsets(&self, row_sum: i32, sums: &[i32], output: &mut [f32]) {
        let columns = self.multipliers.iter().zip(self.bias).zip(self.shifts).zip(self.offsets);
        for ((place, &sum), (((&multiplier, &bias), &shift), &offset)) in output.iter_mut().zip(sums).zip(columns) {
            let sum = sum.wrapping_add(shift).wrapping_add(offset.wrapping_mul(row_sum));
            *place = self.finish(sum as f32, multiplier, bias);
        }
    }

    /// One row of sums that are floats, from the first column on.
    #[inline(always)]
    pub(crate) fn row_of_floats(&self, sums: &[f32], output: &mut [f32]) {
        let columns = self.multipliers.iter().zip(self.bias);
        for ((place, &sum), (&multiplier, &bias)) in output.iter_mut().zip(sums).zip(columns) {
            *place = self.finish(sum, multiplier, bias);
        }
    }

    /// NaN stays NaN.
    #[inline(always)]
    fn finish(&self, sum: f32, multiplier: f32, bias: f32) -> f32 {
        let value = sum * multiplier + bias;
        let raised = if self.end.low > value { self.end.low } else { value };
        if self.end.high < raised { self.end.high } else { raised }
    }
}
