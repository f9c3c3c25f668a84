//! The key files of a fleet folder: found by the role that each names, opened with one passphrase.
//!
//! A role may have several files (`deploy.key`, `deploy-2.key`): all of them sign, which is how thresholds above
//! one are met. Nothing here asks for a passphrase: it is an argument.

use std::path::{Path, PathBuf};

use runtime_disk::DiskError;
use runtime_trust::SigningKey;
use runtime_trust::keyfile::{self, KEY_FILE_BYTES_MAX, KeyFileError, KeyFileFacts};
use zeroize::Zeroizing;

/// The role of the offline key that says who the others are.
pub const ROOT: &str = "root";
/// The role that says which artifacts are allowed (TUF targets).
pub const RELEASE: &str = "release";
/// The role that says what is current and what a channel runs (TUF snapshot and timestamp, deployments).
pub const DEPLOY: &str = "deploy";
/// The role of the TLS key that signs device certificates.
pub const DEVICE_CA: &str = "device-ca";

/// Entries of the keys folder that are looked at.
const ENTRIES_MAX: usize = 256;

/// Why a key is not at hand.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file could not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file is no key file, or does not open.
    #[error("open {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyFileError,
    },
    /// No file of the folder names the role.
    #[error("find a {role} key in {}", folder.display())]
    Missing {
        /// The role.
        role: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A file names another role than it is used for.
    #[error("use {}: it holds a {found} key, expected a {expected} key", path.display())]
    WrongRole {
        /// The file.
        path: PathBuf,
        /// The role in the file.
        found: String,
        /// The role that was asked for.
        expected: &'static str,
    },
}

/// One key file, read but not opened.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
    bytes: Vec<u8>,
    facts: KeyFileFacts,
}

impl KeyFile {
    /// Reads a key file.
    pub fn read(path: &Path) -> Result<Self, KeyringError> {
        let bytes = runtime_disk::read_bounded(path, KEY_FILE_BYTES_MAX)?;
        let facts =
            keyfile::describe_key(&bytes).map_err(|source| KeyringError::File { path: path.to_owned(), source })?;
        Ok(KeyFile { path: path.to_owned(), bytes, facts })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about itself.
    pub fn facts(&self) -> &KeyFileFacts {
        &self.facts
    }

    /// Fails unless the file is for `role`.
    pub fn expect_role(self, role: &'static str) -> Result<Self, KeyringError> {
        if self.facts.role == role {
            return Ok(self);
        }
        Err(KeyringError::WrongRole { path: self.path, found: self.facts.role, expected: role })
    }

    /// The signing key inside.
    pub fn open(&self, passphrase: &[u8]) -> Result<SigningKey, KeyringError> {
        keyfile::open_key(&self.bytes, passphrase).map_err(|source| self.failed(source))
    }

    /// The TLS key inside, as PKCS #8 DER.
    pub fn open_pkcs8(&self, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        keyfile::open_pkcs8(&self.bytes, passphrase).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: KeyFileError) -> KeyringError {
        KeyringError::File { path: self.path.clone(), source }
    }
}

/// Every key file of a folder (names ending in `.key`), sorted by name; none when there is no folder.
pub fn list(folder: &Path) -> Result<Vec<KeyFile>, KeyringError> {
    if !runtime_disk::exists(folder)? {
        return Ok(Vec::new());
    }
    runtime_disk::list(folder, ENTRIES_MAX)?
        .into_iter()
        .filter(|entry| entry.name.to_string_lossy().ends_with(".key"))
        .map(|entry| KeyFile::read(&folder.join(entry.name)))
        .collect()
}

/// The key files of a role; at least one.
pub fn find(folder: &Path, role: &str) -> Result<Vec<KeyFile>, KeyringError> {
    let mut files = list(folder)?;
    files.retain(|file| file.facts.role == role);
    if files.is_empty() {
        return Err(KeyringError::Missing { role: role.to_owned(), folder: folder.to_owned() });
    }
    Ok(files)
}
