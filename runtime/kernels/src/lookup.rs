//! Functions of one byte as a table of 256.

use crate::Affine;

/// A function from stored byte to stored byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Lookup {
    table: [u8; 256],
}

impl Lookup {
    /// Quantizes `function` of each dequantized byte: what QDQ says of any element-wise function.
    ///
    /// `function` must be pure Rust arithmetic or `libm`: the table is the same on every CPU only if it is.
    pub fn new(input: &Affine, output: &Affine, function: impl Fn(f32) -> f32) -> Self {
        let entry = |stored: usize| output.quantize(function(input.dequantize(stored as u8)));
        Self { table: std::array::from_fn(entry) }
    }

    /// With these results.
    pub fn of(table: [u8; 256]) -> Self {
        Self { table }
    }

    /// The result for every byte.
    pub fn results(&self) -> &[u8; 256] {
        &self.table
    }

    /// From one quantization to another.
    pub fn requantizing(input: &Affine, output: &Affine) -> Self {
        Self::new(input, output, |value| value)
    }

    /// The same, with every result held between two stored bytes.
    #[must_use]
    pub fn bounded(mut self, low: u8, high: u8) -> Self {
        self.table.iter_mut().for_each(|entry| *entry = (*entry).clamp(low.min(high), high));
        self
    }

    /// Whether every byte stays as it is.
    pub fn is_identity(&self) -> bool {
        self.table.iter().enumerate().all(|(stored, &entry)| stored == usize::from(entry))
    }

    /// The result for one byte.
    #[inline(always)]
    pub fn apply(&self, stored: u8) -> u8 {
        self.table[usize::from(stored)]
    }

    /// Byte by byte, where there is nothing faster.
    pub fn run(&self, input: &[u8], output: &mut [u8]) {
        for (place, &stored) in output.iter_mut().zip(input) {
            *place = self.apply(stored);
        }
    }
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lookup").field(&(self.table[0], self.table[255])).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_looks_up_every_byte() {
        let lookup = Lookup::of(std::array::from_fn(|index| (index * 37 + index / 5) as u8));
        let input: Vec<u8> = (0..1000).map(|index| (index * 7 + index / 256) as u8).collect();
        for length in [0, 1, 63, 64, 65, 127, 128, 200, 1000] {
            let expected: Vec<u8> = input[..length].iter().map(|&byte| lookup.results()[usize::from(byte)]).collect();
            for table in crate::table::every_available() {
                let mut found = vec![0; length];
                table.lookup(&lookup, &input[..length], &mut found);
                assert_eq!(found, expected, "{} {length}", table.isa.name());
            }
        }
    }

    #[test]
    fn a_table_is_the_quantized_function() {
        let input = Affine::new(0.1, 100, false).unwrap();
        let output = Affine::new(0.05, 0, true).unwrap();
        let relu = Lookup::new(&input, &output, |value| value.max(0.0));
        assert_eq!(relu.apply(90), 128);
        assert_eq!(relu.apply(103), 134);
        assert_eq!(relu.apply(255), 255);
        assert!(Lookup::requantizing(&input, &input).is_identity());
        assert!(!Lookup::requantizing(&input, &output).is_identity());
        let bounded = Lookup::requantizing(&input, &input).bounded(10, 20);
        assert_eq!([0, 15, 255].map(|stored| bounded.apply(stored)), [10, 15, 20]);
    }
}
