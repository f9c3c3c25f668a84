//! From a slot to a model that can be run.

use cloud_sync_store::{Slot, Store};
use runtime_artifact::{GoldenSet, ROLE_GOLDEN, ROLE_MODEL, Variant};
use runtime_inference::{ModelFiles, ModelIdentity};
use targets_profile::Profile;

use super::memory::slot_ref;
use crate::machine::Installed;
use crate::order::Stop;
use crate::order::stop;

/// The step in which files are read for the proof.
const STEP_PROOF: u8 = 9;

/// Bytes of all files of a variant.
pub(crate) fn bytes(variant: &Variant) -> u64 {
    variant.files.values().fold(0, |sum, file| sum.saturating_add(file.bytes))
}

/// Reads one variant's files from a slot that is whole. The store checks their digests once more.
pub(crate) fn files(slot: &Slot, variant: &Variant) -> Result<ModelFiles, Stop> {
    let manifest = slot.manifest();
    let read = |role: &str| {
        let bytes_max = variant.files.get(role).map_or(0, |entry| entry.bytes);
        slot.read_file(&variant.id, role, bytes_max).map_err(|error| stop::store(STEP_PROOF, error))
    };
    let golden = GoldenSet::decode(&read(ROLE_GOLDEN)?).map_err(|error| stop::artifact(STEP_PROOF, error))?;
    Ok(ModelFiles {
        identity: ModelIdentity {
            artifact: manifest.name.clone(),
            version: manifest.version.to_string(),
            number: manifest.number,
            digest: slot.digest().to_string(),
        },
        variant_id: variant.id.clone(),
        model: read(ROLE_MODEL)?,
        golden,
        limits: variant.limits,
        numerics: variant.numerics,
        contract: manifest.contract.clone(),
    })
}

/// Opens an installed version's slot, and names the variant in it that fits best. The text says why it cannot be.
fn slot(store: &Store, profile: &Profile, version: &Installed) -> Result<(Slot, Variant), String> {
    let slot = store.slot(&slot_ref(version)).map_err(|error| format!("failed to {error}"))?;
    let manifest = slot.manifest();
    let preferred = manifest.choose(profile).ok().map(|variant| &variant.id);
    // The choice may differ from the one at install: a new CPU, another configuration. What is there is there.
    let here = slot.variants().iter().filter_map(|id| manifest.variant(id)).filter(|variant| variant.is_known_kind());
    let variant = here.max_by_key(|variant| Some(&variant.id) == preferred).cloned();
    let variant = variant.ok_or_else(|| "none of the variants in its slot can be run".to_owned())?;
    Ok((slot, variant))
}

/// Reads an installed version. The text says why it cannot be.
pub(crate) fn open(store: &Store, profile: &Profile, version: &Installed) -> Result<(ModelFiles, Variant), String> {
    let (slot, variant) = slot(store, profile, version)?;
    let files = files(&slot, &variant).map_err(|stop| match stop {
        Stop::Refused(refusal) => refusal.message,
        Stop::Interrupted(why) => why,
        Stop::Nothing | Stop::Aborted => "the files were not read".to_owned(),
    })?;
    Ok((files, variant))
}

/// Bytes that an installed version takes; 0 for one that cannot be read.
pub(crate) fn slot_bytes(store: &Store, profile: &Profile, version: &Installed) -> u64 {
    slot(store, profile, version).map_or(0, |(_, variant)| bytes(&variant))
}
