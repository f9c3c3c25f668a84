//! Timestamp and snapshot: which files are current.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::document::{Document, Expected, FileMeta, RawFileMeta};
use crate::limits::{SNAPSHOT_BYTES_MAX, TIMESTAMP_BYTES_MAX};
use crate::refusal::{Refusal, Step};

/// How timestamp calls the snapshot.
pub(crate) const SNAPSHOT_FILE: &str = "snapshot.json";
/// How snapshot calls the top-level targets.
pub(crate) const TARGETS_FILE: &str = "targets.json";

pub(crate) const TIMESTAMP: Expected<'static> =
    Expected { file: "timestamp.json", kind: "timestamp", step: Step::Metadata, bytes_max: TIMESTAMP_BYTES_MAX };

pub(crate) const SNAPSHOT: Expected<'static> =
    Expected { file: SNAPSHOT_FILE, kind: "snapshot", step: Step::Metadata, bytes_max: SNAPSHOT_BYTES_MAX };

/// `timestamp.json`, well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp {
    pub(crate) document: Document,
    /// When it was signed, in seconds since 1970; 0 when it does not say.
    pub(crate) issued: u64,
    pub(crate) snapshot: FileMeta,
}

#[derive(Deserialize)]
struct TimestampFields {
    meta: BTreeMap<String, RawFileMeta>,
    #[serde(default)]
    cask: TimestampExtra,
}

/// Cask's own field in TUF's timestamp.
#[derive(Default, Deserialize)]
struct TimestampExtra {
    #[serde(default)]
    issued: u64,
}

impl Timestamp {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let (document, mut fields) = Document::open::<TimestampFields>(&TIMESTAMP, bytes)?;
        let snapshot = fields
            .meta
            .remove(SNAPSHOT_FILE)
            .ok_or_else(|| TIMESTAMP.malformed("it does not list snapshot.json"))?
            .read(&TIMESTAMP, SNAPSHOT_FILE)?;
        let issued = fields.cask.issued;
        if issued > document.expires {
            return Err(TIMESTAMP.malformed("it was issued after its own expiry"));
        }
        Ok(Self { document, issued, snapshot })
    }
}

/// `snapshot.json`, well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) document: Document,
    /// By file name: `targets.json` and each `<name>.json`.
    pub(crate) files: BTreeMap<String, FileMeta>,
}

#[derive(Deserialize)]
struct SnapshotFields {
    meta: BTreeMap<String, RawFileMeta>,
}

impl Snapshot {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let (document, fields) = Document::open::<SnapshotFields>(&SNAPSHOT, bytes)?;
        let files = fields
            .meta
            .into_iter()
            .map(|(file, meta)| {
                let meta = meta.read(&SNAPSHOT, &file)?;
                Ok((file, meta))
            })
            .collect::<Result<BTreeMap<_, _>, Refusal>>()?;
        if !files.contains_key(TARGETS_FILE) {
            return Err(SNAPSHOT.malformed("it does not list targets.json"));
        }
        Ok(Self { document, files })
    }

    /// What it says of the top-level targets.
    pub(crate) fn targets(&self) -> &FileMeta {
        self.files.get(TARGETS_FILE).expect("`read` refuses a snapshot that does not list it")
    }

    /// What it says of an artifact's targets.
    pub(crate) fn named(&self, name: &str) -> Option<&FileMeta> {
        self.files.get(&named_file(name))
    }
}

/// How snapshot calls an artifact's targets.
pub(crate) fn named_file(name: &str) -> String {
    format!("{name}.json")
}
