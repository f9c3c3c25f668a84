//! What survives a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runtime_trust::Digest;

/// Release's deny-lists: per model name, manifest digests that must never answer under it.
pub type Denied = BTreeMap<String, BTreeSet<Digest>>;

/// A version whose files lie in a slot of this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its growing integer.
    pub number: u64,
    /// Its semantic version, for people.
    pub version: String,
    /// The slot's folder name.
    pub folder: String,
    /// The engine that proved it here; empty when none was measured.
    pub engine: String,
}

/// What is remembered of one model name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelMemory {
    /// The version that answers.
    pub active: Option<Installed>,
    /// The proven version before it, ready to take over.
    pub last_good: Option<Installed>,
    /// The version on its way; its slot survives a restart so that no chunk is fetched twice.
    pub candidate: Option<Installed>,
    /// Whether the active version has once survived its first seconds of serving.
    pub settled: bool,
    /// Starts since the active version last survived its first seconds.
    pub boots_unproven: u32,
    /// Deployments up to this sequence do not touch the model: a person chose its version on the device.
    pub held_above: Option<u64>,
}

impl ModelMemory {
    /// Makes `version` the active one; the active one before it becomes the last good.
    ///
    /// The last good version is only ever replaced by one that was active, so a proven version stays referenced.
    pub(crate) fn activate(&mut self, version: Installed) {
        self.candidate = None;
        match self.active.take() {
            Some(active) if active.digest == version.digest => {
                // The same version proven again: its measurement may be new, its history is not.
                self.active = Some(version);
                return;
            }
            Some(active) => self.last_good = Some(active),
            // Nothing was active: a last good version that is the new one is not a second line of defence.
            None => self.last_good = self.last_good.take().filter(|good| good.digest != version.digest),
        }
        self.active = Some(version);
        self.settled = false;
        self.boots_unproven = 0;
    }

    /// Drops the active version for the last good one; `false`, and no change, when there is none.
    pub(crate) fn fall_back(&mut self) -> bool {
        let Some(good) = self.last_good.take() else { return false };
        self.active = Some(good);
        self.settled = true;
        self.boots_unproven = 0;
        true
    }

    /// Every version that is still needed.
    pub fn versions(&self) -> impl Iterator<Item = &Installed> {
        self.active.iter().chain(&self.last_good).chain(&self.candidate)
    }
}

/// A version that did not prove itself on this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedProof {
    /// The model's name.
    pub model: String,
    /// The deployment that named it; a higher one tries again.
    pub sequence: u64,
    /// The step of the order of checks: 9.
    pub step: u8,
    /// The stable code.
    pub reason: String,
    /// What was found and expected.
    pub message: String,
}

/// Failed proofs remembered at the same time; the oldest deployment's is forgotten first.
const REFUSED_PROOFS_MAX: usize = 64;

/// Everything that survives a restart. One durable file holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// The trusted state's bytes, opaque here: roots, metadata, sequences, time seen.
    pub trust: Arc<[u8]>,
    /// Per model name.
    pub models: BTreeMap<String, ModelMemory>,
    /// Versions that failed their proof, by manifest digest. Refusals of a carrier or of metadata are never here:
    /// they say nothing about the version.
    pub refused: BTreeMap<Digest, RefusedProof>,
}

impl Memory {
    /// Nothing installed, under `trust`.
    pub fn new(trust: Arc<[u8]>) -> Self {
        Memory { trust, models: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// Remembers that `digest` failed its proof.
    pub(crate) fn refuse(&mut self, digest: Digest, proof: RefusedProof) {
        self.refused.insert(digest, proof);
        while self.refused.len() > REFUSED_PROOFS_MAX {
            let oldest = self.refused.iter().min_by_key(|(_, proof)| proof.sequence).map(|(digest, _)| *digest);
            oldest.map(|digest| self.refused.remove(&digest));
        }
    }

    /// Forgets names of which nothing is left.
    pub(crate) fn tidy(&mut self) {
        self.models.retain(|_, model| model.versions().next().is_some() || model.held_above.is_some());
    }

    /// Slot folders that must stay.
    pub fn folders(&self) -> BTreeSet<&str> {
        self.models.values().flat_map(ModelMemory::versions).map(|version| version.folder.as_str()).collect()
    }
}
