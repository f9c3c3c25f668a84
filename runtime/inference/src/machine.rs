//! Reads this machine into a profile.

use std::collections::BTreeSet;
use std::path::Path;

use runtime_disk::read_bounded;
use targets_profile::Profile;

use crate::Engines;

/// Bytes read of any file under `/proc` or `/sys`; the longest, `/proc/cpuinfo` of a large server, is smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What this machine is: architecture, CPU features that the operating system lets this process use, cores, memory
/// (the container's limit when it is lower) and the names of `engines`.
///
/// Never fails: what cannot be read is left out (memory 0), and that is logged.
pub fn read_machine(engines: &Engines) -> Profile {
    Profile {
        architecture: std::env::consts::ARCH.to_owned(),
        cpu_features: cpu_features(),
        cores: std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory_bytes(),
        // No engine of this build runs on one.
        accelerators: Vec::new(),
        engine_order: engines.names().into_iter().map(str::to_owned).collect(),
        os: std::env::consts::OS.to_owned(),
    }
}

/// Bytes of main memory that this process holds now; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// The most bytes of main memory that this process has held so far; 0 where the system does not tell.
pub fn peak_bytes() -> u64 {
    status_bytes("VmHWM:")
}

fn status_bytes(key: &str) -> u64 {
    read_text("/proc/self/status").and_then(|text| kilobytes(&text, key)).unwrap_or(0)
}

fn read_text(path: &str) -> Option<String> {
    String::from_utf8(read_bounded(Path::new(path), FILE_BYTES_MAX).ok()?).ok()
}

/// The value of a line such as `MemTotal:   16384 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn memory_bytes() -> u64 {
    let machine = read_text("/proc/meminfo").and_then(|text| kilobytes(&text, "MemTotal:"));
    if machine.is_none() {
        tracing::warn!("failed to read MemTotal from /proc/meminfo; this device's memory counts as 0 bytes");
    }
    // cgroup v2, then v1. Without a limit v2 says "max" and v1 a number above any memory.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().filter_map(|path| read_text(path)?.trim().parse::<u64>().ok()).min();
    machine.unwrap_or(0).min(limit.unwrap_or(u64::MAX))
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> BTreeSet<String> {
    macro_rules! detected {
        ($($feature:tt),*) => {
            [$(($feature, std::arch::is_x86_feature_detected!($feature))),*]
        };
    }
    let all = detected!(
        "sse4.1",
        "sse4.2",
        "popcnt",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "bmi1",
        "bmi2",
        "avxvnni",
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
        "avx512vnni",
        "avx512bf16",
        "avx512fp16",
        "avxvnniint8"
    );
    all.into_iter().filter(|(_, found)| *found).map(|(feature, _)| feature.to_owned()).collect()
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> BTreeSet<String> {
    macro_rules! detected {
        ($($feature:tt),*) => {
            [$(($feature, std::arch::is_aarch64_feature_detected!($feature))),*]
        };
    }
    let all = detected!("neon", "dotprod", "fp16", "i8mm", "bf16", "sve", "sve2", "crc", "aes", "sha2");
    all.into_iter().filter(|(_, found)| *found).map(|(feature, _)| feature.to_owned()).collect()
}

/// Elsewhere the standard library cannot ask; Linux lists the features itself.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> BTreeSet<String> {
    read_text("/proc/cpuinfo").map(|text| listed_features(&text)).unwrap_or_default()
}

/// The features of the first `Features` line of 32-bit ARM's `/proc/cpuinfo`, under Rust's names where they differ.
#[cfg_attr(any(target_arch = "x86_64", target_arch = "aarch64"), allow(dead_code))]
fn listed_features(cpuinfo: &str) -> BTreeSet<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("Features")).and_then(|line| line.split_once(':'));
    let rust_name = |feature: &str| match feature {
        "asimd" => "neon".to_owned(),
        "asimddp" => "dotprod".to_owned(),
        other => other.to_owned(),
    };
    line.map(|(_, list)| list.split_whitespace().map(rust_name).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_and_an_engine() {
        let machine = read_machine(&Engines::standard());
        assert!(machine.cores >= 1);
        assert!(machine.engine_order.iter().any(|name| name == "native"), "{machine:?}");
        if cfg!(target_os = "linux") {
            assert!(machine.memory_bytes > 1 << 20, "{machine:?}");
            // In this order: a test beside this one may take memory between the two looks.
            let resident = resident_bytes();
            assert!(resident > 0 && peak_bytes() >= resident);
        }
    }

    #[test]
    fn proc_lines_are_read_in_kilobytes() {
        let text = "MemTotal:       16384 kB\nMemFree:  12 kB\nOdd: 3\n";
        assert_eq!(kilobytes(text, "MemTotal:"), Some(16_777_216));
        assert_eq!(kilobytes(text, "Odd:"), None);
        assert_eq!(kilobytes(text, "Missing:"), None);
        assert_eq!(kilobytes(&format!("MemTotal: {} kB", u64::MAX), "MemTotal:"), None);
    }

    #[test]
    fn arm_features_get_rusts_names() {
        let cpuinfo = "processor\t: 0\nFeatures\t: half thumb asimd asimddp crc32\n";
        let expected = ["half", "thumb", "neon", "dotprod", "crc32"].map(str::to_owned);
        assert_eq!(listed_features(cpuinfo), BTreeSet::from(expected));
    }
}
