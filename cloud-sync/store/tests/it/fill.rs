//! Filling slots, in every order, with good and bad pieces.

use std::collections::BTreeSet;

use cloud_sync_store::{Candidate, ErrorClass, Slot, Store, StoreError};
use runtime_artifact::{ChunkRow, Encoding};
use runtime_disk::MemoryDisk;
use runtime_trust::Digest;

use crate::fixture::{Fixture, LARGE, V1, V2, golden, noise, open, pack, state};

fn assert_send<T: Send>() {}

#[test]
fn handles_may_move_between_threads() {
    assert_send::<Store>();
    assert_send::<Candidate>();
    assert_send::<Slot>();
}

#[test]
fn a_slot_is_filled_chunk_by_chunk_and_holds_only_digests_as_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut candidate = V1.begin(&store).unwrap();
    assert_eq!(candidate.plain_bytes(), (V1.model.len() + V1.golden.len()) as u64);
    assert_eq!(candidate.missing_bytes(), candidate.plain_bytes());
    assert_eq!(candidate.missing_index().len(), 2);
    assert!(candidate.missing().is_empty(), "nothing is known before the index");
    V1.index(&mut candidate);
    let needs = candidate.missing();
    assert!(needs.len() > 6, "three long tensors and a golden set: {}", needs.len());
    for (done, need) in needs.iter().enumerate() {
        assert_eq!(candidate.missing().len(), needs.len() - done);
        candidate.put_stored(need, &V1.artifact.read_chunk(&need.row).unwrap()).unwrap();
    }
    assert_eq!((candidate.missing_bytes(), candidate.reused_bytes()), (0, 0));
    let reference = candidate.slot_ref();
    let slot = candidate.finish().unwrap();
    assert_eq!(slot.slot_ref(), reference);
    assert_eq!((reference.number, reference.version.as_str(), reference.engine.as_str()), (1, "1.1.0", ""));
    V1.check(&slot).unwrap();
    V1.check(&store.slot(&reference).unwrap()).unwrap();
    assert_eq!(std::fs::read(slot.file("int8", "model").unwrap()).unwrap(), V1.model);
    let mut names: Vec<String> = std::fs::read_dir(folder.path().join("slots").join(&reference.folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name.strip_prefix("index-").unwrap_or(name).parse::<Digest>().is_err());
    names.sort();
    assert_eq!(names, ["envelope", "whole"], "chunks are not kept beside the files, and the journal is gone");
}

#[test]
fn bad_pieces_are_refused_and_change_nothing() {
    let store = open(&MemoryDisk::new()).unwrap();
    let mut candidate = V1.begin(&store).unwrap();
    let part = candidate.missing_index()[0];
    let error = candidate.put_index(&part, b"something else").unwrap_err();
    assert_eq!((error.reason(), error.class()), ("chunk-digest-mismatch", ErrorClass::NotTrusted));
    let mut foreign = part;
    foreign.digest = Digest::of(b"foreign");
    assert_eq!(candidate.put_index(&foreign, b"foreign").unwrap_err().reason(), "not-asked-for");
    assert_eq!(candidate.missing_index().len(), 2);
    V1.index(&mut candidate);
    let needs = candidate.missing();
    let need = needs[0];
    let stored = V1.artifact.read_chunk(&need.row).unwrap();
    let mut flipped = stored.clone();
    flipped[0] ^= 1;
    assert_eq!(candidate.put_stored(&need, &flipped).unwrap_err().reason(), "chunk-digest-mismatch");
    assert_eq!(candidate.put(&need, &[]).unwrap_err().reason(), "plain-length-mismatch");
    let zeros = vec![0; need.row.plain_bytes as usize];
    assert_eq!(candidate.put(&need, &zeros).unwrap_err().reason(), "plain-digest-mismatch");
    // A need that the caller made up: a right chunk at a place that is not its own.
    let mut moved = need;
    moved.number += 1;
    assert_eq!(candidate.put_stored(&moved, &stored).unwrap_err().reason(), "not-asked-for");
    moved.file = 99;
    assert_eq!(candidate.put_stored(&moved, &stored).unwrap_err().reason(), "not-asked-for");
    let row = ChunkRow { encoding: Encoding::None, ..need.row };
    let invented = cloud_sync_store::ChunkNeed {
        row: ChunkRow { plain_bytes: 3, plain_digest: Digest::of(b"abc"), ..row },
        ..need
    };
    assert_eq!(candidate.put(&invented, b"abc").unwrap_err().reason(), "not-asked-for");
    assert_eq!(candidate.missing(), needs);
    let error = candidate.finish().unwrap_err();
    assert!(matches!(error, StoreError::Incomplete { missing, .. } if missing == needs.len()), "{error}");
}

#[test]
fn what_comes_twice_is_fine() {
    let store = open(&MemoryDisk::new()).unwrap();
    let mut candidate = V1.begin(&store).unwrap();
    let parts = candidate.missing_index();
    V1.index(&mut candidate);
    for part in parts {
        let file = &candidate.files()[part.file as usize];
        let bytes = V1.artifact.index_part(&file.variant, &file.role, 0).unwrap();
        candidate.put_index(&part, &bytes).unwrap();
    }
    for need in candidate.missing() {
        let stored = V1.artifact.read_chunk(&need.row).unwrap();
        candidate.put_stored(&need, &stored).unwrap();
        candidate.put_stored(&need, &stored).unwrap();
    }
    V1.check(&candidate.finish().unwrap()).unwrap();
}

#[test]
fn what_was_put_is_not_fetched_again_after_a_kill() {
    let disk = MemoryDisk::new();
    let mut put = BTreeSet::new();
    for round in 0..4 {
        let store = open(&disk).unwrap();
        let mut candidate = V1.begin(&store).unwrap();
        if round == 0 {
            V1.index(&mut candidate);
        }
        assert!(candidate.missing_index().is_empty(), "the index is kept, too");
        let needs = candidate.missing();
        assert!(needs.iter().all(|need| !put.contains(&need.row.plain_digest)), "round {round}");
        for need in needs.iter().take(2) {
            candidate.put_stored(need, &V1.artifact.read_chunk(&need.row).unwrap()).unwrap();
            put.insert(need.row.plain_digest);
        }
        // Dropped without a word, as by a kill: what is in the kernel's hands stays.
    }
    let store = open(&disk).unwrap();
    V1.check(&V1.install(&store).unwrap()).unwrap();
}

#[test]
fn a_power_cut_costs_at_most_the_last_4_mib() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let mut candidate = LARGE.begin(&store).unwrap();
    LARGE.index(&mut candidate);
    for need in candidate.missing().iter().take(10) {
        candidate.put_stored(need, &LARGE.artifact.read_chunk(&need.row).unwrap()).unwrap();
    }
    let before = candidate.missing_bytes();
    disk.crash();
    drop((candidate, store));
    let store = open(&disk).unwrap();
    let mut candidate = LARGE.begin(&store).unwrap();
    let lost = candidate.missing_bytes() - before;
    assert!(lost <= cloud_sync_store::UNSYNCED_BYTES_MAX, "{lost} bytes were lost");
    assert!(lost > 0, "the disk in memory forgets what was not synced");
    candidate.fill_from(&LARGE.artifact).unwrap();
    LARGE.check(&candidate.finish().unwrap()).unwrap();
}

#[test]
fn chunks_of_another_slot_are_copied() {
    let folder = tempfile::tempdir().unwrap();
    let disk = MemoryDisk::new();
    for store in [open(&disk).unwrap(), Store::open(folder.path()).unwrap()] {
        V1.install(&store).unwrap();
        let mut candidate = V2.begin(&store).unwrap();
        V2.index(&mut candidate);
        let fetched: u64 = candidate.missing().iter().map(|need| need.row.plain_bytes).sum();
        assert_eq!(fetched, 100_000, "only the tensor that changed is fetched");
        assert_eq!(candidate.reused_bytes(), 200_000 + golden().len() as u64);
        candidate.fill_from(&V2.artifact).unwrap();
        let slot = candidate.finish().unwrap();
        V2.check(&slot).unwrap();
        V1.check(&V1.install(&store).unwrap()).unwrap();
    }
}

#[test]
fn a_chunk_that_stands_in_many_places_is_asked_for_once() {
    let tensor = noise(5, 30_000);
    let model = [tensor.as_slice(), &noise(6, 30_000), &tensor, &tensor].concat();
    let fixture = pack(1, &[("int8", &model)], &[30_000, 60_000, 90_000]);
    let store = open(&MemoryDisk::new()).unwrap();
    let mut candidate = fixture.begin(&store).unwrap();
    fixture.index(&mut candidate);
    assert_eq!(candidate.missing().len(), 3, "two different tensors and the golden set");
    candidate.fill_from(&fixture.artifact).unwrap();
    fixture.check(&candidate.finish().unwrap()).unwrap();
}

#[test]
fn a_slot_that_is_whole_is_there_at_once() {
    let store = open(&MemoryDisk::new()).unwrap();
    let first = V1.install(&store).unwrap();
    let candidate = V1.begin(&store).unwrap();
    assert!(candidate.missing_index().is_empty() && candidate.missing().is_empty());
    assert_eq!((candidate.missing_bytes(), candidate.slot_ref()), (0, first.slot_ref()));
    V1.check(&candidate.finish().unwrap()).unwrap();
}

#[test]
fn other_variants_have_another_slot_and_share_what_is_equal() {
    let (small, big) = (noise(7, 20_000), noise(8, 40_000));
    let fixture = pack(1, &[("int8", &small), ("f32", &big)], &[]);
    let store = open(&MemoryDisk::new()).unwrap();
    let envelope = fixture.artifact.envelope_bytes();
    let install = |variants: &[&str]| {
        let mut candidate = store.begin(envelope, variants).unwrap();
        candidate.fill_from(&fixture.artifact).unwrap();
        candidate.finish().unwrap()
    };
    let one = install(&["int8"]);
    assert_eq!(one.variants(), ["int8"]);
    assert_eq!(one.read_file("f32", "model", 1 << 20).unwrap_err().reason(), "not-in-manifest");
    assert_eq!(one.read_file("int8", "tokenizer", 1 << 20).unwrap_err().reason(), "not-in-manifest");
    let both = install(&["int8", "f32", "int8"]);
    assert_eq!(both.variants(), ["f32", "int8"]);
    assert_ne!(one.slot_ref().folder, both.slot_ref().folder);
    assert_eq!(both.read_file("int8", "model", 1 << 20).unwrap(), small);
    assert_eq!(both.read_file("f32", "model", 1 << 20).unwrap(), big);
    assert_eq!(both.file("f32", "golden").unwrap(), both.file("int8", "golden").unwrap(), "one file for both");
    let error = store.begin(envelope, &["f16"]).unwrap_err();
    assert_eq!(error.to_string(), "find variant \"f16\" in the manifest: it lists int8, f32");
    assert_eq!(store.begin(envelope, &[]).unwrap_err().reason(), "not-in-manifest");
    assert_eq!(store.begin(b"{}", &["int8"]).unwrap_err().class(), ErrorClass::NotTrusted);
}

#[test]
fn one_slot_has_one_candidate() {
    let store = open(&MemoryDisk::new()).unwrap();
    let first = V1.begin(&store).unwrap();
    assert_eq!(V1.begin(&store).unwrap_err().reason(), "already-begun");
    let other = V2.begin(&store).unwrap();
    drop(first);
    let again = V1.begin(&store).unwrap();
    again.abandon().unwrap();
    assert_eq!(store.collect_garbage().unwrap().slots, 0, "one is gone and one is being filled");
    drop(other);
    assert_eq!(store.collect_garbage().unwrap().slots, 1);
}

#[test]
fn an_artifact_fills_only_its_own_slot() {
    let store = open(&MemoryDisk::new()).unwrap();
    let mut candidate = V1.begin(&store).unwrap();
    assert_eq!(candidate.fill_from(&V2.artifact).unwrap_err().reason(), "not-asked-for");
}

#[test]
fn garbage_is_what_the_state_does_not_name() {
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let (one, two) = (V1.install(&store).unwrap().slot_ref(), V2.install(&store).unwrap().slot_ref());
    let unfinished = LARGE.begin(&store).unwrap();
    let candidate = unfinished.slot_ref();
    store.commit(state(Some(&two), Some(&one), Some(&candidate))).unwrap();
    assert_eq!(store.collect_garbage().unwrap().slots, 0);
    drop(unfinished);
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(store.collect_garbage().unwrap().slots, 0, "the state names an unfinished slot, too");
    store.commit(state(Some(&two), None, None)).unwrap();
    let collected = store.collect_garbage().unwrap();
    assert_eq!(collected.slots, 2);
    assert!(collected.bytes > (V1.model.len() + LARGE.model.len()) as u64);
    assert!(matches!(store.slot(&one), Err(StoreError::NotWhole { found: "not there", .. })));
    V2.check(&store.slot(&two).unwrap()).unwrap();
    // What was removed is not found by the next update either.
    let mut candidate = V1.begin(&store).unwrap();
    V1.index(&mut candidate);
    assert_eq!(candidate.missing_bytes(), 100_000);
}

/// An index that fits its digest but not the file: only the whole-file digest can tell.
#[test]
fn an_artifact_that_contradicts_itself_is_refused_at_the_end_and_not_kept() {
    let (fixture, envelope) = contradiction();
    let disk = MemoryDisk::new();
    let store = open(&disk).unwrap();
    let mut candidate = store.begin(&envelope, &["int8"]).unwrap();
    for need in candidate.missing_index() {
        let file = &candidate.files()[need.file as usize];
        let bytes = fixture.artifact.index_part(&file.variant, &file.role, 0).unwrap();
        candidate.put_index(&need, &bytes).unwrap();
    }
    for need in candidate.missing() {
        candidate.put_stored(&need, &fixture.artifact.read_chunk(&need.row).unwrap()).unwrap();
    }
    let reference = candidate.slot_ref();
    let error = candidate.finish().unwrap_err();
    assert_eq!((error.reason(), error.class()), ("file-digest-mismatch", ErrorClass::NotTrusted));
    assert!(matches!(store.slot(&reference), Err(StoreError::NotWhole { found: "not there", .. })));
}

/// A signed manifest that gives the model another digest than its chunks have.
fn contradiction() -> (&'static Fixture, Vec<u8>) {
    let mut manifest = V1.artifact.manifest().clone();
    manifest.variants[0].files.get_mut("model").unwrap().digest = Digest::of(b"other");
    let key = crate::fixture::release();
    let kind = runtime_trust::PayloadType::Manifest;
    (&V1, runtime_trust::Envelope::sign(kind, manifest.to_bytes(), &[&key]).to_bytes())
}

#[test]
fn lengths_that_contradict_each_other_are_refused_early() {
    let key = crate::fixture::release();
    let sign = |manifest: &runtime_artifact::Manifest| {
        runtime_trust::Envelope::sign(runtime_trust::PayloadType::Manifest, manifest.to_bytes(), &[&key]).to_bytes()
    };
    let store = open(&MemoryDisk::new()).unwrap();
    // The index describes fewer bytes than the manifest.
    let mut manifest = V1.artifact.manifest().clone();
    manifest.variants[0].files.get_mut("model").unwrap().bytes += 1;
    let mut candidate = store.begin(&sign(&manifest), &["int8"]).unwrap();
    let need = candidate
        .missing_index()
        .into_iter()
        .find(|need| candidate.files()[need.file as usize].role == "model")
        .unwrap();
    let bytes = V1.artifact.index_part("int8", "model", 0).unwrap();
    assert_eq!(candidate.put_index(&need, &bytes).unwrap_err().reason(), "file-digest-mismatch");
    // One digest, two lengths.
    let mut manifest = V1.artifact.manifest().clone();
    let mut entry = manifest.variants[0].files["model"].clone();
    entry.bytes += 1;
    manifest.variants[0].files.insert("other".to_owned(), entry);
    assert_eq!(store.begin(&sign(&manifest), &["int8"]).unwrap_err().reason(), "bad-value");
}
