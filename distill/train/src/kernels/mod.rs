//! Operators for the CPU: convolution as im2col and matrix multiplication, depthwise convolution as shifted
//! multiply-adds, pooling. Planes are `f32`, images in order batch, channel, row, column.
//!
//! Invariant: the order of every floating-point sum depends only on the shapes, never on the number of threads. Work
//! is split over images in parts of a fixed size, each part writes its own slice, and partial sums of weights are added
//! in the order of the parts.

pub(crate) mod convolution;
mod depthwise;
mod im2col;
mod multiply;
pub(crate) mod pooling;
mod vector;
pub(crate) mod window;
