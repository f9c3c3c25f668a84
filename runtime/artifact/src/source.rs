//! Where the bytes of an artifact are.

use runtime_disk::{DiskError, ReadFile};

use crate::{ArtifactError, Reason};

/// A file, or bytes in memory. Every read is bounded by its caller and by the length known at opening.
#[derive(Debug)]
pub(crate) enum Source {
    File(ReadFile),
    Bytes(Vec<u8>),
}

impl Source {
    /// Length when it was opened, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Exactly `length` bytes from `offset`. The range is checked before memory is taken for it.
    pub(crate) fn read(&self, offset: u64, length: usize, what: &str) -> Result<Vec<u8>, ArtifactError> {
        let truncated = |found: u64| {
            ArtifactError::refused(
                Reason::Truncated,
                what,
                format!("a file of {found} bytes"),
                format!("{length} bytes from byte {offset}"),
            )
        };
        let end = offset.checked_add(length as u64).filter(|&end| end <= self.bytes());
        let Some(end) = end else {
            return Err(truncated(self.bytes()));
        };
        match self {
            Self::File(file) => {
                let mut bytes = vec![0; length];
                match file.read_at(offset, &mut bytes) {
                    // The file became shorter while it was read.
                    Err(DiskError::TooShort { found, .. }) => Err(truncated(found)),
                    Err(error) => Err(error.into()),
                    Ok(()) => Ok(bytes),
                }
            }
            // Below the length of a slice in memory, so both are a usize.
            Self::Bytes(bytes) => Ok(bytes[offset as usize..end as usize].to_vec()),
        }
    }
}
