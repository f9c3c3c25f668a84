//! The artifact store: objects by digest, in a folder or behind an S3-compatible URL.
//!
//! ```text
//! chunks/<hh>/<digest>      chunks and index parts by the digest of their stored bytes
//! manifests/<digest>        the signed envelope of a manifest, by the manifest's digest
//! metadata/<digest>         trust files (root, targets, snapshot, timestamp)
//! deployments/<digest>      signed deployments
//! log/<20 digits>           the event log: see `log`
//! ```
//!
//! Writing checks nothing but size; reading does not check digests: devices do, and a store that hid its damage
//! would only move the error away from its cause. [`Objects::damaged`] is for those who want to know.
//! Every read is bounded. A local folder is synced at each write (file and folder).

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use runtime_disk::DiskError;
use runtime_trust::Digest;

/// Kinds of object that are addressed by a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A chunk or an index part.
    Chunk,
    /// The envelope of a manifest; its digest is the manifest's.
    Manifest,
    /// A trust file.
    Metadata,
    /// A signed deployment.
    Deployment,
}

impl Kind {
    fn key(self, digest: &Digest) -> Key {
        let digest = digest.to_string();
        match self {
            // Chunks are many: 256 folders keep each listing short.
            Kind::Chunk => Key::from(format!("chunks/{}/{digest}", &digest[..2])),
            Kind::Manifest => Key::from(format!("manifests/{digest}")),
            Kind::Metadata => Key::from(format!("metadata/{digest}")),
            Kind::Deployment => Key::from(format!("deployments/{digest}")),
        }
    }
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] DiskError),
    /// The URL names a store that this build does not have.
    #[error("open the store {url}: {reason}")]
    Unsupported {
        /// What was named.
        url: String,
        /// What this build can do instead.
        reason: String,
    },
    /// The store refused or failed.
    #[error("{action} {key} in the store {place}: {source}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// The object.
        key: String,
        /// The store.
        place: String,
        /// What it said.
        source: Box<object_store::Error>,
    },
    /// An object is longer than its reader allows.
    #[error("read {key} in the store {place}: it has {found} bytes, at most {max} are allowed")]
    TooLarge {
        /// The object.
        key: String,
        /// The store.
        place: String,
        /// Its length.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// An object that must be there is not.
    #[error("read {key} in the store {place}: there is no such object")]
    Missing {
        /// The object.
        key: String,
        /// The store.
        place: String,
    },
    /// An object's bytes do not have the digest that names it.
    #[error("read {key} in the store {place}: its bytes have the digest {found}")]
    Damaged {
        /// The object.
        key: String,
        /// The store.
        place: String,
        /// What its bytes hash to.
        found: Digest,
    },
}

/// A handle of the store; clones share it.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    place: String,
}

impl Objects {
    /// Opens the store that `fleet.toml` names: a folder relative to `folder`, or a URL.
    pub fn open(folder: &Path, setting: &str) -> Result<Self, ObjectsError> {
        if setting.contains("://") {
            return open_url(setting);
        }
        Self::local(&folder.join(setting))
    }

    /// A store in a folder, which is created when it is missing.
    pub fn local(folder: &Path) -> Result<Self, ObjectsError> {
        runtime_disk::create_folder(folder)?;
        let place = folder.display().to_string();
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|source| ObjectsError::Store {
            action: "open",
            key: String::new(),
            place: place.clone(),
            source: Box::new(source),
        })?;
        Ok(Objects { store: Arc::new(store.with_fsync(true)), place })
    }

    /// A store that forgets everything: for tests.
    pub fn in_memory() -> Self {
        Objects { store: Arc::new(InMemory::new()), place: "memory".to_owned() }
    }

    /// Stores an object under its digest; false when it was there already. One whose bytes are damaged is replaced.
    pub async fn put(&self, kind: Kind, digest: &Digest, bytes: Bytes) -> Result<bool, ObjectsError> {
        let key = kind.key(digest);
        if self.create(&key, bytes.clone()).await? {
            return Ok(true);
        }
        let same = self.read(&key, bytes.len() as u64).await.is_ok_and(|found| found.as_ref() == Some(&bytes));
        if same {
            return Ok(false);
        }
        self.store.put(&key, bytes.into()).await.map_err(|source| self.failed("replace", &key, source))?;
        Ok(true)
    }

    /// The object of a digest, as it lies in the store; none when it is not there.
    pub async fn get(&self, kind: Kind, digest: &Digest, bytes_max: u64) -> Result<Option<Bytes>, ObjectsError> {
        self.read(&kind.key(digest), bytes_max).await
    }

    /// The object of a digest, which must be there.
    pub async fn expect(&self, kind: Kind, digest: &Digest, bytes_max: u64) -> Result<Bytes, ObjectsError> {
        let key = kind.key(digest);
        let missing = || ObjectsError::Missing { key: key.to_string(), place: self.place.clone() };
        self.read(&key, bytes_max).await?.ok_or_else(missing)
    }

    /// The error that names an object whose bytes do not have its digest.
    pub fn damaged(&self, kind: Kind, digest: &Digest, bytes: &[u8]) -> Option<ObjectsError> {
        let found = Digest::of(bytes);
        let damaged = || ObjectsError::Damaged { key: kind.key(digest).to_string(), place: self.place.clone(), found };
        (found != *digest).then(damaged)
    }

    /// Creates `key`; false, and nothing changed, when it exists.
    pub(crate) async fn create(&self, key: &Key, bytes: Bytes) -> Result<bool, ObjectsError> {
        let options = PutOptions::from(PutMode::Create);
        match self.store.put_opts(key, PutPayload::from(bytes), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(source) => Err(self.failed("create", key, source)),
        }
    }

    /// At most `bytes_max` bytes of `key`.
    pub(crate) async fn read(&self, key: &Key, bytes_max: u64) -> Result<Option<Bytes>, ObjectsError> {
        let found = match self.store.get(key).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(self.failed("read", key, source)),
        };
        let (key_text, place) = (key.to_string(), self.place.clone());
        if found.meta.size > bytes_max {
            return Err(ObjectsError::TooLarge { key: key_text, place, found: found.meta.size, max: bytes_max });
        }
        // The length was announced by the store; the stream is cut at the limit whatever it announced.
        let mut stream = found.into_stream();
        let mut bytes = Vec::new();
        while let Some(part) = stream.try_next().await.map_err(|source| self.failed("read", key, source))? {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > bytes_max {
                let found = bytes.len() as u64;
                return Err(ObjectsError::TooLarge { key: key_text, place, found, max: bytes_max });
            }
        }
        Ok(Some(bytes.into()))
    }

    /// The last name parts below `prefix`, unsorted; at most `entries_max`.
    pub(crate) async fn names(&self, prefix: &str, entries_max: usize) -> Result<Vec<String>, ObjectsError> {
        let key = Key::from(prefix);
        let mut names = Vec::new();
        let mut entries = self.store.list(Some(&key)).take(entries_max.saturating_add(1));
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|source| self.failed("list", &key, source))?;
            names.extend(entry.location.filename().map(str::to_owned));
        }
        if names.len() > entries_max {
            let max = entries_max as u64;
            return Err(ObjectsError::TooLarge { key: prefix.into(), place: self.place.clone(), found: max + 1, max });
        }
        Ok(names)
    }

    /// Where the store is, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn failed(&self, action: &'static str, key: &Key, source: object_store::Error) -> ObjectsError {
        ObjectsError::Store { action, key: key.to_string(), place: self.place.clone(), source: Box::new(source) }
    }
}

#[cfg(feature = "s3")]
fn open_url(url: &str) -> Result<Objects, ObjectsError> {
    crate::s3::open(url)
        .map(|store| Objects { store, place: url.to_owned() })
        .map_err(|reason| ObjectsError::Unsupported { url: url.to_owned(), reason })
}

#[cfg(not(feature = "s3"))]
fn open_url(url: &str) -> Result<Objects, ObjectsError> {
    let reason = "this build only has folders; build fleet with the cargo feature s3".to_owned();
    Err(ObjectsError::Unsupported { url: url.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    #[tokio::test]
    async fn a_damaged_object_is_given_out_and_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = Objects::local(folder.path()).expect("a store");
        let bytes = Bytes::from_static(b"chunk");
        let digest = Digest::of(&bytes);
        assert!(objects.put(Kind::Chunk, &digest, bytes.clone()).await.expect("stored"));
        assert!(!objects.put(Kind::Chunk, &digest, bytes.clone()).await.expect("stored twice"));
        let name = digest.to_string();
        let file = folder.path().join("chunks").join(&name[..2]).join(&name);
        std::fs::write(&file, b"chunK").expect("damage");
        let found = objects.expect(Kind::Chunk, &digest, 10).await.expect("given out");
        assert_eq!(&found[..], b"chunK");
        assert!(matches!(objects.damaged(Kind::Chunk, &digest, &found), Some(ObjectsError::Damaged { .. })));
        assert!(objects.put(Kind::Chunk, &digest, bytes.clone()).await.expect("replaced"));
        assert_eq!(objects.expect(Kind::Chunk, &digest, 10).await.expect("read"), bytes);
    }

    #[tokio::test]
    async fn reads_are_bounded_and_missing_is_told() {
        let objects = Objects::in_memory();
        let digest = Digest::of(b"long");
        objects.put(Kind::Manifest, &digest, Bytes::from_static(b"long")).await.expect("stored");
        let error = objects.get(Kind::Manifest, &digest, 3).await.expect_err("too long").to_string();
        assert!(error.contains("it has 4 bytes, at most 3 are allowed"), "{error}");
        assert_eq!(objects.get(Kind::Metadata, &digest, 9).await.expect("no error"), None);
        assert!(matches!(objects.expect(Kind::Metadata, &digest, 9).await, Err(ObjectsError::Missing { .. })));
    }

    #[test]
    fn an_unknown_url_is_refused_by_name() {
        let error = Objects::open(Path::new("."), "gopher://host/x").expect_err("no such store").to_string();
        assert!(error.contains("gopher://host/x"), "{error}");
    }
}
