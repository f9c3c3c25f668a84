//! In which order weights lie before they are packed.
//!
//! Packing reads them where they are, a few columns at a time: a copy of a whole layer in another order would be the
//! peak of what loading a model takes.

use std::ops::Range;

/// How a matrix of weights lies. Its depth is counted as the kernel does it: tap by tap, all channels of one together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightOrder {
    /// The weights of a column together, in the order of the depth.
    Columns,
    /// The weights of a column together, as ONNX has filters: channel by channel, this many taps of each.
    Filters(usize),
    /// For each of the depth the weights of all columns together.
    Rows,
}

impl WeightOrder {
    /// The weights of `columns` of a matrix of `depth` by `all` columns, column after column in the order of the
    /// depth: where they lie, or brought into `room`.
    ///
    /// Panics when `weights` has fewer than that.
    pub(crate) fn columns<'a, T: Copy>(
        self,
        weights: &'a [T],
        (depth, all): (usize, usize),
        columns: Range<usize>,
        room: &'a mut Vec<T>,
    ) -> &'a [T] {
        let together = || &weights[columns.start * depth..columns.end * depth];
        match self {
            Self::Columns | Self::Filters(0 | 1) => together(),
            Self::Filters(taps) => {
                room.clear();
                for filter in together().chunks_exact(depth.max(1)) {
                    let channels = depth / taps;
                    for tap in 0..taps {
                        room.extend(filter[tap..].iter().step_by(taps).take(channels));
                    }
                }
                room
            }
            Self::Rows => {
                let count = columns.len();
                let Some(&any) = weights.first().filter(|_| count > 0) else { return &[] };
                room.clear();
                room.resize(count * depth, any);
                // A few rows at a time, so that their places share cache lines.
                const TOGETHER: usize = 16;
                for first in (0..depth).step_by(TOGETHER) {
                    let last = (first + TOGETHER).min(depth);
                    for (place, column) in room.chunks_exact_mut(depth).zip(columns.clone()) {
                        let from = weights[first * all + column..].iter().step_by(all.max(1));
                        place[first..last].iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                    }
                }
                room
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_gives_the_same_columns() {
        let (taps, channels, all) = (3, 7, 5);
        let depth = taps * channels;
        let weight = |column: usize, k: usize| (column * depth + k) as u32;
        let mut columns = Vec::new();
        let mut filters = Vec::new();
        for column in 0..all {
            columns.extend((0..depth).map(|k| weight(column, k)));
            filters.extend((0..depth).map(|at| weight(column, at % taps * channels + at / taps)));
        }
        let rows: Vec<u32> = (0..depth).flat_map(|k| (0..all).map(move |column| weight(column, k))).collect();
        let orders =
            [(WeightOrder::Columns, &columns), (WeightOrder::Filters(taps), &filters), (WeightOrder::Rows, &rows)];
        for (order, weights) in orders {
            for part in [0..all, 1..4, 2..2, 4..5] {
                let expected = &columns[part.start * depth..part.end * depth];
                let mut room = vec![9; 3];
                assert_eq!(order.columns(weights, (depth, all), part, &mut room), expected, "{order:?}");
            }
        }
    }
}
