//! The three programs in one executable of this package, so that its tests start the code that they were built with.
#![allow(clippy::disallowed_methods)] // The report below is a file that the test made itself.

/// Where to write the peak of this process's resident memory, in KiB.
const PEAK_FILE_ENV: &str = "TESTS_PEAK_FILE";

fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let code = targets_local::programs::run_as_program(&arguments).unwrap_or(std::process::ExitCode::from(2));
    if let Some(file) = std::env::var_os(PEAK_FILE_ENV) {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux counts the peak");
        std::fs::write(file, peak.trim().trim_end_matches("kB").trim()).expect("the test's folder");
    }
    code
}
