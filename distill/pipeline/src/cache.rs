//! Teacher logits on disk, keyed by the digests of model and data.
//!
//! One file per pair, little-endian:
//!
//! ```text
//!   offset  bytes
//!        0      8  "CASKLGT" and the format: 1
//!        8     32  SHA-256 of everything after it
//!       40      8  samples N
//!       48      8  classes C
//!       56  4 N C  the logits, f32, row-major
//! ```
//!
//! A file that does not fit its digest is computed again: this is a cache, never a source of truth.

use std::path::{Path, PathBuf};

use runtime_tensor::{ElementType, Tensor};
use runtime_trust::Digest;

use crate::error::Result;

const MAGIC: &[u8; 8] = b"CASKLGT\x01";
const HEADER_BYTES: usize = 56;
const FILE_BYTES_MAX: u64 = 1 << 32;

/// The environment variable that names the cache folder.
pub(crate) const CACHE_ENV: &str = "CASK_CACHE_DIR";

/// A folder of cached logits.
#[derive(Clone, Debug)]
pub(crate) struct LogitsCache {
    folder: Option<PathBuf>,
}

impl LogitsCache {
    /// `named`, else the user's cache folder, else none.
    pub(crate) fn locate(named: Option<&Path>) -> Self {
        let user = || {
            let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            from("XDG_CACHE_HOME")
                .or_else(|| Some(from("HOME")?.join(".cache")))
                .map(|folder| folder.join("cask/logits"))
        };
        LogitsCache { folder: named.map(Path::to_owned).or_else(user) }
    }

    /// The cached logits, or those that `compute` gives, which are then kept. Says whether they were cached.
    pub(crate) fn get(
        &self,
        model: &Digest,
        data: &Tensor,
        compute: impl FnOnce() -> Result<Tensor>,
    ) -> Result<(Tensor, bool)> {
        let Some(folder) = &self.folder else {
            return Ok((compute()?, false));
        };
        let key = format!("logits 1\n{model}\n{} {:?}\n{}", data.element(), data.shape(), Digest::of(data.bytes()));
        let path = folder.join(format!("{}.logits", Digest::of(key.as_bytes())));
        if let Ok(bytes) = runtime_disk::read_bounded(&path, FILE_BYTES_MAX)
            && let Some(logits) = decode(&bytes)
            && logits.shape()[0] == data.shape()[0]
        {
            return Ok((logits, true));
        }
        let logits = compute()?;
        if let Some(bytes) = encode(&logits) {
            // A cache that cannot be written costs time, not the run.
            let _ = runtime_disk::create_folder(folder).and_then(|()| runtime_disk::write_atomic(&path, &bytes));
        }
        Ok((logits, false))
    }
}

fn encode(logits: &Tensor) -> Option<Vec<u8>> {
    let [samples, classes] = logits.shape() else { return None };
    if logits.element() != ElementType::F32 {
        return None;
    }
    let mut body = Vec::with_capacity(16 + logits.bytes().len());
    body.extend((*samples as u64).to_le_bytes());
    body.extend((*classes as u64).to_le_bytes());
    body.extend_from_slice(logits.bytes());
    Some([&MAGIC[..], Digest::of(&body).as_bytes(), &body].concat())
}

fn decode(bytes: &[u8]) -> Option<Tensor> {
    let (header, values) = bytes.split_at_checked(HEADER_BYTES)?;
    if header[..8] != MAGIC[..] || Digest::of(&bytes[40..]).as_bytes()[..] != header[8..40] {
        return None;
    }
    let number = |at: usize| usize::try_from(u64::from_le_bytes(header[at..at + 8].try_into().ok()?)).ok();
    let shape = vec![number(40)?, number(48)?];
    Tensor::new(ElementType::F32, shape, values).ok().filter(|tensor| !tensor.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    #[test]
    fn logits_are_computed_once_and_again_when_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let cache = LogitsCache::locate(Some(folder.path()));
        let data = Tensor::from_f32(vec![2, 3], vec![0.0; 6]).unwrap();
        let logits = Tensor::from_f32(vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        let model = Digest::of(b"model");
        let compute = || Ok(logits.clone());
        let forbidden = || -> Result<Tensor> { panic!("computed although cached") };
        assert_eq!(cache.get(&model, &data, compute).unwrap(), (logits.clone(), false));
        assert_eq!(cache.get(&model, &data, forbidden).unwrap(), (logits.clone(), true));
        let other = Tensor::from_f32(vec![2, 3], vec![1.0; 6]).unwrap();
        assert!(!cache.get(&model, &other, compute).unwrap().1);
        assert!(!cache.get(&Digest::of(b"other"), &data, compute).unwrap().1);
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        assert_eq!(cache.get(&model, &data, compute).unwrap(), (logits.clone(), false));
        assert!(cache.get(&model, &data, forbidden).unwrap().1);
    }
}
