//! What the device knows across restarts, in one small file that is replaced as a whole.
//!
//! Integers little-endian:
//!
//! ```text
//!   offset  bytes
//!        0      8  "CASKSTAT"
//!        8      4  format: 1
//!       12      4  length of the JSON J
//!       16      8  length of the trust state T
//!       24     32  SHA-256 of bytes 0 to 24 and of everything from byte 56
//!       56      J  JSON: the models
//!     56+J      T  the trust state: opaque here, versioned by runtime-trust
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use runtime_trust::{DIGEST_BYTES, Digest};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// The format of the state file that this version writes, and the only one it reads.
pub const STATE_FORMAT: u32 = 1;

/// Refusals kept for one model; older ones are forgotten.
pub const REFUSED_MAX: usize = 16;

/// The whole file, in bytes.
pub(crate) const STATE_BYTES_MAX: u64 = 4 * 1024 * 1024;

const MAGIC: [u8; 8] = *b"CASKSTAT";
const HEADER_BYTES: usize = 56;
const DIGEST_OFFSET: usize = HEADER_BYTES - DIGEST_BYTES;

/// Everything that must survive a power cut together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceState {
    /// `runtime-trust`'s state in its own bytes; empty before enrolment.
    pub trust: Vec<u8>,
    /// By the name under which the device serves the model.
    pub models: BTreeMap<String, ModelState>,
}

/// One model on this device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelState {
    /// The slot that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<SlotRef>,
    /// The slot that answered well before, and answers when the active one cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<SlotRef>,
    /// The slot that is being fetched or tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<SlotRef>,
    /// Starts since the active slot last proved itself.
    #[serde(default)]
    pub boots_unproven: u32,
    /// Whether the active slot has survived its first minutes once.
    #[serde(default)]
    pub settled: bool,
    /// Whether a rollback or sideload done on the device holds against deployments.
    #[serde(default)]
    pub held: bool,
    /// The sequence that a deployment must exceed to end the hold.
    #[serde(default)]
    pub held_above: u64,
    /// What was refused, the newest last; at most [`REFUSED_MAX`] are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
}

/// A slot, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRef {
    /// Digest of the manifest.
    pub digest: Digest,
    /// The artifact's growing number.
    pub number: u64,
    /// The artifact's version (semver).
    pub version: String,
    /// The engine that was measured best on this device; empty when not measured yet.
    pub engine: String,
    /// Name of the slot's folder: a digest in hex, made from the manifest's digest and the wanted variants.
    pub folder: String,
}

/// An artifact that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Sequence of the deployment that named it; absent for a sideload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The step of the device's order of checks that refused it.
    pub step: u8,
    /// The stable kebab-case reason.
    pub reason: String,
    /// The sentence for people.
    pub message: String,
}

impl DeviceState {
    /// Names of the folders of all slots that the state needs.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.models
            .values()
            .flat_map(|model| [&model.active, &model.last_good, &model.candidate])
            .flatten()
            .map(|slot| slot.folder.as_str())
    }

    /// Forgets the oldest refusals above the limit.
    pub(crate) fn trim(&mut self) {
        for model in self.models.values_mut() {
            let excess = model.refused.len().saturating_sub(REFUSED_MAX);
            model.refused.drain(..excess);
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_vec(&self.models).expect("texts, integers and maps by text have a JSON form");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + json.len() + self.trust.len());
        bytes.extend(MAGIC);
        bytes.extend(STATE_FORMAT.to_le_bytes());
        bytes.extend((json.len() as u32).to_le_bytes());
        bytes.extend((self.trust.len() as u64).to_le_bytes());
        bytes.extend([0; DIGEST_BYTES]);
        bytes.extend(json);
        bytes.extend_from_slice(&self.trust);
        let digest = checksum(&bytes);
        bytes[DIGEST_OFFSET..HEADER_BYTES].copy_from_slice(digest.as_bytes());
        bytes
    }

    /// Reads the state's file; `path` is for messages.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Self, StoreError> {
        let damaged = |found: String, expected: &str| StoreError::Damaged {
            path: path.to_owned(),
            found,
            expected: expected.to_owned(),
            next: "restore the folder from a copy, or empty it and enrol the device again",
        };
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(damaged(format!("{} bytes", bytes.len()), "a header of 56 bytes"));
        };
        if header[..8] != MAGIC {
            return Err(damaged(format!("{:02x?}", &header[..8]), "\"CASKSTAT\""));
        }
        let format = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let found = checksum(bytes);
        // A damaged file is damaged whatever format it seems to have; a newer one keeps this part of the header.
        if found.as_bytes() != &header[DIGEST_OFFSET..] {
            return Err(damaged(format!("the digest {found}"), "the digest in its header"));
        }
        if format != STATE_FORMAT {
            return Err(StoreError::NewerFormat { path: path.to_owned(), found: format, known: STATE_FORMAT });
        }
        let json_bytes = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
        let (json, trust) = bytes[HEADER_BYTES..]
            .split_at_checked(json_bytes)
            .filter(|(_, trust)| header[16..24] == (trust.len() as u64).to_le_bytes())
            .ok_or_else(|| damaged(format!("{} bytes", bytes.len()), "the lengths in its header"))?;
        let models = serde_json::from_slice(json)
            .map_err(|error| damaged(error.to_string(), "the models as this version writes them"))?;
        Ok(Self { trust: trust.to_vec(), models })
    }
}

/// Over everything but the place of the digest itself.
fn checksum(bytes: &[u8]) -> Digest {
    let mut stream = Digest::stream();
    stream.update(&bytes[..DIGEST_OFFSET]);
    stream.update(&bytes[HEADER_BYTES..]);
    stream.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(seed: &[u8]) -> SlotRef {
        SlotRef {
            digest: Digest::of(seed),
            number: 7,
            version: "1.2.3".to_owned(),
            engine: String::new(),
            folder: Digest::of(&[seed, b"folder"].concat()).to_string(),
        }
    }

    fn refused(step: u8) -> Refused {
        Refused {
            digest: Digest::of(&[step]),
            sequence: Some(u64::MAX),
            step,
            reason: "denied".to_owned(),
            message: "found something".to_owned(),
        }
    }

    fn state() -> DeviceState {
        let full = ModelState {
            active: Some(slot(b"a")),
            last_good: Some(slot(b"b")),
            candidate: Some(slot(b"c")),
            boots_unproven: 2,
            settled: true,
            held: true,
            held_above: 1 << 40,
            refused: vec![refused(5)],
        };
        DeviceState {
            trust: vec![1, 2, 3],
            models: [("digits".to_owned(), full), ("empty".to_owned(), ModelState::default())].into(),
        }
    }

    fn parse(bytes: &[u8]) -> Result<DeviceState, StoreError> {
        DeviceState::parse(bytes, Path::new("state"))
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(parse(&state().to_bytes()).unwrap(), state());
        assert_eq!(parse(&DeviceState::default().to_bytes()).unwrap(), DeviceState::default());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_damage() {
        let bytes = state().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(parse(&damaged), Err(StoreError::Damaged { .. })), "bit {bit} flipped");
        }
        for length in 0..bytes.len() {
            assert!(matches!(parse(&bytes[..length]), Err(StoreError::Damaged { .. })), "cut to {length} bytes");
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let mut bytes = state().to_bytes();
        bytes[8] = 2;
        let digest = checksum(&bytes);
        bytes[DIGEST_OFFSET..HEADER_BYTES].copy_from_slice(digest.as_bytes());
        let error = parse(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "read state: found format 2, expected 1; use the version that wrote it or a newer one"
        );
    }

    #[test]
    fn the_newest_refusals_are_kept() {
        let mut state = state();
        let model = state.models.get_mut("digits").unwrap();
        model.refused = (0..=REFUSED_MAX as u8).map(refused).collect();
        state.trim();
        let steps: Vec<u8> = state.models["digits"].refused.iter().map(|refused| refused.step).collect();
        assert_eq!(steps, (1..=REFUSED_MAX as u8).collect::<Vec<_>>());
    }

    #[test]
    fn all_slots_are_named() {
        let folders: Vec<String> = state().folders().map(str::to_owned).collect();
        assert_eq!(folders, [slot(b"a").folder, slot(b"b").folder, slot(b"c").folder]);
    }
}
