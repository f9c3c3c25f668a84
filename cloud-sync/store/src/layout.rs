//! Where things lie in a device's folder. No name from an artifact becomes part of a path: only digests do.

use std::path::{Path, PathBuf};

use runtime_trust::Digest;

/// The paths of one device folder.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    folder: PathBuf,
}

impl Layout {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(crate) fn slots(&self) -> PathBuf {
        self.folder.join("slots")
    }

    pub(crate) fn chunks(&self) -> PathBuf {
        self.folder.join("chunks")
    }

    /// A damaged chunk index on its way out.
    pub(crate) fn chunks_damaged(&self) -> PathBuf {
        self.folder.join("chunks-damaged")
    }

    pub(crate) fn slot(&self, name: &Digest) -> SlotPaths {
        SlotPaths { folder: self.slots().join(name.to_string()) }
    }
}

/// The paths of one slot.
#[derive(Debug, Clone)]
pub(crate) struct SlotPaths {
    folder: PathBuf,
}

impl SlotPaths {
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn envelope(&self) -> PathBuf {
        self.folder.join("envelope")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    pub(crate) fn whole(&self) -> PathBuf {
        self.folder.join("whole")
    }

    pub(crate) fn index_part(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("index-{digest}"))
    }

    pub(crate) fn file(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }
}

/// The name of the slot that holds `variants` (sorted, each once) of the manifest with this digest.
///
/// Other variants of the same artifact have another slot: a slot in use is never added to.
pub(crate) fn slot_name(manifest: &Digest, variants: &[String]) -> Digest {
    let mut stream = Digest::stream();
    stream.update(b"cask slot 1\0");
    stream.update(manifest.as_bytes());
    for variant in variants {
        stream.update(&(variant.len() as u64).to_le_bytes());
        stream.update(variant.as_bytes());
    }
    stream.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_named_by_manifest_and_variants() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = [
            slot_name(&a, &names(&["x"])),
            slot_name(&b, &names(&["x"])),
            slot_name(&a, &names(&["y"])),
            slot_name(&a, &names(&["x", "y"])),
            slot_name(&a, &names(&["xy"])),
            slot_name(&a, &[]),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(slot_name(&a, &names(&["x"])), all[0]);
    }
}
