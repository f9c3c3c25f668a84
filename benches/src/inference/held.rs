//! ONNX Runtime held to AVX2 on a CPU that has more.
//!
//! Its instruction set cannot be chosen, and a bench of our AVX2 kernels beside its VNNI ones says nothing about a CPU
//! that has AVX2 only. So a copy of the library is made in which every `cpuid` instruction is a breakpoint, which this
//! process answers without AVX-512, VNNI and AMX. Nothing else in it changes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;

/// The instruction, and what stands for it: a breakpoint and an instruction that does nothing.
const CPUID: [u8; 2] = [0x0f, 0xa2];
const BREAKPOINT: [u8; 2] = [0xcc, 0x90];

/// Bytes of the library at most.
const LIBRARY_BYTES_MAX: u64 = 1 << 30;

/// A library that finds no more than AVX2.
#[derive(Debug)]
pub(crate) struct Held {
    _folder: TempDir,
    pub(crate) library: PathBuf,
}

impl Held {
    /// A copy of `library`. Needs `objdump`.
    pub(crate) fn copy_of(library: &Path) -> Result<Self> {
        let mut bytes = runtime_disk::read_bounded(library, LIBRARY_BYTES_MAX)?;
        let sections = objdump(&["-h", "-j", ".text"], library)?;
        let (start, place) = text_section(&sections)
            .ok_or_else(|| anyhow!("objdump finds no .text section in {}", library.display()))?;
        let code = objdump(&["-d", "--no-show-raw-insn", "-j", ".text"], library)?;
        let mut replaced = 0;
        for address in code.lines().filter_map(cpuid_address) {
            let at = address.checked_sub(start).map(|offset| (offset + place) as usize);
            let bytes = at.and_then(|at| bytes.get_mut(at..at + 2)).filter(|bytes| **bytes == CPUID);
            bytes
                .ok_or_else(|| anyhow!("no cpuid instruction at {address:#x}, where objdump finds one"))?
                .copy_from_slice(&BREAKPOINT);
            replaced += 1;
        }
        ensure!(replaced > 0, "{} has no cpuid instruction", library.display());
        let folder = tempfile::tempdir().context("failed to make a temporary folder")?;
        let library = folder.path().join("libonnxruntime.so");
        runtime_disk::write_atomic(&library, &bytes)?;
        Ok(Self { _folder: folder, library })
    }
}

/// Readies this process for such a library.
pub(crate) fn expect_breakpoints() -> Result<()> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    return crate::ffi::answer_breakpoints_as_avx2().context("failed to handle breakpoints");
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    anyhow::bail!("--peer-isa avx2 is for Linux on x86-64");
}

/// An error unless the library asked what the CPU has, and so heard that it is AVX2.
pub(crate) fn check_asked() -> Result<()> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    ensure!(crate::ffi::answered() > 0, "ONNX Runtime never asked what this CPU has: it was not held to AVX2");
    Ok(())
}

fn objdump(arguments: &[&str], library: &Path) -> Result<String> {
    let output = Command::new("objdump").args(arguments).arg(library).output();
    let output = output.context("failed to start objdump; --peer-isa needs it (Debian: binutils)")?;
    ensure!(output.status.success(), "objdump fails on {}", library.display());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where .text begins in memory, and in the file: `Idx Name Size VMA LMA File-off Algn`.
fn text_section(sections: &str) -> Option<(u64, u64)> {
    let row = sections.lines().find(|line| line.split_whitespace().nth(1) == Some(".text"))?;
    let field = |position: usize| u64::from_str_radix(row.split_whitespace().nth(position)?, 16).ok();
    Some((field(3)?, field(5)?))
}

fn cpuid_address(line: &str) -> Option<u64> {
    let (address, instruction) = line.split_once(':')?;
    if instruction.trim() != "cpuid" {
        return None;
    }
    u64::from_str_radix(address.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_objdump_prints_is_read() {
        let sections = "Sections:\nIdx Name          Size      VMA               LMA               File off  Algn\n \
                        12 .text         00f5a8b4  00000000007f5d40  00000000007f5d40  007f4d40  2**6\n";
        assert_eq!(text_section(sections), Some((0x7f5d40, 0x7f4d40)));
        assert_eq!(text_section("no such section"), None);
        assert_eq!(cpuid_address(" 10b5dc2:\tcpuid"), Some(0x10b5dc2));
        assert_eq!(cpuid_address(" 10b5dc4:\tmov    %eax,%esi"), None);
        assert_eq!(cpuid_address("nothing"), None);
    }
}
