//! Integer kernels whose scalar form is the definition.
