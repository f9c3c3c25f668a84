//! Inputs made from a seed, the same on every machine.

use std::collections::BTreeMap;

use runtime_tensor::{Dimension, ElementType, NamedTensor, Tensor, TensorError, TensorSpec};

/// Tensors that fit `inputs`: floats from -1 to 1 in steps of 2^-16, 8-bit integers over their whole range, wider
/// integers from 0 to 127 (so that they can be indices of a table), booleans of both kinds.
///
/// Symbolic dimensions get their size from `bindings`, or 1. The generator is SplitMix64, seeded with `seed` and
/// the position of the input, so the bytes depend on nothing else.
pub fn seeded_inputs(
    inputs: &[TensorSpec],
    bindings: &BTreeMap<String, u64>,
    seed: u64,
) -> Result<Vec<NamedTensor>, TensorError> {
    let tensor = |(position, spec): (usize, &TensorSpec)| {
        let size = |dimension: &Dimension| match dimension {
            Dimension::Fixed(size) => usize::try_from(*size).unwrap_or(usize::MAX),
            Dimension::Symbol(symbol) => {
                bindings.get(symbol).map_or(1, |&size| usize::try_from(size).unwrap_or(usize::MAX))
            }
        };
        let mut random = SplitMix64(seed ^ (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut tensor = Tensor::zeros(spec.element, spec.shape.iter().map(size).collect())?;
        let width = spec.element.size_bytes();
        for place in tensor.bytes_mut().chunks_exact_mut(width) {
            place.copy_from_slice(&element_bytes(spec.element, random.next())[..width]);
        }
        Ok((spec.name.clone(), tensor))
    };
    inputs.iter().enumerate().map(tensor).collect()
}

fn element_bytes(element: ElementType, bits: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    // 17 random bits, so that every step is exact in f32 and f64.
    let unit = (bits >> 47) as f32 / 65_536.0 - 1.0;
    match element {
        ElementType::F32 => bytes[..4].copy_from_slice(&unit.to_le_bytes()),
        ElementType::F64 => bytes.copy_from_slice(&f64::from(unit).to_le_bytes()),
        // Powers of two between 0.25 and 1 with a random sign: exact in both 16-bit formats.
        ElementType::F16 => {
            bytes[..2].copy_from_slice(&(((bits >> 63) << 15 | (13 + bits % 3) << 10) as u16).to_le_bytes())
        }
        ElementType::BF16 => {
            bytes[..2].copy_from_slice(&(((bits >> 63) << 15 | (125 + bits % 3) << 7) as u16).to_le_bytes())
        }
        ElementType::Bool => bytes[0] = (bits >> 63) as u8,
        ElementType::U8 | ElementType::I8 => bytes[0] = (bits >> 56) as u8,
        _ => bytes[0] = (bits >> 57) as u8,
    }
    bytes
}

struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(element: ElementType) -> TensorSpec {
        TensorSpec { name: "x".into(), element, shape: vec![Dimension::Symbol("batch".into()), Dimension::Fixed(500)] }
    }

    #[test]
    fn every_type_is_in_its_range_and_varies() {
        let mut wrong = Vec::new();
        for element in ElementType::all() {
            let bindings = BTreeMap::from([("batch".to_owned(), 2)]);
            let inputs = seeded_inputs(&[spec(element)], &bindings, 7).unwrap();
            let values = inputs[0].1.to_f32_vec().unwrap();
            let (low, high) = match element {
                ElementType::I8 => (-128.0, 127.0),
                ElementType::U8 => (0.0, 255.0),
                ElementType::Bool => (0.0, 1.0),
                float if float.is_float() => (-1.0, 1.0),
                _ => (0.0, 127.0),
            };
            let inside = values.iter().all(|value| (low..=high).contains(value));
            let varied = values.iter().any(|value| *value != values[0]);
            if inputs[0].1.shape() != [2, 500] || !inside || !varied {
                wrong.push(element);
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn the_first_values_of_seed_7_never_change() {
        let inputs = seeded_inputs(&[spec(ElementType::U8)], &BTreeMap::new(), 7).unwrap();
        // Printed once; another value here means that old `output_sha256` figures can no longer be compared.
        assert_eq!(inputs[0].1.bytes()[..4], FIRST_OF_SEED_7);
        let again = seeded_inputs(&[spec(ElementType::U8)], &BTreeMap::new(), 8).unwrap();
        assert_ne!(again, inputs);
    }

    const FIRST_OF_SEED_7: [u8; 4] = [99, 4, 230, 149];
}
