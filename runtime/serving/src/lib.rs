//! The local inference API: Open Inference Protocol v2.
