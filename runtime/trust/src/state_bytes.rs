//! How a [`TrustState`] is stored. All integers are little-endian.
//!
//! ```text
//! offset  bytes  what
//!      0      8  "CASKTRST"
//!      8      4  format version, 1
//!     12      4  zero
//!     16      8  time of the enrolment, seconds since 1970
//!     24      8  time seen, seconds since 1970
//!     32      -  root.json        (length u32, bytes)
//!      -      -  timestamp.json   (length u32, bytes; length 0: none)
//!      -      -  snapshot.json    (length u32, bytes; length 0: none)
//!      -      -  targets.json     (length u32, bytes; length 0: none)
//!      -      4  artifact names; then for each, in growing order:
//!      -      -    name (length u32, bytes), <name>.json (length u32, bytes)
//!      -      4  channels; then for each, in growing order:
//!      -      -    channel (length u32, bytes), last sequence u64
//!      -     32  SHA-256 of everything before it
//! ```

use crate::limits::{
    CHANNELS_MAX, NAME_CHARACTERS_MAX, NAMES_MAX, ROOT_BYTES_MAX, SNAPSHOT_BYTES_MAX, STATE_BYTES_MAX,
    TARGETS_BYTES_MAX, TIMESTAMP_BYTES_MAX,
};
use crate::listing::{Snapshot, Timestamp};
use crate::state::verify_named;
use crate::targets::{NamedTargets, TopTargets};
use crate::{DIGEST_BYTES, Digest, Refusal, Role, Root, TrustState, check_name, is_plain_name};

const MAGIC: &[u8; 8] = b"CASKTRST";

/// The version of the stored form that this program reads and writes.
pub const STATE_VERSION: u32 = 1;

/// A stored trust state that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by a newer program.
    #[error("read the trust state: it has version {found}, this program reads {STATE_VERSION}; update this program")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// Not what was written.
    #[error("read the trust state: {problem}; it is damaged: restore it or enrol the device again")]
    Damaged {
        /// What is wrong, and where.
        problem: String,
    },
    /// Whole, but not signed as its own root demands: somebody wrote it by hand.
    #[error("read the trust state: {0}")]
    NotTrusted(Refusal),
}

impl From<Refusal> for StateError {
    fn from(refusal: Refusal) -> Self {
        Self::NotTrusted(refusal)
    }
}

fn damaged(problem: impl Into<String>) -> StateError {
    StateError::Damaged { problem: problem.into() }
}

impl TrustState {
    /// The stored form, at most [`STATE_BYTES_MAX`] bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(STATE_VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.time_enrolled.to_le_bytes());
        bytes.extend(self.time_seen.to_le_bytes());
        let timestamp = self.timestamp.as_ref().map(|file| file.document.bytes());
        let snapshot = self.snapshot.as_ref().map(|file| file.document.bytes());
        let targets = self.targets.as_ref().map(|file| file.document.bytes());
        for file in [Some(self.root.bytes()), timestamp, snapshot, targets] {
            put(&mut bytes, file.unwrap_or_default());
        }
        bytes.extend(count(self.named.len()));
        for (name, targets) in &self.named {
            put(&mut bytes, name.as_bytes());
            put(&mut bytes, targets.document.bytes());
        }
        bytes.extend(count(self.sequences.len()));
        for (channel, sequence) in &self.sequences {
            put(&mut bytes, channel.as_bytes());
            bytes.extend(sequence.to_le_bytes());
        }
        let digest = Digest::of(&bytes);
        bytes.extend(digest.as_bytes());
        bytes
    }

    /// Reads the stored form, and verifies every signature in it again.
    pub fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        if bytes.len() as u64 > STATE_BYTES_MAX {
            let found = bytes.len();
            return Err(damaged(format!("it has {found} bytes, at most {STATE_BYTES_MAX} are allowed")));
        }
        let mut reader = Reader { bytes, offset: 0 };
        if reader.take(MAGIC.len(), "its beginning")? != MAGIC {
            return Err(damaged("it does not begin with CASKTRST"));
        }
        let version = reader.u32("its version")?;
        if version > STATE_VERSION {
            return Err(StateError::Newer { found: version });
        }
        if version != STATE_VERSION {
            return Err(damaged(format!("it has version {version}")));
        }
        let body = reader.check_digest()?;
        let mut reader = Reader { bytes: body, offset: reader.offset };
        if reader.u32("its reserved field")? != 0 {
            return Err(damaged("its reserved field is not zero"));
        }
        let state = read_body(&mut reader)?;
        if reader.offset != reader.bytes.len() {
            let more = reader.bytes.len() - reader.offset;
            return Err(damaged(format!("{more} bytes follow its end")));
        }
        Ok(state)
    }
}

fn read_body(reader: &mut Reader<'_>) -> Result<TrustState, StateError> {
    let time_enrolled = reader.u64("its enrolment time")?;
    let time_seen = reader.u64("its time seen")?;
    if time_seen < time_enrolled {
        return Err(damaged("its time seen lies before its enrolment"));
    }
    let root = Root::pin(reader.file("root.json", ROOT_BYTES_MAX)?)?;
    let mut state = TrustState::enrolled(root, time_enrolled);
    state.time_seen = time_seen;
    let timestamp = reader.file("timestamp.json", TIMESTAMP_BYTES_MAX)?;
    if !timestamp.is_empty() {
        let file = Timestamp::read(timestamp)?;
        file.document.verify("deploy", state.root.role(Role::Timestamp))?;
        state.timestamp = Some(file);
    }
    let snapshot = reader.file("snapshot.json", SNAPSHOT_BYTES_MAX)?;
    if !snapshot.is_empty() {
        let file = Snapshot::read(snapshot)?;
        file.document.verify("deploy", state.root.role(Role::Snapshot))?;
        state.snapshot = Some(file);
    }
    let targets = reader.file("targets.json", TARGETS_BYTES_MAX)?;
    if !targets.is_empty() {
        let file = TopTargets::read(targets)?;
        file.document.verify("release", state.root.role(Role::Targets))?;
        state.targets = Some(file);
    }
    read_named(reader, &mut state)?;
    read_sequences(reader, &mut state)?;
    Ok(state)
}

fn read_named(reader: &mut Reader<'_>, state: &mut TrustState) -> Result<(), StateError> {
    for _ in 0..reader.count("artifact names", NAMES_MAX)? {
        let name = reader.name("an artifact's name")?;
        check_name(&name).map_err(|error| damaged(error.to_string()))?;
        if state.named.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(damaged(format!("the artifact {name:?} is out of order")));
        }
        let bytes = reader.file("an artifact's targets", TARGETS_BYTES_MAX)?;
        let file = NamedTargets::read(&name, bytes)?;
        verify_named(state.targets.as_ref(), &name, &file)?;
        state.named.insert(name, file);
    }
    Ok(())
}

fn read_sequences(reader: &mut Reader<'_>, state: &mut TrustState) -> Result<(), StateError> {
    for _ in 0..reader.count("channels", CHANNELS_MAX)? {
        let channel = reader.name("a channel's name")?;
        if !is_plain_name(&channel) {
            return Err(damaged(format!("{channel:?} is no channel's name")));
        }
        if state.sequences.last_key_value().is_some_and(|(last, _)| *last >= channel) {
            return Err(damaged(format!("the channel {channel:?} is out of order")));
        }
        let sequence = reader.u64("a channel's sequence")?;
        state.sequences.insert(channel, sequence);
    }
    Ok(())
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend(count(part.len()));
    bytes.extend(part);
}

fn count(count: usize) -> [u8; 4] {
    u32::try_from(count).expect("documents and tables in a state are far under 4 GiB").to_le_bytes()
}

/// Takes parts off the front; never past the end.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], StateError> {
        let part =
            self.offset.checked_add(length).and_then(|end| self.bytes.get(self.offset..end)).ok_or_else(|| {
                damaged(format!(
                    "{what} has {length} bytes from byte {}, the whole has {}",
                    self.offset,
                    self.bytes.len()
                ))
            })?;
        self.offset += length;
        Ok(part)
    }

    fn u32(&mut self, what: &str) -> Result<u32, StateError> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("`take` gives 4 bytes")))
    }

    fn u64(&mut self, what: &str) -> Result<u64, StateError> {
        let bytes = self.take(8, what)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("`take` gives 8 bytes")))
    }

    fn count(&mut self, what: &str, max: usize) -> Result<usize, StateError> {
        let found = self.u32(what)?;
        usize::try_from(found)
            .ok()
            .filter(|found| *found <= max)
            .ok_or_else(|| damaged(format!("it has {found} {what}, at most {max} are allowed")))
    }

    fn file(&mut self, what: &str, bytes_max: u64) -> Result<&'a [u8], StateError> {
        let max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let length = self.count(&format!("bytes of {what}"), max)?;
        self.take(length, what)
    }

    fn name(&mut self, what: &str) -> Result<String, StateError> {
        let bytes = self.file(what, NAME_CHARACTERS_MAX as u64)?;
        let text = std::str::from_utf8(bytes).map_err(|_| damaged(format!("{what} is no text")))?;
        Ok(text.to_owned())
    }

    /// Checks the digest at the end, and gives what it covers.
    fn check_digest(&self) -> Result<&'a [u8], StateError> {
        let body = self.bytes.len().checked_sub(DIGEST_BYTES);
        let (body, digest) = body
            .and_then(|end| self.bytes.split_at_checked(end))
            .ok_or_else(|| damaged("it is shorter than its own digest"))?;
        if Digest::of(body).as_bytes() != digest {
            return Err(damaged("its digest is not that of its bytes"));
        }
        Ok(body)
    }
}
