//! Post-training quantization of ONNX graphs: calibration makes a plan, the plan makes an integer model.
//!
//! The model that comes out is float at its borders and QDQ inside: every quantized value passes QuantizeLinear
//! and DequantizeLinear, weights are signed 8-bit with one scale an output channel, biases 32-bit with the scale
//! of input times weights. Engines that know the form run it on integers.
//!
//! Invariants: the same model, samples and options give the same bytes; nothing is quantized whose integer form
//! engines do not have, and the report says of every node what became of it and why.
#![forbid(unsafe_code)]

mod adaround;
mod bound;
mod calibrate;
mod correct;
mod emit;
mod entropy;
mod equalize;
mod error;
mod fuse;
mod guard;
mod inputs;
mod linear;
mod mixed;
mod noise;
mod observe;
mod options;
mod pairs;
mod parameters;
mod passes;
mod prepare;
mod probe;
mod quantize;
mod random;
mod ranges;
mod refine;
mod report;
mod select;
mod sensitivity;
mod weights;
mod windows;

pub use adaround::{RoundedLayer, Rounding, RoundingOptions, round_adaptively};
pub use calibrate::{Calibration, calibrate, observe};
pub use correct::{BiasCorrection, LayerMeans, layer_means};
pub use equalize::{Equalized, EqualizedChannels, equalize};
pub use error::QuantizeError;
pub use mixed::{Measure, Mixed, MixedAttempt, mixed_precision};
pub use noise::{Batches, Bench, Samples};
pub use observe::{Observer, Range};
pub use options::{Activation, CalibrationOptions, ObserverKind, QuantizeOptions};
pub use pairs::{is_pair_safe, make_pair_safe};
pub use parameters::{activation_parameters, requantized};
pub use passes::{PassDetail, PassReport, Passes, Refinement, refine};
pub use prepare::prepare;
pub use quantize::{Quantized, quantize};
pub use ranges::{RangeChoice, choose_ranges};
pub use refine::{Refined, WeightCodes};
pub use report::{NodeReport, QuantizeReport};
pub use sensitivity::{LayerSensitivity, Ranking, rank};
