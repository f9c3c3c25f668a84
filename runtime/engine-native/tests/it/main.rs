//! The native engine against ONNX Runtime's answers, against tract's limits and against bad models.
#![allow(clippy::disallowed_methods)] // Fixtures are small files of this package.

mod answers;
mod author;
mod bad_models;
mod coverage;
mod dynamic_answers;
mod float_answers;
mod float_models;
mod partial;
mod partial_random;
mod requests;
mod threads;
mod transformers;
