//! From exact sums to real numbers, when the scale is known at run time.

use crate::error::{expect_length, expect_scale};
use crate::scratch::room;
use crate::{Affine, FloatEnd, KernelError, Scratch, Table};

/// What each column's sums become: `(sum - zero point * sum of its weights) * (x_scale * w_scale) + bias`, held
/// between two bounds; each operation rounded on its own, as ONNX's Cast, Mul and Add.
#[derive(Clone, Debug)]
pub struct Scaling {
    weight_sums: Vec<i32>,
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
}

impl Scaling {
    /// `weights` has `depth` weights for each of the columns, `weight_scales` one scale each.
    pub(crate) fn new(weights: &[i8], depth: usize, weight_scales: &[f32]) -> Result<Self, KernelError> {
        for &scale in weight_scales {
            expect_scale(scale)?;
        }
        expect_length("the number of weights", weights.len(), depth.saturating_mul(weight_scales.len()))?;
        let sum = |column: usize| weights[column * depth..][..depth].iter().map(|&weight| i32::from(weight)).sum();
        Ok(Self {
            weight_sums: (0..weight_scales.len()).map(sum).collect(),
            weight_scales: weight_scales.to_vec(),
            bias: vec![0.0; weight_scales.len()],
            end: FloatEnd::default(),
        })
    }

    /// That of sums over differences from the zero point: nothing comes off them.
    pub fn of_differences(weight_scales: &[f32]) -> Result<Self, KernelError> {
        Self::new(&[], 0, weight_scales)
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
        (self.weight_sums.len() + self.weight_scales.len() + self.bias.len()) * 4
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
        let scaled =
            Scaled { shifts: columns_shifts, multipliers: columns_multipliers, bias: &self.bias, end: self.end };
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
        Scaled {
            shifts: &self.shifts[first..first + count],
            multipliers: &self.multipliers[first..first + count],
            bias: &self.bias[first..first + count],
            end: self.end,
        }
    }

    /// One row of sums, from the first column on.
    #[inline(always)]
    pub(crate) fn row(&self, sums: &[i32], output: &mut [f32]) {
        let columns = self.multipliers.iter().zip(self.bias).zip(self.shifts);
        for ((place, &sum), ((&multiplier, &bias), &shift)) in output.iter_mut().zip(sums).zip(columns) {
            *place = self.finish(sum.wrapping_add(shift) as f32, multiplier, bias);
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
