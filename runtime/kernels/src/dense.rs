//! Rows times a matrix of weights: what linear layers and convolutions come down to.

use crate::error::{expect_length, expect_zero_point};
use crate::{KernelError, Requantization};

/// Products that one sum may have: 65,793 * 255 * 128 is the first that an `i32` might not hold.
pub const DEPTH_MAX: usize = (i32::MAX as usize) / (255 * 128);

/// A matrix of weights before packing.
#[derive(Clone, Copy, Debug)]
pub struct DenseWeights<'a> {
    /// `columns` rows of `depth` weights each: every output column's weights lie together.
    pub weights: &'a [i8],
    /// Products in one sum.
    pub depth: usize,
    /// Outputs of one row.
    pub columns: usize,
    /// One a column, in units of x_scale * w_scale; empty means zeros.
    pub bias: &'a [i32],
    /// Zero point of the input as stored.
    pub zero_point: i32,
}

impl DenseWeights<'_> {
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        if self.depth > DEPTH_MAX {
            return Err(KernelError::Depth { found: self.depth, max: DEPTH_MAX });
        }
        expect_length("the number of weights", self.weights.len(), self.depth.saturating_mul(self.columns))?;
        if !self.bias.is_empty() {
            expect_length("the length of the bias", self.bias.len(), self.columns)?;
        }
        expect_zero_point(self.zero_point)?;
        Ok(())
    }

    /// What each column's accumulator starts from: bias - zero point * sum of weights, so that the sum of
    /// products over stored inputs is the sum over real ones. Wraps as the accumulator does.
    pub(crate) fn starts(&self) -> Vec<i32> {
        let start = |column: usize| {
            let weights = &self.weights[column * self.depth..(column + 1) * self.depth];
            let sum: i32 = weights.iter().map(|&weight| i32::from(weight)).sum();
            let bias = self.bias.get(column).copied().unwrap_or(0);
            bias.wrapping_sub(self.zero_point.wrapping_mul(sum))
        };
        (0..self.columns).map(start).collect()
    }
}

/// Weights in the order in which the kernel of one instruction set reads them.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedDense {
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    /// What each column's accumulator starts from.
    pub(crate) starts: Vec<i32>,
    pub(crate) form: DenseForm,
}

/// The order of the packed weights; each instruction set has its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DenseForm {
    /// [`scalar`](crate::scalar).
    Pairs { panels: Vec<i16>, rest: Vec<i16> },
}

impl PackedDense {
    /// Products in one sum.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Outputs of one row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let weights = match &self.form {
            DenseForm::Pairs { panels, rest } => (panels.len() + rest.len()) * 2,
        };
        weights + self.starts.len() * 4
    }
}

/// Where and as what the accumulators of a dense kernel are written.
#[derive(Debug)]
pub enum Output<'a> {
    /// Requantized bytes: row r, column c at `r * stride + c`.
    Bytes {
        /// From the first row's first column on.
        data: &'a mut [u8],
        /// Distance of two rows.
        stride: usize,
        /// How; one multiplier a column.
        requantization: &'a Requantization,
    },
    /// `f32(accumulator) * multiplier`, rows without gaps.
    Floats {
        /// All rows.
        data: &'a mut [f32],
        /// x_scale * w_scale, one a column.
        multipliers: &'a [f32],
    },
}

impl Output<'_> {
    /// Writes the accumulators of `row` from column `first` on.
    #[inline(always)]
    pub(crate) fn write(&mut self, row: usize, first: usize, columns: usize, accumulators: &[i32]) {
        match self {
            Self::Bytes { data, stride, requantization } => {
                let from = row * *stride + first;
                requantization.apply_row(accumulators, first, &mut data[from..from + accumulators.len()]);
            }
            Self::Floats { data, multipliers } => {
                let places = &mut data[row * columns + first..][..accumulators.len()];
                let multipliers = &multipliers[first..first + accumulators.len()];
                for ((place, &accumulator), &multiplier) in places.iter_mut().zip(accumulators).zip(multipliers) {
                    *place = accumulator as f32 * multiplier;
                }
            }
        }
    }
}
