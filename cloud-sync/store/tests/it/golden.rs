//! Device folders of every past format are read for ever.
//!
//! `tests/golden/device-1` was written by [`write`]: a state with one active model, its whole slot, and an unfinished
//! slot with one chunk in its journal. It is never written again.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cloud_sync_store::{Refused, Store};
use runtime_trust::Digest;

use crate::fixture::{Fixture, MODEL, noise, pack, state};
use crate::index::copy;

static OLD: LazyLock<Fixture> = LazyLock::new(|| small(1));
static NEW: LazyLock<Fixture> = LazyLock::new(|| small(2));

/// The shortest tensor with a chunk of its own.
const TENSOR_BYTES: usize = 16 * 1024;

fn small(number: u64) -> Fixture {
    let model = [noise(number, TENSOR_BYTES), noise(number + 50, TENSOR_BYTES)].concat();
    pack(number, &[("int8", &model)], &[TENSOR_BYTES as u64])
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/device-1")
}

/// Makes the golden folder when `CASK_WRITE_GOLDEN` names a folder that is not there. Deterministic: fixed keys and
/// content.
#[test]
fn write() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    if let Some(target) = std::env::var_os("CASK_WRITE_GOLDEN") {
        assert!(!Path::new(&target).exists(), "a golden folder is never written over");
        std::fs::remove_file(folder.path().join("lock")).unwrap();
        std::fs::remove_dir_all(folder.path().join("chunks")).unwrap();
        copy(folder.path(), Path::new(&target));
    }
}

fn make(folder: &Path) {
    let store = Store::open(folder).unwrap();
    let active = OLD.install(&store).unwrap().slot_ref();
    let mut candidate = NEW.begin(&store).unwrap();
    NEW.index(&mut candidate);
    let need = candidate.missing()[0];
    candidate.put_stored(&need, &NEW.artifact.read_chunk(&need.row).unwrap()).unwrap();
    let mut state = state(Some(&active), Some(&active), Some(&candidate.slot_ref()));
    let model = state.models.get_mut(MODEL).unwrap();
    (model.boots_unproven, model.settled, model.held, model.held_above) = (1, true, true, 1 << 32);
    model.refused.push(Refused {
        digest: Digest::of(b"refused"),
        sequence: Some(4),
        step: 9,
        reason: "golden-mismatch".to_owned(),
        message: "found other answers".to_owned(),
    });
    store.commit(state).unwrap();
}

#[test]
fn format_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    copy(&golden(), folder.path());
    let store = Store::open(folder.path()).unwrap();
    let state = store.state();
    assert_eq!(state.trust, b"trusted");
    let model = &state.models[MODEL];
    assert_eq!((model.boots_unproven, model.settled, model.held, model.held_above), (1, true, true, 1 << 32));
    assert_eq!((model.refused[0].step, model.refused[0].reason.as_str()), (9, "golden-mismatch"));
    // The packer may choose other cuts one day: the files are compared, not the artifacts.
    let active = store.slot(model.active.as_ref().unwrap()).unwrap();
    assert_eq!(active.read_file("int8", "model", 1 << 20).unwrap(), OLD.model);
    assert_eq!(active.read_file("int8", "golden", 1 << 20).unwrap(), OLD.golden);
    let unfinished = model.candidate.as_ref().unwrap();
    let envelope = std::fs::read(golden().join("slots").join(&unfinished.folder).join("envelope")).unwrap();
    let mut candidate = store.begin(&envelope, &["int8"]).unwrap();
    assert_eq!(&candidate.slot_ref(), unfinished, "slots are found under their old names");
    assert!(candidate.missing_index().is_empty());
    assert_eq!(candidate.reused_bytes(), 0, "the golden set was copied and stands in the journal, too");
    let missing = candidate.missing();
    assert_eq!(missing.len(), 1);
    candidate.put(&missing[0], &NEW.model[TENSOR_BYTES..]).unwrap();
    assert_eq!(candidate.finish().unwrap().read_file("int8", "model", 1 << 20).unwrap(), NEW.model);
}
