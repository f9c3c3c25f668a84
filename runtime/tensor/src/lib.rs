//! Element types, shapes, owned tensors, quantization parameters and comparison.
