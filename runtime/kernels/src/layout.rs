//! Moving bytes: permuted axes, concatenated rows.

use crate::error::expect_length;
use crate::{KernelError, Lookup};

/// Axes that a permutation handles.
const RANK_MAX: usize = 8;

/// An order of axes for tensors of one shape, prepared for running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permutation {
    /// Sizes of the output, neighbouring axes that stay neighbours merged, leading ones of size 1.
    sizes: [usize; RANK_MAX],
    /// Step in the input for a step on each of those axes.
    steps: [usize; RANK_MAX],
    length: usize,
}

impl Permutation {
    /// Output axis i is input axis `order[i]`; `shape` is the input's.
    pub fn new(shape: &[usize], order: &[usize]) -> Result<Self, KernelError> {
        expect_length("the number of axes", order.len(), shape.len())?;
        let mut seen = vec![false; shape.len()];
        for &axis in order {
            match seen.get_mut(axis) {
                Some(place) if !*place => *place = true,
                _ => return Err(KernelError::Shape { what: "an axis", found: axis, expected: shape.len() }),
            }
        }
        let length: usize = shape.iter().product();
        let step = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for &axis in order.iter().filter(|&&axis| shape[axis] != 1) {
            match merged.last_mut() {
                Some((size, last)) if *last == step(axis) * shape[axis] => {
                    (*size, *last) = (*size * shape[axis], step(axis))
                }
                _ => merged.push((shape[axis], step(axis))),
            }
        }
        let Some(missing) = RANK_MAX.checked_sub(merged.len()) else {
            return Err(KernelError::Shape { what: "the number of axes", found: merged.len(), expected: RANK_MAX });
        };
        let (mut sizes, mut steps) = ([1; RANK_MAX], [0; RANK_MAX]);
        for (place, (size, step)) in merged.into_iter().enumerate() {
            (sizes[missing + place], steps[missing + place]) = (size, step);
        }
        Ok(Self { sizes, steps, length })
    }

    /// Whether input and output are the same bytes.
    pub fn is_identity(&self) -> bool {
        self.length <= 1 || (self.sizes[RANK_MAX - 1] == self.length && self.steps[RANK_MAX - 1] == 1)
    }

    /// Elements of input and output.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Copies bytes in the new order.
    #[inline(always)]
    pub(crate) fn run_bytes(&self, input: &[u8], output: &mut [u8]) {
        self.run(input, output);
    }

    /// Copies floats in the new order.
    pub fn run_floats(&self, input: &[f32], output: &mut [f32]) {
        self.run(input, output);
    }

    /// Not public, so that it is compiled here, with this crate's optimization.
    #[inline(always)]
    fn run<T: Copy>(&self, input: &[T], output: &mut [T]) {
        if self.length == 0 {
            return;
        }
        if self.is_identity() {
            output[..self.length].copy_from_slice(&input[..self.length]);
            return;
        }
        let (line, step) = (self.sizes[RANK_MAX - 1], self.steps[RANK_MAX - 1]);
        // Two axes change places: the innermost of the input is the last but one of the output.
        let matrix = self.steps[RANK_MAX - 2] == 1 && self.sizes[RANK_MAX - 2] > 1;
        let (inner, length) = if matrix { (2, self.sizes[RANK_MAX - 2] * line) } else { (1, line) };
        let mut position = [0; RANK_MAX];
        let mut from = 0;
        for places in output[..self.length].chunks_exact_mut(length) {
            if matrix {
                match line {
                    2 => interleave::<T, 2>(&input[from..], step, places),
                    3 => interleave::<T, 3>(&input[from..], step, places),
                    4 => interleave::<T, 4>(&input[from..], step, places),
                    8 => interleave::<T, 8>(&input[from..], step, places),
                    _ => transpose(&input[from..], step, line, places),
                }
            } else if step == 1 {
                places.copy_from_slice(&input[from..from + line]);
            } else {
                for (place, value) in places.iter_mut().zip(input[from..].iter().step_by(step)) {
                    *place = *value;
                }
            }
            // The next position, the last of the axes that are left first.
            for axis in (0..RANK_MAX - inner).rev() {
                position[axis] += 1;
                from += self.steps[axis];
                if position[axis] < self.sizes[axis] {
                    break;
                }
                from -= self.steps[axis] * self.sizes[axis];
                position[axis] = 0;
            }
        }
    }
}

/// Element i of each of `C` planes, which lie `step` apart, beside each other.
#[inline(always)]
fn interleave<T: Copy, const C: usize>(input: &[T], step: usize, output: &mut [T]) {
    let pixels = output.len() / C;
    let planes: [&[T]; C] = std::array::from_fn(|plane| &input[plane * step..plane * step + pixels]);
    for (pixel, place) in output.chunks_exact_mut(C).enumerate() {
        for (place, plane) in place.iter_mut().zip(&planes) {
            *place = plane[pixel];
        }
    }
}

/// Writes rows of `line` elements, of which each is `step` after the one before; the next row begins one element later.
fn transpose<T: Copy>(input: &[T], step: usize, line: usize, output: &mut [T]) {
    // Rows that are written together: lines of the input are read in runs, and places stay in the nearest cache.
    const ROWS: usize = 32;
    for (number, rows) in output.chunks_mut(ROWS * line).enumerate() {
        let count = rows.len() / line;
        for column in 0..line {
            let from = &input[number * ROWS + column * step..][..count];
            for (place, value) in rows[column..].iter_mut().step_by(line).zip(from) {
                *place = *value;
            }
        }
    }
}

/// Writes rows of `width` bytes into rows of `stride` bytes, `first` bytes after their beginning, each byte through
/// `lookup`.
pub fn concat_rows(
    input: &[u8],
    width: usize,
    output: &mut [u8],
    stride: usize,
    first: usize,
    lookup: Option<&Lookup>,
) {
    if width == 0 || stride == 0 {
        return;
    }
    for (row, output) in input.chunks_exact(width).zip(output.chunks_exact_mut(stride)) {
        let output = &mut output[first..first + width];
        match lookup {
            Some(lookup) => lookup.run(row, output),
            None => output.copy_from_slice(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Affine;

    /// The definition, index by index.
    fn expected(shape: &[usize], order: &[usize], input: &[u32]) -> Vec<u32> {
        let step = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        let mut output = Vec::new();
        let mut position = vec![0; shape.len()];
        for _ in 0..input.len() {
            let from: usize = order.iter().zip(&position).map(|(&axis, at)| step(axis) * at).sum();
            output.push(input[from]);
            for place in (0..order.len()).rev() {
                position[place] += 1;
                if position[place] < shape[order[place]] {
                    break;
                }
                position[place] = 0;
            }
        }
        output
    }

    proptest! {
        #[test]
        fn every_order_of_axes(
            shape in prop::collection::vec(1usize..5, 1..6), seed in prop::collection::vec(any::<u32>(), 6)
        ) {
            let mut order: Vec<usize> = (0..shape.len()).collect();
            order.sort_by_key(|&axis| seed[axis]);
            let input: Vec<u32> = (0..shape.iter().product::<usize>() as u32).collect();
            let mut output = vec![0; input.len()];
            let permutation = Permutation::new(&shape, &order).unwrap();
            permutation.run(&input, &mut output);
            prop_assert_eq!(permutation.is_identity(), output == input);
            prop_assert_eq!(output, expected(&shape, &order, &input));
        }
    }

    #[test]
    fn orders_that_are_none_are_refused() {
        assert!(Permutation::new(&[2, 3], &[0]).is_err());
        assert!(Permutation::new(&[2, 3], &[0, 0]).is_err());
        assert!(Permutation::new(&[2, 3], &[0, 2]).is_err());
        assert!(Permutation::new(&[2; 9], &[8, 7, 6, 5, 4, 3, 2, 1, 0]).is_err());
    }

    #[test]
    fn rows_lie_side_by_side() {
        let mut output = [0; 10];
        let unit = Affine::new(1.0, 0, false).unwrap();
        let plus_hundred = Lookup::new(&unit, &unit, |value| value + 100.0);
        concat_rows(&[1, 2, 3, 4], 2, &mut output, 5, 0, None);
        concat_rows(&[5, 6, 7, 8, 9, 10], 3, &mut output, 5, 2, Some(&plus_hundred));
        assert_eq!(output, [1, 2, 105, 106, 107, 3, 4, 108, 109, 110]);
    }
}
