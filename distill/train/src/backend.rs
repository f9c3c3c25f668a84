//! What the trainer asks of a Burn backend beyond Burn's own operators.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::{ConvOptions, FloatTensor};
use burn::tensor::{DType, Shape, Slice, Tensor, TensorMetadata, TensorPrimitive};

use crate::kernels::convolution::Convolution;
use crate::kernels::pooling::Pooling;
use crate::kernels::window::Window;

/// Sliding-window operators. The defaults use Burn's own, padding by hand where Burn pads symmetrically only; the CPU
/// backend replaces them.
pub(crate) trait TrainBackend: AutodiffBackend {
    /// Convolution with optional bias and fused relu.
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        shape: &Convolution,
    ) -> FloatTensor<Self> {
        let window = &shape.window;
        let (x, padding) = pad_asymmetric::<Self>(x, window, 0.0);
        let options = ConvOptions::new(window.stride, padding, window.dilation, shape.groups);
        let y = Self::conv2d(x, weight, bias, options);
        if shape.relu { Self::relu(y) } else { y }
    }

    /// Maximum pooling.
    fn max_pool(x: FloatTensor<Self>, shape: &Pooling) -> FloatTensor<Self> {
        let window = &shape.window;
        let (x, padding) = pad_asymmetric::<Self>(x, window, f32::MIN);
        Self::max_pool2d(x, window.kernel, window.stride, padding, window.dilation, window.ceil)
    }

    /// Average pooling.
    fn average_pool(x: FloatTensor<Self>, shape: &Pooling) -> FloatTensor<Self> {
        let window = &shape.window;
        if window.pads_begin == window.pads_end {
            return Self::avg_pool2d(
                x,
                window.kernel,
                window.stride,
                window.pads_begin,
                shape.includes_padding,
                window.ceil,
            );
        }
        // Sum over the padded window divided by how much of it counts: both are averages of the same window.
        let ones = Self::float_ones(x.shape(), &Self::float_device(&x), x.dtype().into());
        let average = |tensor| {
            let (padded, _) = pad_asymmetric::<Self>(tensor, window, 0.0);
            Self::avg_pool2d(padded, window.kernel, window.stride, [0, 0], true, window.ceil)
        };
        let mean = average(x);
        if shape.includes_padding { mean } else { Self::float_div(mean, average(ones)) }
    }
}

/// Pads `[images, channels, height, width]` by hand where the two sides differ; returns what Burn still has to pad.
fn pad_asymmetric<B: AutodiffBackend>(x: FloatTensor<B>, window: &Window, value: f32) -> (FloatTensor<B>, [usize; 2]) {
    if window.pads_begin == window.pads_end {
        return (x, window.pads_begin);
    }
    let [images, channels, height, width] = x.shape().dims::<4>();
    let (begin, end) = (window.pads_begin, window.pads_end);
    let padded = Shape::from(vec![images, channels, height + begin[0] + end[0], width + begin[1] + end[1]]);
    let canvas = B::float_full(padded, value.into(), &B::float_device(&x), DType::F32.into());
    let slices = [
        Slice::from(0..images),
        Slice::from(0..channels),
        Slice::from(begin[0]..begin[0] + height),
        Slice::from(begin[1]..begin[1] + width),
    ];
    (B::float_slice_assign(canvas, &slices, x), [0, 0])
}

/// The primitive inside a tensor of known rank.
pub(crate) fn primitive<B: AutodiffBackend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// A tensor of known rank around a primitive.
pub(crate) fn ranked<B: AutodiffBackend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

#[cfg(feature = "cuda")]
impl TrainBackend for burn::backend::Autodiff<burn::backend::Cuda> {}
