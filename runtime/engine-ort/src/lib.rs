//! ONNX Runtime as an engine, loaded at run time.
//!
//! Nothing of ONNX Runtime is needed to build: [`OrtEngine::open`] loads its shared library, checks that it is what it
//! says and new enough, and only then starts it. A process holds one library; it stays loaded until the process ends.
//! The CPU provider runs every model, in ONNX Runtime's own arithmetic: answers depend on CPU and version, so no
//! session here is exact.
//!
//! **Invariants**: no path, library, model or request makes this crate panic past its border; bytes that are no
//! protobuf message, and models whose data lies in other files, never reach ONNX Runtime. Unsafe code is in `ffi` alone.
#![deny(unsafe_code)]

mod alarm;
mod engine;
mod ffi;
mod library;
mod session;
mod values;

pub use engine::{OrtEngine, THREADS_MAX};
pub use library::{LibraryInfo, MINOR_VERSION_MIN};
