//! Two tensors element by element, spread over each other by ONNX's rules.

use crate::KernelError;
use crate::error::expect_length;

/// Axes that are left when those that can be walked as one are merged.
const RANK_MAX: usize = 8;

/// An operation of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The larger.
    Max,
    /// The smaller.
    Min,
}

/// How two tensors are walked together, prepared for running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// Size of each axis of the output, and the steps of both sides on it; the last is the innermost.
    axes: [(usize, usize, usize); RANK_MAX],
    length: usize,
    /// Elements that each side must have.
    reach: [usize; 2],
}

impl Broadcast {
    /// An output of `sizes` in memory, dense; the steps say how far each side moves for a step on each axis, 0 where it
    /// is spread.
    pub fn new(sizes: &[usize], steps: [&[usize]; 2]) -> Result<Self, KernelError> {
        for steps in steps {
            expect_length("the number of axes", steps.len(), sizes.len())?;
        }
        let mut merged: Vec<(usize, usize, usize)> = Vec::new();
        for (axis, &size) in sizes.iter().enumerate().filter(|(_, size)| **size != 1) {
            let (a, b) = (steps[0][axis], steps[1][axis]);
            match merged.last_mut() {
                Some(outer) if outer.1 == a * size && outer.2 == b * size => *outer = (outer.0 * size, a, b),
                _ => merged.push((size, a, b)),
            }
        }
        let Some(missing) = RANK_MAX.checked_sub(merged.len()) else {
            return Err(KernelError::Shape { what: "the number of axes", found: merged.len(), expected: RANK_MAX });
        };
        let mut axes = [(1, 0, 0); RANK_MAX];
        axes[missing..].copy_from_slice(&merged);
        let reach = |step: fn(&(usize, usize, usize)) -> usize| {
            axes.iter().map(|axis| axis.0.saturating_sub(1) * step(axis)).sum::<usize>() + 1
        };
        let reach = [reach(|axis| axis.1), reach(|axis| axis.2)];
        Ok(Self { axes, length: sizes.iter().product(), reach })
    }

    /// Elements of the output.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Panics when a side is shorter than its steps reach.
    #[inline(always)]
    pub(crate) fn run(&self, operation: Binary, sides: [&[f32]; 2], output: &mut [f32]) {
        match operation {
            Binary::Add => self.each(sides, output, |a, b| a + b),
            Binary::Sub => self.each(sides, output, |a, b| a - b),
            Binary::Mul => self.each(sides, output, |a, b| a * b),
            Binary::Div => self.each(sides, output, |a, b| a / b),
            Binary::Max => self.each(sides, output, |a, b| if a < b { b } else { a }),
            Binary::Min => self.each(sides, output, |a, b| if a > b { b } else { a }),
        }
    }

    #[inline(always)]
    pub(crate) fn each<T: Copy>(&self, [a, b]: [&[T]; 2], output: &mut [T], work: impl Fn(T, T) -> T) {
        if self.length == 0 {
            return;
        }
        assert!(a.len() >= self.reach[0] && b.len() >= self.reach[1] && output.len() >= self.length);
        let (line, a_step, b_step) = self.axes[RANK_MAX - 1];
        let mut position = [0; RANK_MAX];
        let (mut a_from, mut b_from) = (0, 0);
        for places in output[..self.length].chunks_exact_mut(line) {
            let (a, b) = (&a[a_from..], &b[b_from..]);
            match (a_step, b_step) {
                (1, 1) => places.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = work(*a, *b)),
                (1, 0) => places.iter_mut().zip(a).for_each(|(y, a)| *y = work(*a, b[0])),
                (0, 1) => places.iter_mut().zip(b).for_each(|(y, b)| *y = work(a[0], *b)),
                _ => {
                    for (index, y) in places.iter_mut().enumerate() {
                        *y = work(a[index * a_step], b[index * b_step]);
                    }
                }
            }
            for axis in (0..RANK_MAX - 1).rev() {
                let (size, a_step, b_step) = self.axes[axis];
                position[axis] += 1;
                (a_from, b_from) = (a_from + a_step, b_from + b_step);
                if position[axis] < size {
                    break;
                }
                (a_from, b_from) = (a_from - a_step * size, b_from - b_step * size);
                position[axis] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::every_available;

    proptest! {
        #[test]
        fn every_spread_is_index_by_index(
            axes in prop::collection::vec((1usize..5, 0usize..4), 1..5), operation in 0usize..6
        ) {
            let sizes: Vec<usize> = axes.iter().map(|axis| axis.0).collect();
            // Which sides have the axis.
            let steps = |side: usize| {
                let mut step = 1;
                let mut steps = vec![0; axes.len()];
                for axis in (0..axes.len()).rev() {
                    if axes[axis].1 & (1 << side) == 0 {
                        steps[axis] = step;
                        step *= sizes[axis];
                    }
                }
                (steps, step)
            };
            let ((a_steps, a_length), (b_steps, b_length)) = (steps(0), steps(1));
            let a: Vec<f32> = (0..a_length).map(|index| index as f32 + 0.5).collect();
            let b: Vec<f32> = (0..b_length).map(|index| 20.0 - index as f32 * 1.5).collect();
            let operation =
                [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min][operation];
            let length: usize = sizes.iter().product();
            let expected = (0..length).map(|mut index| {
                let (mut a_at, mut b_at) = (0, 0);
                for axis in (0..sizes.len()).rev() {
                    let at = index % sizes[axis];
                    index /= sizes[axis];
                    (a_at, b_at) = (a_at + at * a_steps[axis], b_at + at * b_steps[axis]);
                }
                match operation {
                    Binary::Add => a[a_at] + b[b_at],
                    Binary::Sub => a[a_at] - b[b_at],
                    Binary::Mul => a[a_at] * b[b_at],
                    Binary::Div => a[a_at] / b[b_at],
                    Binary::Max => a[a_at].max(b[b_at]),
                    Binary::Min => a[a_at].min(b[b_at]),
                }
            });
            let expected: Vec<f32> = expected.collect();
            let broadcast = Broadcast::new(&sizes, [&a_steps, &b_steps]).unwrap();
            for table in every_available() {
                let mut found = vec![f32::NAN; length];
                table.float_binary(&broadcast, operation, [&a, &b], &mut found);
                prop_assert_eq!(&found, &expected, "{}", table.isa.name());
            }
        }
    }
}
