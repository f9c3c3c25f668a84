//! The program `fleet`.

fn main() -> std::process::ExitCode {
    cloud_sync_fleet::main_from(std::env::args_os().collect())
}
