//! What the passes do to real models: `cargo run -p distill-quantize --example passes -- magika` (or `equalization`,
//! `rounding`).
//!
//! Reads models and samples below `CASK_DATA` and runs them with ONNX Runtime in the Python of `CASK_TEST_PYTHON`.
//! Prints figures on stdout, what was tried on stderr.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example speaks to a person")]

mod answers;
mod magika;
mod peer;
mod resnet;

use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn run() -> Result<()> {
    let data = std::env::var("CASK_DATA").map_err(|_| "CASK_DATA must name the folder of models and samples")?;
    let peer = peer::Peer::start()?;
    match std::env::args().nth(1).as_deref() {
        Some("magika") => magika::run(&peer, &data),
        Some("equalization") => resnet::equalization(&peer, &data),
        Some("rounding") => resnet::coarse(&peer, &data),
        other => Err(format!("found {other:?}, expected magika, equalization or rounding").into()),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to {error}");
            ExitCode::FAILURE
        }
    }
}
