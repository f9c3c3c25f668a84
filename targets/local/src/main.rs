//! `cargo quickstart`.

fn main() -> std::process::ExitCode {
    targets_local::main_from(std::env::args_os().collect())
}
