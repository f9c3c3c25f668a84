//! What operators compute, on `f64`: with 8-bit integers times a scale inside, every sum here is far more exact than
//! any engine's, so that only rounding is left to judge. Loops as in the operators' definitions, nothing clever.

/// A tensor of real numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Real {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f64>,
}

/// Stride, dilation and padding of a window, the same for a convolution and a pool; two spatial axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Before height and width, then behind them.
    pub(super) pads: [usize; 4],
}

/// What a pool makes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    Max,
    /// Divided by the number of elements that lie in the image.
    Average,
    /// Divided by the size of the window.
    AverageWithPads,
}

impl Window {
    fn output(&self, axis: usize, size: usize) -> usize {
        let span = self.dilation * (self.kernel[axis] - 1) + 1;
        (size + self.pads[axis] + self.pads[axis + 2] - span) / self.stride + 1
    }

    /// The place in the image that the window's element reads; `None` in the padding.
    fn place(&self, axis: usize, output: usize, element: usize, size: usize) -> Option<usize> {
        let place = (output * self.stride + element * self.dilation).checked_sub(self.pads[axis])?;
        (place < size).then_some(place)
    }
}

impl Real {
    pub(super) fn new(shape: &[usize], values: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "a value for each element");
        Self { shape: shape.to_vec(), values }
    }

    pub(super) fn map(&self, compute: impl Fn(f64) -> f64) -> Self {
        Self::new(&self.shape, self.values.iter().map(|&value| compute(value)).collect())
    }

    /// Element-wise on both, each broadcast as numpy does.
    pub(super) fn with(&self, other: &Self, compute: impl Fn(f64, f64) -> f64) -> Self {
        let rank = self.shape.len().max(other.shape.len());
        let padded = |shape: &[usize]| [vec![1; rank - shape.len()], shape.to_vec()].concat();
        let (left, right) = (padded(&self.shape), padded(&other.shape));
        let shape: Vec<usize> = left.iter().zip(&right).map(|(a, b)| *a.max(b)).collect();
        let pick = |real: &Self, own: &[usize], place: &[usize]| {
            let offset = own.iter().zip(place).fold(0, |offset, (size, at)| offset * size + at % size);
            real.values[offset]
        };
        let values = places(&shape).map(|place| compute(pick(self, &left, &place), pick(other, &right, &place)));
        Self::new(&shape, values.collect())
    }

    pub(super) fn convolution(&self, weights: &Self, bias: &[f64], groups: usize, window: Window) -> Self {
        let [batch, channels, height, width] = self.shape[..] else { panic!("four axes") };
        let [outputs, inner, ..] = weights.shape[..] else { panic!("four axes") };
        assert_eq!(channels, inner * groups, "channels of the weights");
        let shape = [batch, outputs, window.output(0, height), window.output(1, width)];
        let value = |place: Vec<usize>| {
            let [image, output, row, column] = place[..] else { panic!("four axes") };
            let mut sum = bias.get(output).copied().unwrap_or(0.0);
            for channel in 0..inner {
                let source = output / (outputs / groups) * inner + channel;
                for (y, x) in (0..window.kernel[0]).flat_map(|y| (0..window.kernel[1]).map(move |x| (y, x))) {
                    let at = (window.place(0, row, y, height), window.place(1, column, x, width));
                    if let (Some(down), Some(right)) = at {
                        let weight = ((output * inner + channel) * window.kernel[0] + y) * window.kernel[1] + x;
                        let pixel = ((image * channels + source) * height + down) * width + right;
                        sum += self.values[pixel] * weights.values[weight];
                    }
                }
            }
            sum
        };
        Self::new(&shape, places(&shape).map(value).collect())
    }

    pub(super) fn pool(&self, window: Window, pool: Pool) -> Self {
        let [batch, channels, height, width] = self.shape[..] else { panic!("four axes") };
        let shape = [batch, channels, window.output(0, height), window.output(1, width)];
        let value = |place: Vec<usize>| {
            let [image, channel, row, column] = place[..] else { panic!("four axes") };
            let window_places = (0..window.kernel[0]).flat_map(|y| (0..window.kernel[1]).map(move |x| (y, x)));
            let inside: Vec<f64> = window_places
                .filter_map(|(y, x)| {
                    let down = window.place(0, row, y, height)?;
                    let right = window.place(1, column, x, width)?;
                    Some(self.values[((image * channels + channel) * height + down) * width + right])
                })
                .collect();
            match pool {
                Pool::Max => inside.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Pool::Average => inside.iter().sum::<f64>() / inside.len() as f64,
                Pool::AverageWithPads => inside.iter().sum::<f64>() / (window.kernel[0] * window.kernel[1]) as f64,
            }
        };
        Self::new(&shape, places(&shape).map(value).collect())
    }

    /// Matrices of the last two axes; `other` has as many axes, or two.
    pub(super) fn matrix_product(&self, other: &Self) -> Self {
        let rank = self.shape.len();
        let (rows, inner) = (self.shape[rank - 2], self.shape[rank - 1]);
        let columns = other.shape[other.shape.len() - 1];
        let mut shape = self.shape.clone();
        shape[rank - 1] = columns;
        let matrices = other.values.len() / (inner * columns);
        let value = |index: usize| {
            let (matrix, row, column) = (index / (rows * columns), index / columns, index % columns);
            let right = &other.values[matrix % matrices * inner * columns..];
            (0..inner).map(|at| self.values[row * inner + at] * right[at * columns + column]).sum()
        };
        let count = shape.iter().product();
        Self::new(&shape, (0..count).map(value).collect())
    }

    pub(super) fn transposed(&self, order: &[usize]) -> Self {
        let shape: Vec<usize> = order.iter().map(|&axis| self.shape[axis]).collect();
        let value = |place: Vec<usize>| {
            let mut source = vec![0; place.len()];
            order.iter().zip(place).for_each(|(&axis, at)| source[axis] = at);
            self.values[self.shape.iter().zip(source).fold(0, |offset, (size, at)| offset * size + at)]
        };
        Self::new(&shape, places(&shape).map(value).collect())
    }

    /// Joined along axis 1.
    pub(super) fn concatenated(parts: &[&Self]) -> Self {
        let mut shape = parts[0].shape.clone();
        shape[1] = parts.iter().map(|part| part.shape[1]).sum();
        let row = |part: &&Self, image: usize| {
            let length = part.values.len() / part.shape[0];
            part.values[image * length..][..length].to_vec()
        };
        let rows = (0..shape[0]).flat_map(|image| parts.iter().flat_map(move |part| row(part, image)));
        Self::new(&shape, rows.collect())
    }

    /// Twice as high and wide, each pixel four times.
    pub(super) fn doubled(&self) -> Self {
        let [batch, channels, height, width] = self.shape[..] else { panic!("four axes") };
        let shape = [batch, channels, 2 * height, 2 * width];
        let value = |place: Vec<usize>| {
            let [image, channel, row, column] = place[..] else { panic!("four axes") };
            self.values[((image * channels + channel) * height + row / 2) * width + column / 2]
        };
        Self::new(&shape, places(&shape).map(value).collect())
    }

    /// A function of each row along the last axis.
    pub(super) fn rows(&self, compute: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let length = self.shape[self.shape.len() - 1];
        Self::new(&self.shape, self.values.chunks(length).flat_map(compute).collect())
    }

    pub(super) fn softmax(&self) -> Self {
        self.rows(|row| {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = row.iter().map(|value| (value - largest).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.iter().map(|power| power / sum).collect()
        })
    }

    pub(super) fn layer_norm(&self, epsilon: f64) -> Self {
        self.rows(|row| {
            let count = row.len() as f64;
            let mean = row.iter().sum::<f64>() / count;
            let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            row.iter().map(|value| (value - mean) / (variance + epsilon).sqrt()).collect()
        })
    }
}

/// Every place of a shape, in row-major order.
fn places(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    (0..shape.iter().product()).map(move |mut index: usize| {
        let mut place = vec![0; shape.len()];
        for (at, size) in place.iter_mut().zip(&shape).rev() {
            *at = index % size;
            index /= size;
        }
        place
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> Real {
        Real::new(shape, (0..shape.iter().product::<usize>()).map(|value| value as f64).collect())
    }

    const THREE: Window = Window { kernel: [3, 3], stride: 1, dilation: 1, pads: [1; 4] };

    #[test]
    fn windows_by_hand() {
        let image = counting(&[1, 1, 3, 3]);
        let ones = Real::new(&[1, 1, 3, 3], vec![1.0; 9]);
        let sums = image.convolution(&ones, &[0.5], 1, THREE);
        assert_eq!(sums.values, [8.5, 15.5, 12.5, 21.5, 36.5, 27.5, 20.5, 33.5, 24.5]);
        let apart = Window { stride: 2, ..THREE };
        assert_eq!(image.pool(apart, Pool::Max).values, [4.0, 5.0, 7.0, 8.0]);
        assert_eq!(image.pool(apart, Pool::Average).values, [2.0, 3.0, 5.0, 6.0]);
        assert_eq!(image.pool(apart, Pool::AverageWithPads).values[0], 8.0 / 9.0);
    }

    #[test]
    fn groups_read_their_own_channels() {
        let image = counting(&[1, 2, 1, 1]);
        let window = Window { kernel: [1, 1], pads: [0; 4], ..THREE };
        let weights = Real::new(&[4, 1, 1, 1], vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(image.convolution(&weights, &[], 2, window).values, [0.0, 0.0, 3.0, 4.0]);
    }

    #[test]
    fn products_and_movement_by_hand() {
        let left = counting(&[2, 1, 2]);
        let right = counting(&[2, 2]);
        assert_eq!(left.matrix_product(&right).values, [2.0, 3.0, 6.0, 11.0]);
        assert_eq!(left.matrix_product(&counting(&[2, 2, 1])).values, [1.0, 13.0]);
        assert_eq!(right.transposed(&[1, 0]).values, [0.0, 2.0, 1.0, 3.0]);
        assert_eq!(counting(&[1, 1, 1, 2]).doubled().values, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        let pair = counting(&[2, 1]);
        assert_eq!(Real::concatenated(&[&pair, &pair]).values, [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(right.with(&pair, |a, b| a + b).values, [0.0, 1.0, 3.0, 4.0]);
    }
}
