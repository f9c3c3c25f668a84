//! Calibration and quantization as a caller sees them, on an engine whose arithmetic is easy to check.
#![allow(missing_docs, reason = "tests")]

mod accuracy;
mod calibrating;
mod emitting;
mod equalizing;
mod mixing;
mod passing;
mod preparing;
mod reference;
mod refining;
mod samples;
