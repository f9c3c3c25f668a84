//! Comparing an answer with the expected one.

use std::fmt;

use crate::Tensor;

/// How far a found element may lie from the expected one: `absolute + relative * |expected|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// In units of the element.
    pub absolute: f64,
    /// As a share of the expected element.
    pub relative: f64,
}

impl Tolerance {
    /// Byte for byte: tells +0 from -0, and lets NaN equal only the same NaN.
    pub const EXACT: Self = Self { absolute: 0.0, relative: 0.0 };

    /// Whether this is [`EXACT`](Self::EXACT).
    pub fn is_exact(&self) -> bool {
        self.absolute == 0.0 && self.relative == 0.0
    }

    fn accepts(&self, expected: f64, found: f64) -> bool {
        // Equality first: the difference of two equal infinities is NaN.
        expected == found || (expected - found).abs() <= self.absolute + self.relative * expected.abs()
    }
}

/// The first place where two tensors differ, and how many places do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Row-major position of the first difference; 0 when type or shape differ.
    pub index: usize,
    /// What was expected there: a value, or type and shape when those differ.
    pub expected: String,
    /// What was found there.
    pub found: String,
    /// Elements that differ; all of them when type or shape differ.
    pub count: usize,
    /// Elements of the expected tensor.
    pub total: usize,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "found {}, expected {} at element {} ({} of {} elements differ)",
            self.found, self.expected, self.index, self.count, self.total
        )
    }
}

impl std::error::Error for Difference {}

/// Compares `found` with `expected` element by element.
///
/// With [`Tolerance::EXACT`] bytes decide. With any other tolerance NaN on either side is a difference, even NaN
/// against NaN: an engine that answers NaN has not answered.
pub fn compare(expected: &Tensor, found: &Tensor, tolerance: Tolerance) -> Result<(), Difference> {
    let total = expected.len();
    if expected.element() != found.element() || expected.shape() != found.shape() {
        let describe = |tensor: &Tensor| format!("{}{:?}", tensor.element(), tensor.shape());
        return Err(Difference { index: 0, expected: describe(expected), found: describe(found), count: total, total });
    }
    if tolerance.is_exact() && expected.bytes() == found.bytes() {
        return Ok(());
    }
    let size = expected.element().size_bytes();
    let differs = |index: &usize| {
        if tolerance.is_exact() {
            let range = index * size..(index + 1) * size;
            return expected.bytes()[range.clone()] != found.bytes()[range];
        }
        match (expected.value_f64(*index), found.value_f64(*index)) {
            (Some(expected), Some(found)) => !tolerance.accepts(expected, found),
            _ => true,
        }
    };
    let mut differences = (0..total).filter(differs);
    let Some(index) = differences.next() else { return Ok(()) };
    Err(Difference {
        index,
        expected: expected.value_text(index),
        found: found.value_text(index),
        count: 1 + differences.count(),
        total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Tensor {
        Tensor::from_f32(vec![values.len()], values.to_vec()).unwrap()
    }

    const LOOSE: Tolerance = Tolerance { absolute: 0.01, relative: 0.1 };

    #[test]
    fn rows_of_expected_found_tolerance_and_verdict() {
        let rows: [(&[f32], &[f32], Tolerance, bool); 9] = [
            (&[1.0, 2.0], &[1.0, 2.0], Tolerance::EXACT, true),
            (&[1.0, 2.0], &[1.0, 2.0000002], Tolerance::EXACT, false),
            (&[0.0], &[-0.0], Tolerance::EXACT, false),
            (&[f32::NAN], &[f32::NAN], Tolerance::EXACT, true),
            (&[f32::NAN], &[f32::NAN], LOOSE, false),
            (&[1.0], &[f32::NAN], LOOSE, false),
            (&[f32::INFINITY], &[f32::INFINITY], LOOSE, true),
            (&[10.0], &[10.9], LOOSE, true),
            (&[10.0], &[11.1], LOOSE, false),
        ];
        let wrong: Vec<_> = rows
            .iter()
            .filter(|(expected, found, tolerance, equal)| {
                compare(&floats(expected), &floats(found), *tolerance).is_ok() != *equal
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn a_difference_says_where_and_how_many() {
        let error = compare(&floats(&[1.0, 2.0, 3.0]), &floats(&[1.0, 2.5, 3.5]), Tolerance::EXACT).unwrap_err();
        assert_eq!(error.to_string(), "found 2.5, expected 2 at element 1 (2 of 3 elements differ)");
    }

    #[test]
    fn another_shape_or_type_is_a_difference() {
        let expected = floats(&[1.0, 2.0]);
        let column = Tensor::from_f32(vec![2, 1], vec![1.0, 2.0]).unwrap();
        let bytes = Tensor::from_u8(vec![2], vec![1, 2]).unwrap();
        assert_eq!(compare(&expected, &column, LOOSE).unwrap_err().found, "f32[2, 1]");
        assert_eq!(compare(&expected, &bytes, LOOSE).unwrap_err().found, "u8[2]");
    }

    #[test]
    fn wide_integers_differ_in_their_last_bit() {
        let expected = Tensor::from_i64(vec![1], vec![i64::MAX]).unwrap();
        let found = Tensor::from_i64(vec![1], vec![i64::MAX - 1]).unwrap();
        assert_eq!(compare(&expected, &found, Tolerance::EXACT).unwrap_err().found, "9223372036854775806");
    }
}
