//! Rows that are brought to a norm: softmax and layer normalization.

use super::function::exp;

/// Sums that are made beside each other: a sum from left to right would be one addition after the other.
const LANES: usize = 16;

/// The sum of `of` every element.
#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += of(x));
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&x| of(x)).sum::<f32>()
}

/// exp(x - largest), divided by the sum of them, over rows of `width`.
#[inline(always)]
pub(crate) fn softmax(input: &[f32], width: usize, output: &mut [f32]) {
    let width = width.max(1);
    for (row, y) in input.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        let mut largest = [f32::NEG_INFINITY; LANES];
        let (whole, rest) = row.as_chunks::<LANES>();
        for chunk in whole {
            largest.iter_mut().zip(chunk).for_each(|(largest, &x)| *largest = larger(*largest, x));
        }
        let largest = largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger);
        y.iter_mut().zip(row).for_each(|(y, x)| *y = exp(x - largest));
        let scale = 1.0 / sum(y, |x| x);
        y.iter_mut().for_each(|y| *y *= scale);
    }
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over rows as wide as `scale`; an empty bias is zeros.
#[inline(always)]
pub(crate) fn layer_norm(input: &[f32], [scale, bias]: [&[f32]; 2], epsilon: f32, output: &mut [f32]) {
    let width = scale.len().max(1);
    for (row, y) in input.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
        let mean = sum(row, |x| x) / width as f32;
        let variance = sum(row, |x| (x - mean) * (x - mean)) / width as f32;
        let factor = 1.0 / (variance + epsilon).sqrt();
        let normal = row.iter().zip(scale).map(|(x, scale)| (x - mean) * factor * scale);
        if bias.is_empty() {
            y.iter_mut().zip(normal).for_each(|(y, normal)| *y = normal);
        } else {
            y.iter_mut().zip(normal.zip(bias)).for_each(|(y, (normal, bias))| *y = normal + bias);
        }
    }
}
