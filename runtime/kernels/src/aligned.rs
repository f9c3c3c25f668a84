//! Floats that begin where a cache line does.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the longest vector: a vector that lies across two lines takes two loads.
const LINE_BYTES: usize = 64;
/// Floats of a line.
const LINE: usize = LINE_BYTES / 4;

/// A buffer of floats whose first lies at the beginning of a cache line.
#[derive(Debug, Default)]
pub struct AlignedFloats {
    /// With up to a line before and after.
    floats: Vec<f32>,
    first: usize,
    length: usize,
}

impl AlignedFloats {
    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let floats = vec![0.0; length + LINE];
        // An allocation of floats lies at a multiple of four bytes, so that less than a line is missing.
        let first = floats.as_ptr().align_offset(LINE_BYTES).min(LINE);
        Self { floats, first, length }
    }
}

impl Deref for AlignedFloats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.floats[self.first..self.first + self.length]
    }
}

impl DerefMut for AlignedFloats {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[self.first..self.first + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_float_begins_a_line() {
        for length in [0, 1, 15, 16, 1_000] {
            let mut floats = AlignedFloats::zeros(length);
            assert_eq!((floats.len(), floats.as_ptr().addr() % LINE_BYTES), (length, 0));
            floats.fill(1.0);
            assert!(floats.iter().all(|&float| float == 1.0));
        }
    }
}
