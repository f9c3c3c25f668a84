//! What all TUF metadata files share: exact bytes, signatures, and the signed part as canonical JSON.
//!
//! A [`Document`] is well-formed, never trusted by itself: only [`Document::verify`] says who signed it.
//! Its bytes are kept, and with them every field that this program does not know.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::limits::SIGNATURES_MAX;
use crate::refusal::{Reason, Refusal, Step};
use crate::signature::{Signature, require_threshold};
use crate::{Digest, RoleKeys, calendar, json};

/// The only major version of the TUF specification that this program reads.
const SPEC_MAJOR: &str = "1";

/// One metadata file, read and well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// How people call it, e.g. `timestamp.json`.
    file: String,
    step: Step,
    bytes: Vec<u8>,
    canonical: Vec<u8>,
    signatures: Vec<Signature>,
    pub(crate) version: u64,
    /// Seconds since 1970.
    pub(crate) expires: u64,
}

/// What a metadata file must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    /// How people call it.
    pub(crate) file: &'a str,
    /// TUF's `_type`.
    pub(crate) kind: &'a str,
    /// The check on the device that it belongs to.
    pub(crate) step: Step,
    pub(crate) bytes_max: u64,
}

impl Expected<'_> {
    pub(crate) fn refuse(&self, reason: Reason, problem: impl std::fmt::Display) -> Refusal {
        Refusal::new(self.step, reason, format!("trust {}: {problem}", self.file))
    }

    pub(crate) fn malformed(&self, problem: impl std::fmt::Display) -> Refusal {
        self.refuse(Reason::Malformed, format!("{problem}; fetch it again or publish it again"))
    }
}

/// The outer object; its unknown fields are ignored.
#[derive(Deserialize)]
struct Envelope {
    signatures: Vec<RawSignature>,
    signed: Value,
}

#[derive(Deserialize)]
struct RawSignature {
    keyid: String,
    sig: String,
}

/// The fields that every role has; the role's own are read beside them.
#[derive(Deserialize)]
struct Common {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    version: u64,
    expires: String,
}

impl Document {
    /// Reads a file and, from its signed part, the role's own fields `T`.
    pub(crate) fn open<T: DeserializeOwned>(expected: &Expected<'_>, bytes: &[u8]) -> Result<(Self, T), Refusal> {
        check_size(expected.file, bytes, expected.bytes_max)?;
        let value = json::parse_strict(bytes).map_err(|error| expected.malformed(error))?;
        let envelope: Envelope = serde_json::from_value(value).map_err(|error| expected.malformed(error))?;
        let signatures = read_signatures(expected, envelope.signatures)?;
        let canonical = json::canonical(&envelope.signed).map_err(|error| expected.malformed(error))?;
        let common = Common::deserialize(&envelope.signed).map_err(|error| expected.malformed(error))?;
        let expires = check_common(expected, &common)?;
        let own: T = serde_json::from_value(envelope.signed).map_err(|error| expected.malformed(error))?;
        let document = Self {
            file: expected.file.to_owned(),
            step: expected.step,
            bytes: bytes.to_owned(),
            canonical,
            signatures,
            version: common.version,
            expires,
        };
        Ok((document, own))
    }

    /// The exact bytes that were read.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Refuses unless `role`'s threshold of keys signed this.
    pub(crate) fn verify(&self, who: &str, role: &RoleKeys) -> Result<(), Refusal> {
        require_threshold(self.step, &self.file, who, role, &self.canonical, &self.signatures)
    }

    /// Refuses when `now` is past the expiry.
    pub(crate) fn require_unexpired(&self, now: u64) -> Result<(), Refusal> {
        // TUF 5.3.10, 5.4.4, 5.5.6, 5.6.6: the expiry must be higher than the fixed update start time.
        if now < self.expires {
            return Ok(());
        }
        Err(Refusal::new(
            self.step,
            Reason::Expired,
            format!(
                "trust {}: it expired at {}, the clock says {}; publish a newer one, or set this device's clock",
                self.file,
                calendar::format_utc(self.expires),
                calendar::format_utc(now),
            ),
        ))
    }

    /// Refuses a version lower than one that was already trusted.
    pub(crate) fn require_version_at_least(&self, seen: u64) -> Result<(), Refusal> {
        if self.version >= seen {
            return Ok(());
        }
        Err(Refusal::new(
            self.step,
            Reason::VersionRollback,
            format!(
                "trust {}: it has version {}, version {seen} was already seen; somebody is replaying an old \
                 file, or the publisher lost its newest one",
                self.file, self.version,
            ),
        ))
    }
}

/// Step 1 for any input.
pub(crate) fn check_size(what: &str, bytes: &[u8], bytes_max: u64) -> Result<(), Refusal> {
    let found = bytes.len() as u64;
    if found <= bytes_max {
        return Ok(());
    }
    Err(Refusal::new(
        Step::Size,
        Reason::TooLarge,
        format!("trust {what}: it has {found} bytes, at most {bytes_max} are allowed; publish a smaller one"),
    ))
}

fn read_signatures(expected: &Expected<'_>, raw: Vec<RawSignature>) -> Result<Vec<Signature>, Refusal> {
    if raw.len() > SIGNATURES_MAX {
        let found = raw.len();
        return Err(expected.malformed(format!("it has {found} signatures, at most {SIGNATURES_MAX} are allowed")));
    }
    // A signature of a scheme with other names or other bytes is none that could count.
    let readable =
        |raw: RawSignature| Some(Signature { key: raw.keyid.parse().ok()?, bytes: hex::decode(raw.sig).ok()? });
    Ok(raw.into_iter().filter_map(readable).collect())
}

/// Returns the expiry in seconds since 1970.
fn check_common(expected: &Expected<'_>, common: &Common) -> Result<u64, Refusal> {
    if common.kind != expected.kind {
        return Err(expected.refuse(
            Reason::WrongType,
            format!("it is of type {:?}, expected {:?}; fetch the right file", common.kind, expected.kind),
        ));
    }
    if common.spec_version.split('.').next() != Some(SPEC_MAJOR) {
        return Err(expected.refuse(
            Reason::UnsupportedVersion,
            format!(
                "it follows version {:?} of the TUF specification, this program reads {SPEC_MAJOR}.x; \
                 update this program",
                common.spec_version
            ),
        ));
    }
    if common.version == 0 {
        return Err(expected.malformed("its version is 0, the first one is 1"));
    }
    calendar::parse_utc(&common.expires).ok_or_else(|| {
        expected.malformed(format!("it expires at {:?}, expected the form 2030-01-31T23:59:59Z", common.expires))
    })
}

/// What a listing (timestamp, snapshot, targets) says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileMeta {
    pub(crate) version: u64,
    pub(crate) length: Option<u64>,
    pub(crate) digest: Option<Digest>,
}

/// As in the JSON.
#[derive(Deserialize)]
pub(crate) struct RawFileMeta {
    version: u64,
    length: Option<u64>,
    hashes: Option<RawHashes>,
}

/// Other algorithms than SHA-256 are ignored, but hashes without it cannot be checked.
#[derive(Deserialize)]
pub(crate) struct RawHashes {
    pub(crate) sha256: Digest,
}

impl RawFileMeta {
    pub(crate) fn read(self, expected: &Expected<'_>, file: &str) -> Result<FileMeta, Refusal> {
        if self.version == 0 {
            return Err(expected.malformed(format!("it lists {file} with version 0, the first one is 1")));
        }
        Ok(FileMeta { version: self.version, length: self.length, digest: self.hashes.map(|hashes| hashes.sha256) })
    }
}

impl FileMeta {
    /// Checks the bytes of a file against its listing, before they are parsed.
    pub(crate) fn check_bytes(&self, expected: &Expected<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        let found = bytes.len() as u64;
        if let Some(length) = self.length
            && length != found
        {
            return Err(expected.refuse(
                Reason::LengthMismatch,
                format!("it has {found} bytes, its listing says {length}; fetch it again"),
            ));
        }
        if let Some(digest) = self.digest {
            let found = Digest::of(bytes);
            if found != digest {
                return Err(expected.refuse(
                    Reason::DigestMismatch,
                    format!("its digest is {found}, its listing says {digest}; fetch it again"),
                ));
            }
        }
        Ok(())
    }

    /// Checks the version of a file against its listing.
    pub(crate) fn check_version(&self, expected: &Expected<'_>, version: u64) -> Result<(), Refusal> {
        if version == self.version {
            return Ok(());
        }
        Err(expected.refuse(
            Reason::VersionMismatch,
            format!("it has version {version}, its listing says {}; fetch both again", self.version),
        ))
    }

    /// Whether a document at hand is the one listed.
    pub(crate) fn describes(&self, document: &Document) -> bool {
        self.version == document.version
            && self.length.is_none_or(|length| length == document.bytes.len() as u64)
            && self.digest.is_none_or(|digest| digest == Digest::of(&document.bytes))
    }
}
