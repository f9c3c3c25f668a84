//! The program `edge-agent`; everything is in the library.

fn main() -> std::process::ExitCode {
    cloud_sync_agent::main_from(std::env::args_os().collect())
}
