//! An ONNX graph as a trainable module.
