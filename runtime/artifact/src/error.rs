//! Why an artifact was refused.

use runtime_disk::DiskError;
use runtime_trust::Refusal;
use thiserror::Error;

use crate::limits::SHOWN_CHARACTERS_MAX;

/// What the caller can make of a refusal; programs turn it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The bytes are not what release signed, or not in the format: exit code 4.
    NotTrusted,
    /// The bytes may be good, but this version or this device cannot take them: exit code 5.
    Unsupported,
    /// The file could not be read or written; nothing is known about its bytes.
    Disk,
}

/// Why bytes were refused. The code ([`Reason::code`]) is stable; programs and tests match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the table below says what each one means and what to do")]
pub enum Reason {
    NotACask,
    UnknownFormat,
    Truncated,
    TrailingBytes,
    ReservedNotZero,
    TooLarge,
    ManifestMalformed,
    DuplicateKey,
    FloatInManifest,
    UnknownField,
    BadName,
    DuplicateName,
    BadValue,
    UnknownElement,
    UnknownKind,
    DoesNotFit,
    IndexMalformed,
    IndexDigest,
    UnknownEncoding,
    StoredDigest,
    ZstdDamaged,
    ZstdWindow,
    PlainLength,
    PlainDigest,
    FileDigest,
    GoldenMalformed,
    NoSuchFile,
}

const COPY_AGAIN: &str = "copy the file again from its source";
const MAKE_AGAIN: &str = "ask whoever made it to pack it again";
const NEWER: &str = "use a newer version of this program";
const FETCH_AGAIN: &str = "fetch it again, from another source if there is one";

impl Reason {
    /// The reason's stable name, its class, and what to do about it.
    const fn row(self) -> (&'static str, ErrorClass, &'static str) {
        use ErrorClass::{NotTrusted, Unsupported};
        match self {
            Self::NotACask => ("not-a-cask", NotTrusted, "check that this is the right file"),
            Self::UnknownFormat => ("unknown-format", Unsupported, NEWER),
            Self::Truncated => ("truncated", NotTrusted, COPY_AGAIN),
            Self::TrailingBytes => ("trailing-bytes", NotTrusted, COPY_AGAIN),
            Self::ReservedNotZero => ("reserved-not-zero", NotTrusted, COPY_AGAIN),
            Self::TooLarge => ("too-large", NotTrusted, MAKE_AGAIN),
            Self::ManifestMalformed => ("malformed-manifest", NotTrusted, MAKE_AGAIN),
            Self::DuplicateKey => ("duplicate-key", NotTrusted, MAKE_AGAIN),
            Self::FloatInManifest => ("float-in-manifest", NotTrusted, MAKE_AGAIN),
            Self::UnknownField => ("unknown-field", NotTrusted, MAKE_AGAIN),
            Self::BadName => ("bad-name", NotTrusted, MAKE_AGAIN),
            Self::DuplicateName => ("duplicate-name", NotTrusted, MAKE_AGAIN),
            Self::BadValue => ("bad-value", NotTrusted, MAKE_AGAIN),
            Self::UnknownElement => ("unknown-element", Unsupported, NEWER),
            Self::UnknownKind => ("unknown-kind", Unsupported, NEWER),
            Self::DoesNotFit => ("does-not-fit", Unsupported, "choose an artifact with a variant for this device"),
            Self::IndexMalformed => ("malformed-index", NotTrusted, MAKE_AGAIN),
            Self::IndexDigest => ("index-digest-mismatch", NotTrusted, FETCH_AGAIN),
            Self::UnknownEncoding => ("unknown-encoding", Unsupported, NEWER),
            Self::StoredDigest => ("chunk-digest-mismatch", NotTrusted, FETCH_AGAIN),
            Self::ZstdDamaged => ("zstd-damaged", NotTrusted, MAKE_AGAIN),
            Self::ZstdWindow => ("zstd-window-too-large", NotTrusted, MAKE_AGAIN),
            Self::PlainLength => ("plain-length-mismatch", NotTrusted, MAKE_AGAIN),
            Self::PlainDigest => ("plain-digest-mismatch", NotTrusted, MAKE_AGAIN),
            Self::FileDigest => ("file-digest-mismatch", NotTrusted, MAKE_AGAIN),
            Self::GoldenMalformed => ("malformed-golden-set", NotTrusted, MAKE_AGAIN),
            Self::NoSuchFile => ("no-such-file", Unsupported, "choose a variant and a role that the manifest lists"),
        }
    }

    /// The stable kebab-case name.
    pub const fn code(self) -> &'static str {
        self.row().0
    }

    /// What the caller can make of it.
    pub const fn class(self) -> ErrorClass {
        self.row().1
    }

    /// What to do next, as a command to the reader.
    pub const fn next(self) -> &'static str {
        self.row().2
    }
}

/// An artifact, or a piece of one, was refused.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// The bytes break a rule of the format.
    #[error("accept {place}: found {found}, expected {expected}; {}", reason.next())]
    Refused {
        /// Which rule.
        reason: Reason,
        /// Where: which part of which file.
        place: String,
        /// What stands there.
        found: String,
        /// What should stand there.
        expected: String,
    },
    /// The envelope is not signed as the root demands.
    #[error(transparent)]
    Trust(#[from] Refusal),
    /// The file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl ArtifactError {
    pub(crate) fn refused(
        reason: Reason,
        place: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Refused { reason, place: place.into(), found: found.into(), expected: expected.into() }
    }

    /// Says where a part lies for an error that only knew the inside of that part.
    pub(crate) fn within(self, outer: impl FnOnce() -> String) -> Self {
        match self {
            Self::Refused { reason, place, found, expected } => {
                Self::Refused { reason, place: format!("{place} of {}", outer()), found, expected }
            }
            other => other,
        }
    }

    /// What the caller can make of it; programs turn it into an exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { reason, .. } => reason.class(),
            Self::Trust(_) => ErrorClass::NotTrusted,
            Self::Disk(_) => ErrorClass::Disk,
        }
    }

    /// The stable kebab-case reason: one of [`Reason`]'s, one of the trust crate's, or `disk`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused { reason, .. } => reason.code(),
            Self::Trust(refusal) => refusal.reason(),
            Self::Disk(_) => "disk",
        }
    }
}

/// Hostile text, cut and escaped for a message.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    if short.len() < text.len() {
        short.push_str("..");
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_cut_and_escaped() {
        assert_eq!(shown("a\n\u{1b}[31m"), r#""a\n\u{1b}[31m""#);
        assert_eq!(shown(&"é".repeat(SHOWN_CHARACTERS_MAX + 1)).chars().count(), SHOWN_CHARACTERS_MAX + 4);
    }

    #[test]
    fn a_refusal_says_where_found_expected_and_next() {
        let error = ArtifactError::refused(Reason::PlainLength, "chunk 3", "9 bytes", "8 bytes")
            .within(|| "file \"model\"".to_owned());
        assert_eq!(
            error.to_string(),
            "accept chunk 3 of file \"model\": found 9 bytes, expected 8 bytes; ask whoever made it to pack it again"
        );
        assert_eq!((error.reason(), error.class()), ("plain-length-mismatch", ErrorClass::NotTrusted));
    }
}
