//! Where and as what a dense kernel writes.

use crate::dynamic::Scaled;
use crate::{Requantization, Table};

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
    /// Requantized bytes, after something is added to every accumulator of a row.
    Shifted {
        /// From the first row's first column on.
        data: &'a mut [u8],
        /// Distance of two rows.
        stride: usize,
        /// How; one multiplier a column.
        requantization: &'a Requantization,
        /// What is added, one a row.
        shifts: &'a [i32],
        /// Requantizes.
        table: &'static Table,
    },
    /// Floats, by a scale that only this run has: row r, column c at `r * stride + c`.
    Scaled {
        /// From the first row's first column on.
        data: &'a mut [f32],
        /// Distance of two rows.
        stride: usize,
        /// How.
        scaled: Scaled<'a>,
        /// Scales.
        table: &'static Table,
    },
}

impl Output<'_> {
    /// The same from row `row` on; rows have `columns` columns.
    pub(crate) fn starting_at(&mut self, row: usize, columns: usize) -> Output<'_> {
        match self {
            Self::Bytes { data, stride, requantization } => {
                Output::Bytes { data: &mut data[row * *stride..], stride: *stride, requantization }
            }
            Self::Floats { data, multipliers } => Output::Floats { data: &mut data[row * columns..], multipliers },
            Self::Scaled { data, stride, scaled, table } => {
                let row_sums = scaled.row_sums.get(row..).unwrap_or_default();
                let scaled = Scaled { row_sums, ..*scaled };
                Output::Scaled { data: &mut data[row * *stride..], stride: *stride, scaled, table }
            }
            Self::Shifted { data, stride, requantization, shifts, table } => Output::Shifted {
                data: &mut data[row * *stride..],
                stride: *stride,
                requantization,
                shifts: &shifts[row..],
                table,
            },
        }
    }

    /// Writes the accumulators of the rows from `row` on, `width` from row to row: those of the columns from `first` on
    /// that there are.
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    #[inline(always)]
    pub(crate) fn write_rows(&mut self, row: usize, first: usize, columns: usize, accumulators: &[i32], width: usize) {
        let count = width.min(columns - first);
        if let Self::Scaled { data, stride, scaled, table } = self {
            let places = &mut data[row * *stride + first..];
            return (table.elementwise.scale)(
                &scaled.part(first, count),
                row,
                (accumulators, width),
                (places, *stride),
            );
        }
        for (number, accumulators) in accumulators.chunks_exact(width.max(1)).enumerate() {
            self.write(row + number, first, columns, &accumulators[..count]);
        }
    }

    /// Writes the accumulators of `row` from column `first` on.
    #[inline(always)]
    pub(crate) fn write(&mut self, row: usize, first: usize, columns: usize, accumulators: &[i32]) {
        match self {
            Self::Bytes { data, stride, requantization } => {
                let from = row * *stride + first;
                requantization.apply_row(accumulators, first, &mut data[from..from + accumulators.len()]);
            }
            Self::Shifted { data, stride, requantization, shifts, table } => {
                let places = &mut data[row * *stride + first..][..accumulators.len()];
                (table.elementwise.requantize)(requantization, accumulators, shifts[row], first, places);
            }
            Self::Scaled { data, stride, scaled, table } => {
                let (places, count) = (&mut data[row * *stride + first..], accumulators.len());
                (table.elementwise.scale)(&scaled.part(first, count), row, (accumulators, count), (places, *stride));
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
