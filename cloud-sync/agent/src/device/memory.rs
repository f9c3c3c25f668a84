//! Between the store's file and the machine's memory.

use std::collections::BTreeMap;

use cloud_sync_store::{DeviceState, ModelState, Refused, SlotRef};
use runtime_trust::TrustState;

use crate::machine::{Denied, Installed, Memory, ModelMemory, RefusedProof};

/// The step of the proof: the only refusals that are remembered.
const STEP_PROOF: u8 = 9;

/// What the store's file says.
pub(crate) fn load(state: &DeviceState) -> Memory {
    let mut memory = Memory::new(state.trust.as_slice().into());
    for (name, model) in &state.models {
        for refused in model.refused.iter().filter(|refused| refused.step == STEP_PROOF) {
            let Some(sequence) = refused.sequence else { continue };
            let proof = RefusedProof {
                model: name.clone(),
                sequence,
                step: refused.step,
                reason: refused.reason.clone(),
                message: refused.message.clone(),
            };
            memory.refused.insert(refused.digest, proof);
        }
        let version = |slot: &Option<SlotRef>| slot.as_ref().map(installed);
        let model = ModelMemory {
            active: version(&model.active),
            last_good: version(&model.last_good),
            candidate: version(&model.candidate),
            settled: model.settled,
            boots_unproven: model.boots_unproven,
            held_above: model.held.then_some(model.held_above),
        };
        if model != ModelMemory::default() {
            memory.models.insert(name.clone(), model);
        }
    }
    memory
}

/// What the store's file is to say.
pub(crate) fn save(memory: &Memory) -> DeviceState {
    let mut models: BTreeMap<String, ModelState> = BTreeMap::new();
    for (name, model) in &memory.models {
        let slot = |version: &Option<Installed>| version.as_ref().map(slot_ref);
        let state = ModelState {
            active: slot(&model.active),
            last_good: slot(&model.last_good),
            candidate: slot(&model.candidate),
            boots_unproven: model.boots_unproven,
            settled: model.settled,
            held: model.held_above.is_some(),
            held_above: model.held_above.unwrap_or(0),
            refused: Vec::new(),
        };
        models.insert(name.clone(), state);
    }
    let mut proofs: Vec<_> = memory.refused.iter().collect();
    // The store keeps the newest, which it takes to be the last.
    proofs.sort_by_key(|(_, proof)| proof.sequence);
    for (digest, proof) in proofs {
        let refused = Refused {
            digest: *digest,
            sequence: Some(proof.sequence),
            step: proof.step,
            reason: proof.reason.clone(),
            message: proof.message.clone(),
        };
        models.entry(proof.model.clone()).or_default().refused.push(refused);
    }
    DeviceState { trust: memory.trust.to_vec(), models }
}

/// The store's name for a version.
pub(crate) fn slot_ref(version: &Installed) -> SlotRef {
    SlotRef {
        digest: version.digest,
        number: version.number,
        version: version.version.clone(),
        engine: version.engine.clone(),
        folder: version.folder.clone(),
    }
}

/// A version by the store's name for it.
pub(crate) fn installed(slot: &SlotRef) -> Installed {
    Installed {
        digest: slot.digest,
        number: slot.number,
        version: slot.version.clone(),
        folder: slot.folder.clone(),
        engine: slot.engine.clone(),
    }
}

/// The deny-lists in a trusted state.
pub(crate) fn denied(trust: &TrustState) -> Denied {
    let mut denied = Denied::new();
    for (name, digest) in trust.denied() {
        denied.entry(name.to_owned()).or_default().insert(*digest);
    }
    denied
}

/// The floors in a trusted state.
pub(crate) fn floors(trust: &TrustState) -> BTreeMap<String, u64> {
    trust.names().map(|name| (name.to_owned(), trust.floor(name))).collect()
}

#[cfg(test)]
mod tests {
    use runtime_trust::Digest;

    use super::*;

    #[test]
    fn memory_survives_the_store() {
        let version = |seed: u8| Installed {
            digest: Digest::of(&[seed]),
            number: seed.into(),
            version: format!("{seed}.0.0"),
            folder: Digest::of(&[seed, 1]).to_string(),
            engine: "native".to_owned(),
        };
        let mut memory = Memory::new(b"trust".as_slice().into());
        let full = ModelMemory {
            active: Some(version(2)),
            last_good: Some(version(1)),
            candidate: Some(version(3)),
            settled: true,
            boots_unproven: 2,
            held_above: Some(0),
        };
        memory.models.insert("digits".to_owned(), full);
        for (name, sequence) in [("digits", 9), ("never-installed", 7)] {
            let proof = RefusedProof {
                model: name.to_owned(),
                sequence,
                step: 9,
                reason: "golden-mismatch".to_owned(),
                message: "case 3".to_owned(),
            };
            memory.refused.insert(Digest::of(name.as_bytes()), proof);
        }
        assert_eq!(load(&save(&memory)), memory);
    }
}
