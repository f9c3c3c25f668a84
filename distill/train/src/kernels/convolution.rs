//! Two-dimensional convolution (grouped, dilated, any padding) with an optional fused relu, and its gradients.

use rayon::prelude::*;

use super::depthwise::{self, Plane};
use super::im2col::Unfolding;
use super::multiply::{Matrix, multiply};
use super::vector::{relu_gradient, sum};
use super::window::Window;

/// Images that share one partial sum of the weights' gradient. Fixed, so that sums do not depend on the thread count.
const IMAGES_PER_PART_MIN: usize = 8;
/// Partial sums held at once, whatever the batch: bounds memory to this many copies of the weights.
const PARTS_MAX: usize = 16;

/// The shapes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Convolution {
    pub(crate) images: usize,
    pub(crate) groups: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) window: Window,
    /// Apply `max(x, 0)` to the result.
    pub(crate) relu: bool,
}

/// What [`Convolution::backward`] returns, each with the shape of the value it belongs to.
pub(crate) struct ConvolutionGradients {
    pub(crate) input: Option<Vec<f32>>,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Convolution {
    fn group_in(&self) -> usize {
        self.channels_in / self.groups
    }

    fn group_out(&self) -> usize {
        self.channels_out / self.groups
    }

    /// Rows of the unfolded matrix of one group, which is also the number of weights per output channel.
    fn depth(&self) -> usize {
        self.group_in() * self.window.taps()
    }

    fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    fn image_in(&self) -> usize {
        self.channels_in * self.input_plane()
    }

    fn image_out(&self) -> usize {
        self.channels_out * self.output_plane()
    }

    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.group_in() == 1
    }

    fn unfolding(&self) -> Unfolding {
        Unfolding { channels: self.group_in(), input: self.input, output: self.output, window: self.window }
    }

    fn images_per_part(&self) -> usize {
        self.images.div_ceil(PARTS_MAX).max(IMAGES_PER_PART_MIN)
    }

    /// The result, `[images, channels_out, output]`; `x`, `weight` and `bias` have the shapes that `self` describes.
    pub(crate) fn forward(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        assert_eq!(x.len(), self.images * self.image_in());
        assert_eq!(weight.len(), self.channels_out * self.depth());
        assert_eq!(bias.len(), self.channels_out);
        let mut y = vec![0.0f32; self.images * self.image_out()];
        if y.is_empty() {
            return y;
        }
        let images = y.par_chunks_mut(self.image_out()).zip(x.par_chunks(self.image_in()));
        if self.is_depthwise() {
            let plane = Plane::new(self.input, self.output, self.window);
            images.for_each_init(
                || plane.scratch(),
                |scratch, (y, x)| self.depthwise_image(&plane, scratch, x, weight, bias, y),
            );
        } else {
            let unfolding = self.unfolding();
            let scratch = if unfolding.is_identity() { 0 } else { unfolding.len() };
            images.for_each_init(
                || vec![0.0f32; scratch],
                |matrix, (y, x)| self.dense_image(&unfolding, matrix, x, weight, bias, y),
            );
        }
        y
    }

    fn dense_image(
        &self,
        unfolding: &Unfolding,
        matrix: &mut [f32],
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        y: &mut [f32],
    ) {
        let (depth, plane) = (self.depth(), self.output_plane());
        for group in 0..self.groups {
            let x = &x[group * self.group_in() * self.input_plane()..][..self.group_in() * self.input_plane()];
            let columns: &[f32] = if unfolding.is_identity() {
                x
            } else {
                unfolding.unfold(x, matrix);
                matrix
            };
            let first = group * self.group_out();
            let y = &mut y[first * plane..][..self.group_out() * plane];
            for (channel, out) in y.chunks_exact_mut(plane).enumerate() {
                out.fill(bias[first + channel]);
            }
            let weights = &weight[first * depth..][..self.group_out() * depth];
            multiply(
                [self.group_out(), plane, depth],
                y,
                true,
                Matrix::rows(weights, depth),
                Matrix::rows(columns, plane),
            );
        }
        self.clamp(y);
    }

    fn depthwise_image(
        &self,
        plane: &Plane,
        scratch: &mut depthwise::Scratch,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        y: &mut [f32],
    ) {
        let taps = self.window.taps();
        for (channel, out) in y.chunks_exact_mut(self.output_plane()).enumerate() {
            let source = channel / self.group_out();
            let x = &x[source * self.input_plane()..][..self.input_plane()];
            plane.forward(scratch, x, &weight[channel * taps..][..taps], bias[channel], out);
        }
        self.clamp(y);
    }

    fn clamp(&self, y: &mut [f32]) {
        if self.relu {
            for value in y {
                *value = value.max(0.0);
            }
        }
    }

    /// Gradients of the loss with respect to input (when `wants_input`), weight and bias.
    ///
    /// `y` is the result of [`Self::forward`]; it is read only when the relu is fused.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        weight: &[f32],
        y: &[f32],
        dy: &[f32],
        wants_input: bool,
    ) -> ConvolutionGradients {
        assert_eq!(x.len(), self.images * self.image_in());
        assert_eq!(dy.len(), self.images * self.image_out());
        assert!(!self.relu || y.len() == dy.len());
        let per_part = self.images_per_part();
        let parts = self.images.div_ceil(per_part);
        let mut dx = vec![0.0f32; if wants_input { x.len() } else { 0 }];
        let slices: Vec<Option<&mut [f32]>> = if wants_input {
            dx.chunks_mut(per_part * self.image_in()).map(Some).collect()
        } else {
            (0..parts).map(|_| None).collect()
        };
        let partial: Vec<(Vec<f32>, Vec<f32>)> = slices
            .into_par_iter()
            .enumerate()
            .map(|(part, dx)| {
                let images = part * per_part..((part + 1) * per_part).min(self.images);
                self.backward_part(images, x, weight, y, dy, dx)
            })
            .collect();
        let (mut dw, mut db) = (vec![0.0f32; weight.len()], vec![0.0f32; self.channels_out]);
        for (weights, biases) in partial {
            add(&mut dw, &weights);
            add(&mut db, &biases);
        }
        ConvolutionGradients { input: wants_input.then_some(dx), weight: dw, bias: db }
    }

    fn backward_part(
        &self,
        images: std::ops::Range<usize>,
        x: &[f32],
        weight: &[f32],
        y: &[f32],
        dy: &[f32],
        mut dx: Option<&mut [f32]>,
    ) -> (Vec<f32>, Vec<f32>) {
        let (mut dw, mut db) = (vec![0.0f32; weight.len()], vec![0.0f32; self.channels_out]);
        let mut masked = vec![0.0f32; if self.relu { self.image_out() } else { 0 }];
        let mut image_gradient = ImageGradient::new(self);
        for (index, image) in images.enumerate() {
            let range = image * self.image_out()..(image + 1) * self.image_out();
            let dy: &[f32] = if self.relu {
                relu_gradient(&mut masked, &dy[range.clone()], &y[range]);
                &masked
            } else {
                &dy[range]
            };
            for (total, plane) in db.iter_mut().zip(dy.chunks_exact(self.output_plane())) {
                *total += sum(plane);
            }
            let x = &x[image * self.image_in()..][..self.image_in()];
            let dx = dx.as_deref_mut().map(|dx| &mut dx[index * self.image_in()..][..self.image_in()]);
            image_gradient.add(x, weight, dy, &mut dw, dx);
        }
        (dw, db)
    }
}

fn add(target: &mut [f32], source: &[f32]) {
    for (t, s) in target.iter_mut().zip(source) {
        *t += s;
    }
}

/// The gradient of one image, with the scratch memory that is reused from image to image.
struct ImageGradient<'a> {
    shape: &'a Convolution,
    path: Path,
}

enum Path {
    Dense { unfolding: Unfolding, matrix: Vec<f32> },
    Depthwise { plane: Plane, scratch: depthwise::Scratch },
}

impl<'a> ImageGradient<'a> {
    fn new(shape: &'a Convolution) -> Self {
        let path = if shape.is_depthwise() {
            let plane = Plane::new(shape.input, shape.output, shape.window);
            let scratch = plane.scratch();
            Path::Depthwise { plane, scratch }
        } else {
            let unfolding = shape.unfolding();
            let len = if unfolding.is_identity() { 0 } else { unfolding.len() };
            Path::Dense { unfolding, matrix: vec![0.0; len] }
        };
        Self { shape, path }
    }

    /// Adds this image's share to `dw` and writes `dx`, which arrives zeroed.
    fn add(&mut self, x: &[f32], weight: &[f32], dy: &[f32], dw: &mut [f32], mut dx: Option<&mut [f32]>) {
        let shape = self.shape;
        match &mut self.path {
            Path::Depthwise { plane, scratch } => {
                let (taps, input, output) = (shape.window.taps(), shape.input_plane(), shape.output_plane());
                for channel in 0..shape.channels_out {
                    let source = channel / shape.group_out();
                    plane.backward(
                        scratch,
                        &x[source * input..][..input],
                        &weight[channel * taps..][..taps],
                        &dy[channel * output..][..output],
                        &mut dw[channel * taps..][..taps],
                        dx.as_deref_mut().map(|dx| &mut dx[source * input..][..input]),
                    );
                }
            }
            Path::Dense { unfolding, matrix } => {
                for group in 0..shape.groups {
                    dense_group(shape, unfolding, matrix, group, x, weight, dy, dw, dx.as_deref_mut());
                }
            }
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn dense_group(
    shape: &Convolution,
    unfolding: &Unfolding,
    matrix: &mut [f32],
    group: usize,
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    dx: Option<&mut [f32]>,
) {
    let (depth, plane, outputs) = (shape.depth(), shape.output_plane(), shape.group_out());
    let inputs = group * shape.group_in() * shape.input_plane()..(group + 1) * shape.group_in() * shape.input_plane();
    let weights = group * outputs * depth..(group + 1) * outputs * depth;
    let dy = &dy[group * outputs * plane..][..outputs * plane];
    let x = &x[inputs.clone()];
    let columns: &[f32] = if unfolding.is_identity() {
        x
    } else {
        unfolding.unfold(x, matrix);
        matrix
    };
    multiply(
        [outputs, depth, plane],
        &mut dw[weights.clone()],
        true,
        Matrix::rows(dy, plane),
        Matrix::transposed(columns, plane),
    );
    let Some(dx) = dx else { return };
    let (dx, weight) = (&mut dx[inputs], &weight[weights]);
    let (transposed, gradient) = (Matrix::transposed(weight, depth), Matrix::rows(dy, plane));
    if unfolding.is_identity() {
        multiply([depth, plane, outputs], dx, false, transposed, gradient);
    } else {
        multiply([depth, plane, outputs], matrix, false, transposed, gradient);
        unfolding.fold_add(matrix, dx);
    }
}
