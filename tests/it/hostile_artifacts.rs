//! The programs given hostile `.cask` files: the right exit code, a message, little memory, never a panic.
//!
//! What each parser refuses and why is tested beside it, in `runtime/artifact`; here the whole process is looked at.

use std::path::Path;
use std::process::{Command, Output};

use runtime_trust::Digest;

use crate::fixture::{cask, model, root_bytes, stranger};
use crate::raw::{RawCask, RawChunk, file, plain_chunk};

/// What `verify` may hold above the length of the file.
const PEAK_BYTES_MAX: u64 = 64 << 20;

const NOT_TRUSTED: i32 = 4;
const UNSUPPORTED: i32 = 5;

fn edited(old: &'static str, new: &'static str) -> Vec<u8> {
    let raw = RawCask { manifest: Box::new(move |text| text.replacen(old, new, 1)), ..RawCask::default() };
    assert!(raw.manifest_text().contains(new), "the manifest has no {old}");
    raw.bytes()
}

/// A zstd frame that claims 1 MiB and unfolds to 1.7 GiB of zeros.
fn bomb() -> RawChunk {
    let mut stored = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    stored.extend((1_u32 << 20).to_le_bytes());
    for number in 1..=14_000_u32 {
        let header = u32::from(number == 14_000) | 1 << 1 | (128 * 1024) << 3;
        stored.extend(&header.to_le_bytes()[..3]);
        stored.push(0);
    }
    RawChunk { encoding: 0, stored, plain_bytes: 1 << 20, plain_digest: Digest::of(&vec![0; 1 << 20]) }
}

fn hostile() -> Vec<(&'static str, Vec<u8>, i32)> {
    let good = cask();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let mut oversized = good.clone();
    oversized.resize(80 << 20, 0);
    let mut claims = good.clone();
    claims[23] = 0x10;
    let mut newer = good.clone();
    newer[8] = 2;
    let with_model = |model| RawCask { model, ..RawCask::default() }.bytes();
    vec![
        ("truncated", good[..good.len() - 7].to_vec(), NOT_TRUSTED),
        ("an empty file", Vec::new(), NOT_TRUSTED),
        ("a flipped bit", flipped, NOT_TRUSTED),
        ("80 MiB of bytes behind", oversized, NOT_TRUSTED),
        ("a header that claims 2^60 bytes", claims, NOT_TRUSTED),
        (
            "a manifest that claims 2^60 bytes",
            edited(r#"{"golden":{"bytes":"#, r#"{"golden":{"bytes":1152921504606846"#),
            NOT_TRUSTED,
        ),
        ("a zstd bomb", with_model(file(&["zstd"], &vec![0; 1 << 20], &[bomb()])), NOT_TRUSTED),
        ("a name with ../", edited(r#""golden":"#, r#""../golden":"#), NOT_TRUSTED),
        ("duplicate names", edited(r#""golden":"#, r#""model":"#), NOT_TRUSTED),
        ("signed by a stranger", RawCask { keys: vec![stranger()], ..RawCask::default() }.bytes(), NOT_TRUSTED),
        ("a chunk of other bytes", with_model(lying()), NOT_TRUSTED),
        ("an unknown format version", newer, UNSUPPORTED),
        ("an unknown manifest version", edited(r#""format":1"#, r#""format":2"#), UNSUPPORTED),
        ("an unknown encoding", with_model(file(&["brotli"], b"abc", &[plain_chunk(b"abc")])), UNSUPPORTED),
    ]
}

fn lying() -> crate::raw::RawFile {
    let plain = model();
    let chunk = RawChunk { plain_digest: Digest::of(b"other"), ..plain_chunk(&plain) };
    file(&["none"], &plain, &[chunk])
}

struct Run {
    output: Output,
    peak_bytes: u64,
}

fn verify(program: &str, folder: &Path, cask: &Path) -> Run {
    let peak = folder.join("peak");
    let output = Command::new(env!("CARGO_BIN_EXE_cask-programs"))
        .args(["__program", program, "verify"])
        .arg(cask)
        .arg("--root")
        .arg(folder.join("root.json"))
        .env("TESTS_PEAK_FILE", &peak)
        .output()
        .expect("the program starts");
    let kibibytes: u64 = std::fs::read_to_string(&peak).expect("the peak").parse().expect("a number");
    Run { output, peak_bytes: kibibytes * 1024 }
}

#[test]
fn hostile_files_end_with_their_code_in_little_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("root.json"), root_bytes(1)).expect("a file");
    let path = folder.path().join("hostile.cask");
    let mut problems = Vec::new();
    for (name, bytes, code) in hostile() {
        std::fs::write(&path, &bytes).expect("a file");
        for program in ["edge-agent", "distill"] {
            let run = verify(program, folder.path(), &path);
            let errors = String::from_utf8_lossy(&run.output.stderr).into_owned();
            if run.output.status.code() != Some(code) {
                problems.push(format!("{program}, {name}: {} instead of {code}: {errors}", run.output.status));
            }
            if errors.contains("panicked") || !errors.starts_with("error: ") {
                problems.push(format!("{program}, {name}: no clear error: {errors}"));
            }
            if run.peak_bytes >= PEAK_BYTES_MAX + bytes.len() as u64 {
                problems.push(format!("{program}, {name}: a peak of {} bytes", run.peak_bytes));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_good_file_is_verified_by_every_program() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("root.json"), root_bytes(1)).expect("a file");
    let path = folder.path().join("good.cask");
    std::fs::write(&path, cask()).expect("a file");
    for program in ["edge-agent", "distill"] {
        let run = verify(program, folder.path(), &path);
        assert!(run.output.status.success(), "{program}: {}", String::from_utf8_lossy(&run.output.stderr));
        assert!(run.peak_bytes < PEAK_BYTES_MAX, "{program}: a peak of {} bytes", run.peak_bytes);
    }
}
