//! The three programs in one executable of this package, so that its tests start the code that they were built with.

fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    targets_local::programs::run_as_program(&arguments).unwrap_or(std::process::ExitCode::from(2))
}
