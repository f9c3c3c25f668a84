//! Post-training quantization of ONNX graphs.
mod calibrate;
mod error;
mod options;
pub use calibrate::calibrate;
pub use error::QuantizeError;
pub use options::{Activation, CalibrationOptions, NodeReport, ObserverKind, QuantizeOptions, QuantizeReport, Quantized, quantize};
