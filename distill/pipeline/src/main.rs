//! The program `distill`.

fn main() -> std::process::ExitCode {
    distill_pipeline::tune_allocator();
    distill_pipeline::main_from(std::env::args_os().collect())
}
