//! Operations of two quantized tensors that are spread over each other.

use crate::floats::Binary;
use crate::requantize::{clamp, round_half_even};
use crate::{Add, Affine, Broadcast, KernelError};

/// y = a operation b on stored bytes, whatever the quantizations of the three.
///
/// Sums are those of [`Add`]. A product is the exact product of both bytes less their zero points, times
/// `(a_scale * b_scale) / y_scale`. Every other operation is the one of IEEE on both real numbers. What comes out is
/// clamped and rounded half to even.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairwise {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Sum(Add),
    Product(Multiply),
    Real { operation: Binary, a: Affine, b: Affine, y: Affine, bounds: [u8; 2] },
}

#[derive(Clone, Debug, PartialEq)]
struct Multiply {
    a_zero: i32,
    b_zero: i32,
    multiplier: f32,
    zero_point: i32,
    low: f32,
    high: f32,
}

impl Multiply {
    #[inline(always)]
    fn apply(&self, a: u8, b: u8) -> u8 {
        let product = (i32::from(a) - self.a_zero) * (i32::from(b) - self.b_zero);
        let value = clamp(product as f32 * self.multiplier, self.low, self.high);
        (round_half_even(value) + self.zero_point) as u8
    }
}

impl Pairwise {
    /// `bounds` are the smallest and largest stored output: a fused activation.
    pub fn new(operation: Binary, [a, b, y]: [&Affine; 3], bounds: [u8; 2]) -> Result<Self, KernelError> {
        let kind = match operation {
            Binary::Add => Kind::Sum(Add::new(a, b, y, bounds)?),
            Binary::Mul => {
                let multiplier = a.scale * b.scale / y.scale;
                if !multiplier.is_finite() {
                    return Err(KernelError::Scale { found: format!("{} * {} / {}", a.scale, b.scale, y.scale) });
                }
                let bound = |stored: u8| (i32::from(stored) - y.zero_point) as f32;
                let (low, high) = (bound(bounds[0]), bound(bounds[1]));
                let (a_zero, b_zero, zero_point) = (a.zero_point, b.zero_point, y.zero_point);
                Kind::Product(Multiply { a_zero, b_zero, multiplier, zero_point, low, high })
            }
            _ => Kind::Real { operation, a: *a, b: *b, y: *y, bounds },
        };
        Ok(Self { kind })
    }

    /// `FUSED` says whether a fused multiply-add is one instruction.
    #[inline(always)]
    pub(crate) fn run<const FUSED: bool>(&self, shape: &Broadcast, sides: [&[u8]; 2], output: &mut [u8]) {
        match &self.kind {
            Kind::Sum(add) => shape.each(sides, output, |a, b| add.apply::<FUSED>(a, b)),
            Kind::Product(product) => shape.each(sides, output, |a, b| product.apply(a, b)),
            Kind::Real { operation, a, b, y, bounds } => {
                let one = |work: fn(f32, f32) -> f32| {
                    move |left: u8, right: u8| {
                        let real = work(a.dequantize(left), b.dequantize(right));
                        y.quantize(real).clamp(bounds[0].min(bounds[1]), bounds[1])
                    }
                };
                match operation {
                    Binary::Sub => shape.each(sides, output, one(|a, b| a - b)),
                    Binary::Div => shape.each(sides, output, one(|a, b| a / b)),
                    Binary::Max => shape.each(sides, output, one(|a, b| if a < b { b } else { a })),
                    Binary::Min => shape.each(sides, output, one(|a, b| if a > b { b } else { a })),
                    Binary::Add | Binary::Mul => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::every_available;

    const OPERATIONS: [Binary; 6] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min];

    /// In f64, with room for what f32 rounds on the way.
    fn expected(operation: Binary, a: f64, b: f64, y: &Affine) -> (f64, f64) {
        let real = match operation {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
        };
        // 0 / 0 becomes the smallest byte.
        let real = if real.is_nan() { f64::NEG_INFINITY } else { real };
        let stored = real / f64::from(y.scale) + f64::from(y.zero_point);
        (stored - 0.501, stored + 0.501)
    }

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_rounded_result(
            scales in prop::array::uniform3(1e-3f32..0.5), zeros in prop::array::uniform3(0i32..=255),
            rows in 1usize..6, columns in 1usize..70, side in 0usize..4, operation in 0usize..6, seed in any::<u64>()
        ) {
            let operation = OPERATIONS[operation];
            let affine = |index: usize| Affine::new(scales[index], zeros[index], false).unwrap();
            let (a_affine, b_affine, y_affine) = (affine(0), affine(1), affine(2));
            let mut state = seed;
            let mut next = |_| { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 40) as u8 };
            let a: Vec<u8> = (0..rows * columns).map(&mut next).collect();
            let b: Vec<u8> = (0..rows * columns).map(&mut next).collect();
            // As many elements, a row, a column, one.
            let b_steps = [[columns, 1], [0, 1], [1, 0], [0, 0]][side];
            let shape = Broadcast::new(&[rows, columns], [&[columns, 1], &b_steps]).unwrap();
            let pairwise = Pairwise::new(operation, [&a_affine, &b_affine, &y_affine], [2, 253]).unwrap();
            let mut first: Option<Vec<u8>> = None;
            for table in every_available() {
                let mut found = vec![0; a.len()];
                table.pairwise(&pairwise, &shape, [&a, &b], &mut found);
                for (index, &found) in found.iter().enumerate() {
                    let b = b[index / columns * b_steps[0] + index % columns * b_steps[1]];
                    let (a, b) = (a_affine.dequantize(a[index]), b_affine.dequantize(b));
                    let (low, high) = expected(operation, f64::from(a), f64::from(b), &y_affine);
                    let found = f64::from(found);
                    prop_assert!(
                        found >= low.clamp(2.0, 253.0).floor() && found <= high.clamp(2.0, 253.0).ceil(),
                        "{} {operation:?} {a} {b}: {found} of {low} to {high}", table.isa.name()
                    );
                }
                let first = first.get_or_insert_with(|| found.clone());
                prop_assert_eq!(&*first, &found, "{}", table.isa.name());
            }
        }
    }

    #[test]
    fn products_are_exact_before_they_are_rounded_once() {
        let affine = |scale: f32, zero: i32| Affine::new(scale, zero, false).unwrap();
        let (a, b, y) = (affine(0.5, 10), affine(0.25, 0), affine(0.25, 100));
        let pairwise = Pairwise::new(Binary::Mul, [&a, &b, &y], [0, 255]).unwrap();
        let shape = Broadcast::new(&[5], [&[1], &[1]]).unwrap();
        for table in every_available() {
            let mut found = [0; 5];
            // Halves go to the even neighbour: 0.5, 1.5, -0.5, and both ends.
            table.pairwise(&pairwise, &shape, [&[11, 13, 9, 255, 0], &[1, 1, 1, 255, 255]], &mut found);
            assert_eq!(found, [100, 102, 100, 255, 0], "{}", table.isa.name());
        }
    }
}
