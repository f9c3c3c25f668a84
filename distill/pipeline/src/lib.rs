//! The program `distill`: from a recipe, a teacher and data to a small, quantized, signed model.
//!
//! Data becomes four parts that never share a sample; the student is trained against the teacher's logits; quantization
//! is searched until the accuracy budget holds on the validation part, measured with the device's own engine; the test
//! part is read once, at the end; the result is sealed into a `.cask`.
//!
//! Invariants: the sealed artifact is the only thing that leaves for a fleet; golden answers come from the validation
//! part, never from the test part; nothing here opens a network connection.

mod args;
mod budget;
mod cache;
mod commands;
mod data;
mod device;
mod error;
mod golden;
mod models;
mod recipe;
mod run;
mod runner;
mod seal;
mod search;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program with `args`, of which the first is its name, and returns its exit code.
pub fn main_from(args: Vec<OsString>) -> ExitCode {
    commands::main_from(args)
}

/// Tells glibc's allocator to keep and reuse large buffers: a training step allocates and frees the same ones again
/// and again, and giving them back to the system each time makes depthwise networks 1.6 times slower.
///
/// For a process that does nothing but train; does nothing on other C libraries.
pub fn tune_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets parameters of the allocator; it is called before any thread is started.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
