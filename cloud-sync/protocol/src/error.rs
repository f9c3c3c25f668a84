//! Why a topic or payload was refused, and the one way in which JSON payloads are read.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A topic, name or payload that this program does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes are more than the format allows.
    #[error("read {what}: {found_bytes} bytes, at most {max_bytes} are allowed")]
    TooLarge {
        /// The format.
        what: &'static str,
        /// Bytes found.
        found_bytes: usize,
        /// Bytes allowed.
        max_bytes: usize,
    },
    /// The version is newer than this program.
    #[error("read {what}: version {found} is newer than {newest}, the newest that this program reads; update it")]
    Newer {
        /// The format.
        what: &'static str,
        /// Version found.
        found: u64,
        /// The newest version that is read.
        newest: u64,
    },
    /// The content breaks the format's rules.
    #[error("read {what}: {reason}")]
    Malformed {
        /// The format.
        what: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
    /// A name breaks the rules for names.
    #[error(
        "read the {kind} {found:?}: {rule}; use 1 to 63 lowercase letters, digits, '.', '_' or '-', \
         beginning with a letter or digit"
    )]
    Identifier {
        /// What the name names.
        kind: &'static str,
        /// The text found, cut to a readable length.
        found: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The text is no topic of this protocol.
    #[error("read the topic {found:?}: {reason}")]
    Topic {
        /// The text found, cut to a readable length.
        found: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Characters of a refused text that an error repeats.
const FOUND_CHARACTERS_MAX: usize = 80;

/// The beginning of a refused text, short enough to print.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(FOUND_CHARACTERS_MAX).collect()
}

pub(crate) fn malformed(what: &'static str, reason: impl ToString) -> ProtocolError {
    ProtocolError::Malformed { what, reason: reason.to_string() }
}

pub(crate) fn check_size(what: &'static str, found_bytes: usize, max_bytes: usize) -> Result<(), ProtocolError> {
    if found_bytes > max_bytes {
        return Err(ProtocolError::TooLarge { what, found_bytes, max_bytes });
    }
    Ok(())
}

pub(crate) fn check_version(what: &'static str, found: u64, newest: u64) -> Result<(), ProtocolError> {
    match found {
        0 => Err(malformed(what, "version 0 does not exist; versions begin at 1")),
        found if found > newest => Err(ProtocolError::Newer { what, found, newest }),
        _ => Ok(()),
    }
}

/// Reads a JSON payload: size, then `schema`, then the content. The version comes before the content, so that a
/// newer format is refused by its name and not by a field that this program does not know.
pub(crate) fn read_json<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    bytes_max: usize,
    newest: u32,
) -> Result<T, ProtocolError> {
    #[derive(Deserialize)]
    struct OnlySchema {
        schema: u64,
    }
    check_size(what, bytes.len(), bytes_max)?;
    let OnlySchema { schema } = serde_json::from_slice(bytes).map_err(|error| malformed(what, error))?;
    check_version(what, schema, newest.into())?;
    serde_json::from_slice(bytes).map_err(|error| malformed(what, error))
}

/// Writes a JSON payload, refusing one that a reader would refuse for its size.
pub(crate) fn write_json<T: serde::Serialize>(
    what: &'static str,
    value: &T,
    bytes_max: usize,
) -> Result<Vec<u8>, ProtocolError> {
    let bytes = serde_json::to_vec(value).map_err(|error| malformed(what, error))?;
    check_size(what, bytes.len(), bytes_max)?;
    Ok(bytes)
}
