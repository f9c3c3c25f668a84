//! What a table has beside products: the loops that the compiler turns into vectors by itself, compiled once for each
//! instruction set.

use crate::dynamic::Scaled;
use crate::rows::Rows;
use crate::{Add, Affine, AveragePool, GlobalAveragePool, Permutation, Requantization, Scratch, Table, Window};

/// From which row on, the sums and their distance from row to row, the output and the same of it.
type ScaleKernel = fn(&Scaled<'_>, usize, (&[i32], usize), (&mut [f32], usize));

/// The loops of one instruction set. All of them give the scalar loops' bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElementwiseKernel {
    pub(crate) add: fn(&Add, &[u8], &[u8], &mut [u8]),
    pub(crate) quantize: fn(&[f32], &Affine, &mut [u8]),
    pub(crate) dequantize: fn(&[u8], &Affine, &mut [f32]),
    pub(crate) requantize: fn(&Requantization, &[i32], i32, usize, &mut [u8]),
    pub(crate) bounds: fn(&[f32]) -> [f32; 2],
    pub(crate) scale: ScaleKernel,
    pub(crate) sum_rows: fn(&Rows<'_>, usize, &mut [i32]),
    pub(crate) scale_floats: fn(&Scaled<'_>, &[f32], &mut [f32]),
    pub(crate) permute: fn(&Permutation, &[u8], &mut [u8]),
    pub(crate) max_pool: fn(&Window, usize, &[u8], &mut [u8]),
    pub(crate) average_pool: fn(&AveragePool, &[u8], &mut Scratch, &mut [u8]),
    pub(crate) global_average_pool: fn(&GlobalAveragePool, &[u8], &mut Scratch, &mut [u8]),
}

impl Table {
    /// `a + b`, element by element.
    pub fn add(&self, add: &Add, a: &[u8], b: &[u8], y: &mut [u8]) {
        (self.elementwise.add)(add, a, b, y);
    }

    /// Quantizes element by element.
    pub fn quantize(&self, input: &[f32], affine: &Affine, output: &mut [u8]) {
        (self.elementwise.quantize)(input, affine, output);
    }

    /// Dequantizes element by element.
    pub fn dequantize(&self, input: &[u8], affine: &Affine, output: &mut [f32]) {
        (self.elementwise.dequantize)(input, affine, output);
    }

    /// Copies bytes in another order of axes.
    pub fn permute(&self, permutation: &Permutation, input: &[u8], output: &mut [u8]) {
        (self.elementwise.permute)(permutation, input, output);
    }

    /// The largest byte under each window of whole images of `channels` channels; what lies outside does not count.
    pub fn max_pool(&self, window: &Window, channels: usize, input: &[u8], output: &mut [u8]) {
        (self.elementwise.max_pool)(window, channels, input, output);
    }

    /// The mean under each window of whole images.
    pub fn average_pool(&self, pool: &AveragePool, input: &[u8], scratch: &mut Scratch, output: &mut [u8]) {
        (self.elementwise.average_pool)(pool, input, scratch, output);
    }

    /// The mean of each channel of whole images.
    pub fn global_average_pool(
        &self,
        pool: &GlobalAveragePool,
        input: &[u8],
        scratch: &mut Scratch,
        output: &mut [u8],
    ) {
        (self.elementwise.global_average_pool)(pool, input, scratch, output);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::every_available;

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_scalar_bytes(
            scales in prop::array::uniform3(1e-4f32..0.5), zero_points in prop::array::uniform3(0i32..=255),
            bytes in prop::collection::vec(any::<u8>(), 2..300), floats in prop::collection::vec(-300f32..300.0, 0..200),
            channels in 1usize..70
        ) {
            let affine = |index: usize| Affine::new(scales[index], zero_points[index], false).unwrap();
            let (a, b) = bytes.split_at(bytes.len() / 2);
            let Ok(add) = Add::new(&affine(0), &affine(1), &affine(2), [3, 250]) else { return Ok(()) };
            let pixels = bytes.len().div_ceil(channels) + 1;
            let image: Vec<u8> = bytes.iter().copied().cycle().take(pixels * channels).collect();
            let window = Window {
                input: [1, pixels], kernel: [1, 2], stride: [1, 1], dilation: [1, 1], pad: [0, 1], output: [1, pixels],
            };
            let average =
                AveragePool::new(window.clone(), channels, affine(0), affine(1), [0, 255], false).unwrap();
            let global = GlobalAveragePool::new(pixels, channels, affine(0), affine(1), [0, 255]).unwrap();
            let answers = |table: &Table| {
                let mut scratch = Scratch::new();
                let mut all = vec![vec![0; a.len()], vec![0; floats.len()], vec![0; image.len()], vec![0; image.len()]];
                all.push(vec![0; channels]);
                table.add(&add, a, b, &mut all[0]);
                table.quantize(&floats, &affine(0), &mut all[1]);
                table.max_pool(&window, channels, &image, &mut all[2]);
                table.average_pool(&average, &image, &mut scratch, &mut all[3]);
                table.global_average_pool(&global, &image, &mut scratch, &mut all[4]);
                let mut real = vec![0.0; bytes.len()];
                table.dequantize(&bytes, &affine(2), &mut real);
                (all, real)
            };
            let expected = answers(crate::dispatch(crate::Isa::Scalar).unwrap());
            for table in every_available() {
                prop_assert_eq!(&answers(table), &expected, "{}", table.isa.name());
            }
        }
    }
}
