//! Products of two activations on tiles.

use super::{Product, Span};
use crate::dense::{DenseForm, PackedDense};
use crate::rows::Rows;
use crate::scratch::room;
use crate::tiles::{self, TileKernel};
use crate::{Output, SIGNED_OFFSET, Scratch};

impl Product {
    /// The same on tiles: `b` less 128 takes the weights' place, and what its zero point is then off by comes to
    /// every sum of a row as that many times the row's sum.
    #[inline(always)]
    pub(crate) fn run_tiles<K: TileKernel>(
        &self,
        span: &Span,
        [a, b]: [&[u8]; 2],
        scratch: &mut Scratch,
        output: &mut [u8],
    ) {
        if self.depth == 0 {
            return self.run_plain(span, [a, b], scratch, output);
        }
        let origin = self.origin(span);
        let (weights, starts) = (std::mem::take(&mut scratch.panels), std::mem::take(&mut scratch.starts));
        let form = DenseForm::Tiles { weights, group: K::SHAPE.group, wide: K::SHAPE.wide };
        let (depth, columns) = (self.depth, self.columns);
        let mut packed = PackedDense { depth, piece: depth, columns, starts, form };
        let mut shifts = std::mem::take(&mut scratch.sums);
        let mut patches = std::mem::take(&mut scratch.patches);
        let mut there = None;
        for number in span.matrices.clone() {
            let [a_place, b_place, y_place] = self.place(number);
            if there.replace(b_place) != Some(b_place) {
                self.pack::<K>(&b[b_place..], &mut packed);
            }
            let a_place = a_place + span.rows.start * self.sides[0].rows;
            let rows = self.rows_of::<K>(&a[a_place..], span.rows.len(), &mut patches);
            let offset = self.b_zero - SIGNED_OFFSET;
            let shifts = room(&mut shifts, span.rows.len());
            if offset != 0 {
                (self.table.elementwise.sum_rows)(&rows, depth, shifts);
                shifts.iter_mut().for_each(|shift| *shift *= -offset);
            }
            let (stride, requantization) = (self.sides[2].rows, &self.requantization);
            let data = &mut output[y_place + span.rows.start * stride - origin..];
            let to = if offset == 0 {
                Output::Bytes { data, stride, requantization }
            } else {
                Output::Shifted { data, stride, requantization, shifts, table: self.table }
            };
            tiles::run::<K>(&packed, &rows, scratch, to);
        }
        if let DenseForm::Tiles { weights, .. } = packed.form {
            scratch.panels = weights;
        }
        (scratch.starts, scratch.sums, scratch.patches) = (packed.starts, shifts, patches);
    }

    /// The rows of one `a`: in place, or copied where they lie far apart or the last one's last group reaches over
    /// the end.
    #[inline(always)]
    fn rows_of<'r, K: TileKernel>(&self, a: &'r [u8], count: usize, patches: &'r mut Vec<u8>) -> Rows<'r> {
        let (step, padded) = (self.sides[0].rows, self.depth.next_multiple_of(K::SHAPE.group));
        let in_place = Rows { input: a, lines: 1, line_step: 0, count, step, pieces: &[0] };
        // A kernel that widens its rows widens what lies between them too.
        let dense = !K::SHAPE.wide || step <= 2 * padded;
        if dense && in_place.reach(padded) <= a.len() {
            return in_place;
        }
        let copy = room(patches, count * padded);
        for (to, row) in copy.chunks_exact_mut(padded).zip(0..) {
            to[..self.depth].copy_from_slice(&a[row * step..][..self.depth]);
        }
        Rows { input: copy, step: padded, ..in_place }
    }

    /// One `b` in the order of the tiles.
    #[inline(always)]
    fn pack<K: TileKernel>(&self, b: &[u8], packed: &mut PackedDense) {
        let (depth, columns) = (self.depth, self.columns);
        let offset = self.b_zero - SIGNED_OFFSET;
        let width = columns.next_multiple_of(K::SHAPE.lanes);
        let DenseForm::Tiles { weights, .. } = &mut packed.form else { return };
        weights.clear();
        weights.resize(depth.next_multiple_of(K::SHAPE.group) * width, 0);
        packed.starts.clear();
        packed.starts.resize(width, 0);
        let steps = [self.sides[1].rows, self.sides[1].columns];
        tiles::pack_bytes(&K::SHAPE, b, steps, [depth, columns], weights);
        tiles::add_up(b, steps, [depth, columns], &mut packed.starts);
        // The products of a's zero point with b less its own.
        let all = depth as i32 * (SIGNED_OFFSET + offset);
        packed.starts[..columns].iter_mut().for_each(|sum| *sum = self.a_zero.wrapping_mul(all - *sum));
    }
}
