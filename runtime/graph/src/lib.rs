//! An ONNX model as a plain graph.
