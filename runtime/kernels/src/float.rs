//! The float functions that may stand at the border of an exact region.
//!
//! One scalar path over `libm`, which is plain Rust arithmetic, in a fixed order: the same bytes on every CPU.

/// Softmax over rows of `width`: exp(x - largest), summed from left to right, each divided by the sum.
pub fn softmax(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width.max(1)) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for value in row.iter_mut() {
            *value = libm::expf(*value - largest);
            sum += *value;
        }
        row.iter_mut().for_each(|value| *value /= sum);
    }
}

/// 1 / (1 + exp(-x)).
pub fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_never_change() {
        let mut rows = [0.0, 1.0, -2.5, 3.25, 88.0, -88.0];
        softmax(&mut rows, 3);
        let bits: Vec<u32> = rows.iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, SOFTMAX_BITS);
        let bits: Vec<u32> = [-3.0, 0.0, 0.1, 20.0].iter().map(|&value| sigmoid(value).to_bits()).collect();
        assert_eq!(bits, SIGMOID_BITS);
    }

    // Written down once; exact variants in the field promise these bytes.
    const SOFTMAX_BITS: [u32; 6] = [1049016654, 1060576211, 1018228959, 39094891, 1065353216, 0];
    const SIGMOID_BITS: [u32; 4] = [1027752354, 1056964608, 1057383689, 1065353216];

    #[test]
    fn rows_sum_to_one() {
        let mut rows = vec![0.3, -0.4, 10.0, 2.0, 2.0, 2.0];
        softmax(&mut rows, 3);
        for row in rows.chunks_exact(3) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }
}
