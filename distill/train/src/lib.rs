//! An ONNX graph as a trainable module, on Burn.
//!
//! A model goes in as bytes and comes out as bytes in which only its trained initializers differ: nodes, names and
//! metadata stay as they were. Code is generic over a Burn backend; the CPU backend replaces Burn's convolutions and
//! pooling by its own kernels, and CUDA is a Cargo feature behind a guard that looks for the driver first.
//!
//! Invariant: the same model, data, options and machine give the same bytes, whatever the number of threads.
//! Never here: files, command lines, quantization (plans come from outside).

mod augment;
mod backend;
mod dataset;
mod device;
mod error;
pub mod families;
mod flex;
mod forward;
#[cfg(test)]
mod gradient_tests;
mod kernels;
mod loss;
mod network;
mod operator;
mod optimizer;
mod options;
mod plan;
mod reshape;
mod run;
mod trainer;

pub use augment::augmented;
pub use dataset::Dataset;
pub use device::{TrainDevice, detect_cuda};
pub use error::{RefusedNode, TrainError};
pub use operator::OPERATORS;
pub use options::{Augmentation, Decay, LossTerm, Optimizer, Schedule, TrainOptions};
pub use trainer::{EpochRecord, Flow, Progress, Trained, Trainer, check_trainable, predict, train};
