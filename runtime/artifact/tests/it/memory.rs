//! Checking takes bounded memory, whatever the file claims.
//!
//! A counting allocator sees what Rust code takes; zstd's own memory is bounded by its 1 MiB window.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use runtime_artifact::open;
use runtime_disk::write_atomic;
use runtime_trust::Digest;

use crate::fixture::{draft, golden, release, root, sign};
use crate::raw::{RawCask, RawChunk, RawFile, part};

/// What the product promises for a whole `verify` process.
const PROMISED_BYTES: isize = 64 << 20;

/// Counts the bytes that each thread holds and the most it ever held.
pub struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is being torn down has no counter any more; nothing is measured there.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most bytes held during `work` above what was held before.
fn most_bytes<T>(work: impl FnOnce() -> T) -> (T, isize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (result, MOST.get() - before)
}

#[test]
fn the_counter_counts() {
    let (bytes, most) = most_bytes(|| vec![1_u8; 5 << 20]);
    assert!(most >= bytes.len() as isize);
}

#[test]
fn a_large_file_is_checked_and_extracted_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.cask");
    // Two alternating patterns: 24 MiB that are quick to pack and not one chunk over and over.
    let model: Vec<u8> = (0..24_u32 << 20).map(|number| (number >> 16) as u8 ^ (number % 3) as u8).collect();
    let digest = Digest::of(&model);
    let mut packer = runtime_artifact::Packer::new(draft(&["int8"])).unwrap();
    packer.add_file("int8", "model", &model, &[]).unwrap();
    packer.add_file("int8", "golden", &golden().encode().unwrap(), &[]).unwrap();
    write_atomic(&path, &sign(&packer.unsigned().unwrap(), &[&release()])).unwrap();
    drop(model);
    let (artifact, most) = most_bytes(|| open(&path).unwrap().verify(root()).unwrap());
    assert!(most < 4 << 20, "verifying took {most} bytes");
    let out = folder.path().join("model.onnx");
    let ((), most) = most_bytes(|| artifact.extract("int8", "model", &out).unwrap());
    assert!(most < 4 << 20, "extracting took {most} bytes");
    assert_eq!(Digest::of(&std::fs::read(&out).unwrap()), digest);
}

/// As many rows as a manifest can hold index parts for: what costs a reader most.
#[test]
fn the_longest_index_stays_under_the_promise() {
    const ROWS_PER_PART: usize = 754;
    let row = |number: u32| RawChunk {
        encoding: 0,
        stored: vec![number as u8],
        plain_bytes: 1,
        plain_digest: Digest::of(&[number as u8]),
    };
    let parts: Vec<Vec<u8>> = (0..400_u32)
        .map(|number| {
            part(&["none"], &(0..ROWS_PER_PART as u32).map(|row_number| row(number + row_number)).collect::<Vec<_>>())
        })
        .collect();
    let plain: Vec<u8> =
        (0..400_u32).flat_map(|number| (0..ROWS_PER_PART as u32).map(move |row| (number + row) as u8)).collect();
    let model = RawFile {
        bytes: plain.len() as u64,
        digest: Digest::of(&plain),
        parts,
        chunks: plain.iter().map(|&byte| vec![byte]).collect(),
    };
    let raw = RawCask { model, ..RawCask::default() };
    assert!(raw.manifest_text().len() < 40 << 10, "the manifest has {} bytes", raw.manifest_text().len());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.cask");
    write_atomic(&path, &raw.bytes()).unwrap();
    drop(raw);
    let (artifact, most) = most_bytes(|| open(&path).unwrap().verify(root()).unwrap());
    assert!(most < PROMISED_BYTES, "verifying took {most} bytes");
    let (index, most) = most_bytes(|| artifact.index("int8", "model").unwrap());
    assert_eq!(index.plain_bytes(), plain.len() as u64);
    assert!(most < PROMISED_BYTES, "reading the index took {most} bytes");
}

#[test]
fn refusing_a_lie_takes_no_memory_for_it() {
    let lies: [(&'static str, &'static str); 3] = [
        (r#"{"golden":{"bytes":"#, r#"{"golden":{"bytes":1152921504606846"#),
        (r#""model":{"bytes":"#, r#""model":{"bytes":70000"#),
        (r#""index":[{"bytes":"#, r#""index":[{"bytes":1152921504606846"#),
    ];
    for (old, new) in lies {
        let raw = RawCask { manifest: Box::new(move |text| text.replacen(old, new, 1)), ..RawCask::default() };
        let bytes = raw.bytes();
        let (result, most) = most_bytes(|| runtime_artifact::open_bytes(bytes).unwrap().verify(root()).map(drop));
        assert!(result.is_err(), "{new}");
        assert!(most < 1 << 20, "refusing {new} took {most} bytes");
    }
}
