//! Steps 1 to 5: what may become active. `runtime-trust` judges; this feeds it.

use std::collections::BTreeSet;

use runtime_artifact::{ErrorClass, Manifest, Variant};
use runtime_trust::{
    CheckedManifest, Deployment, Digest, Envelope, ManifestFacts, PayloadType, Refresh, Role, TrustState, limits,
};

use super::{Order, Wish, abort_point};
use crate::device::Site;
use crate::machine::Verdict;
use crate::order::stop::{self, Stop};
use crate::order::{Claim, Desk, Source};

/// Step 1 for what the source claims.
pub(crate) fn check_size(claim: &Claim) -> Result<(), Stop> {
    let (bytes, what) = match claim {
        Claim::Nothing => return Ok(()),
        Claim::Deployment(bytes) => (bytes, "deployment"),
        Claim::Sideload(bytes) => (bytes, "manifest"),
    };
    within(bytes.len() as u64, limits::ENVELOPE_BYTES_MAX, what)
}

fn within(found: u64, bytes_max: u64, what: &str) -> Result<(), Stop> {
    if found <= bytes_max {
        return Ok(());
    }
    Err(Stop::refused(
        1,
        "too-large",
        format!("failed to take the {what}: it has {found} bytes, at most {bytes_max} are allowed"),
    ))
}

/// Steps 2 and 3.
pub(crate) fn refresh(site: &Site<'_>, source: &mut dyn Source, claim: &Claim) -> Result<TrustState, Stop> {
    // The refresh adds the time seen itself, and takes it away again when a new root replaces the keys that said it.
    let now = site.unix;
    let mut names: BTreeSet<String> = site.memory.models.keys().cloned().collect();
    names.extend(claimed_names(&site.trust, claim));
    let names: Vec<String> = names.into_iter().collect();
    let Claim::Sideload(_) = claim else {
        return run_refresh(Refresh::start(&site.trust, now, &names), source);
    };
    // Metadata beside a sideloaded file is welcome where it is newer and good; a file alone is judged by what was
    // last seen. Whoever could put bad metadata there could also leave it out.
    match run_refresh(Refresh::start_ignoring_expiry(&site.trust, &names), source) {
        Ok(trust) => Ok(trust),
        Err(Stop::Aborted) => Err(Stop::Aborted),
        Err(stop) => {
            tracing::debug!(?stop, "no newer metadata beside the file");
            Ok(site.trust.clone())
        }
    }
}

fn run_refresh(mut refresh: Refresh, source: &mut dyn Source) -> Result<TrustState, Stop> {
    while let Some(wanted) = refresh.wanted() {
        let bytes = source.trust_file(&wanted.file, wanted.bytes_max)?;
        if let Some(bytes) = &bytes {
            // Step 1 again, for each file.
            within(bytes.len() as u64, wanted.bytes_max, &wanted.file.to_string())?;
        }
        refresh.feed(bytes.as_deref()).map_err(missing_may_come)?;
    }
    Ok(refresh.finish()?)
}

/// A file that nobody published yet is no refusal: it may come.
fn missing_may_come(refusal: runtime_trust::Refusal) -> Stop {
    match refusal.kind() {
        runtime_trust::Reason::Unavailable => Stop::Interrupted(format!("failed to {refusal}")),
        _ => refusal.into(),
    }
}

/// Names in the claim whose metadata is fetched, too. They only choose files; still, a deployment that deploy's keys
/// as known so far did not sign chooses none, so that a forged one cannot keep the metadata from being refreshed.
fn claimed_names(trust: &TrustState, claim: &Claim) -> Vec<String> {
    match claim {
        Claim::Nothing => Vec::new(),
        Claim::Deployment(bytes) => {
            let signed = Envelope::parse(bytes).is_ok_and(|envelope| {
                envelope.verify(PayloadType::Deployment, trust.root().role(Role::Timestamp)).is_ok()
            });
            let deployment = if signed { unverified_deployment(bytes) } else { None };
            deployment.into_iter().flat_map(|deployment| deployment.models).map(|model| model.name).collect()
        }
        Claim::Sideload(bytes) => unverified_manifest(bytes).map(|manifest| vec![manifest.name]).unwrap_or_default(),
    }
}

fn unverified_deployment(bytes: &[u8]) -> Option<Deployment> {
    Deployment::parse(Envelope::parse(bytes).ok()?.payload()).ok()
}

fn unverified_manifest(bytes: &[u8]) -> Option<Manifest> {
    Manifest::parse(Envelope::parse(bytes).ok()?.payload()).ok()
}

/// Step 4, and the state machine's word on whether the deployment is followed.
pub(crate) fn deployment(
    site: &Site<'_>,
    trust: &TrustState,
    claim: &Claim,
    desk: &mut dyn Desk,
) -> Result<Option<Order>, Stop> {
    let bytes = match claim {
        Claim::Nothing => return Ok(None),
        Claim::Sideload(bytes) => {
            let envelope = Envelope::parse(bytes)?;
            let manifest = Manifest::parse(envelope.payload()).map_err(|error| stop::artifact(5, error))?;
            let models = vec![(manifest.name, Digest::of(envelope.payload()))];
            return Ok(Some(Order { deployment: None, models }));
        }
        Claim::Deployment(bytes) => bytes,
    };
    let Some(identity) = site.identity else { return Ok(None) };
    let now = trust.clock(site.unix);
    let checked = trust.check_deployment(bytes, identity.fleet.as_str(), identity.channel.as_str(), now);
    let deployment = match checked {
        Ok(deployment) => deployment,
        // The deployment that this device already follows, again.
        Err(refusal) if refusal.kind() == runtime_trust::Reason::SequenceRepeated => return Ok(None),
        Err(refusal) => {
            let claimed = unverified_deployment(bytes);
            let model = claimed.as_ref().and_then(|claimed| claimed.models.first());
            let (name, digest) = (model.map(|model| model.name.as_str()), model.map(|model| model.digest));
            return Err(Stop::from(refusal).about(name, digest, claimed.as_ref().map(|claimed| claimed.sequence)));
        }
    };
    let models: Vec<(String, Digest)> =
        deployment.models.iter().map(|model| (model.name.clone(), model.digest)).collect();
    match desk.deployment_checked(deployment.sequence, models.clone()) {
        Verdict::Install => Ok(Some(Order { deployment: Some(deployment), models })),
        _ => Ok(None),
    }
}

/// Step 5 for every model of the order.
pub(crate) fn manifests(
    site: &Site<'_>,
    trust: &TrustState,
    source: &mut dyn Source,
    claim: &Claim,
    order: &Order,
    desk: &mut dyn Desk,
) -> Result<Vec<Wish>, Stop> {
    let mut wishes = Vec::new();
    for (name, digest) in &order.models {
        let about = |stop: Stop| stop.about(Some(name), Some(*digest), order.sequence());
        abort_point(desk)?;
        let (envelope, checked) = match claim {
            Claim::Sideload(envelope) => (envelope.clone(), trust.check_sideload(envelope, name)),
            _ => {
                let envelope = source.manifest(digest, limits::ENVELOPE_BYTES_MAX).map_err(about)?;
                within(envelope.len() as u64, limits::ENVELOPE_BYTES_MAX, "manifest").map_err(about)?;
                let now = trust.clock(site.unix);
                let checked = trust.check_manifest(&envelope, digest, name, now);
                (envelope, checked)
            }
        };
        let checked = checked.map_err(Stop::from).map_err(about)?;
        let (manifest, variant) = facts(site, trust, &checked).map_err(about)?;
        let active = site.memory.models.get(name).and_then(|model| model.active.clone());
        let active = active.filter(|active| active.digest == *digest);
        desk.entered(5, Some(name));
        wishes.push(Wish { name: name.clone(), digest: *digest, envelope, manifest, variant, active });
    }
    Ok(wishes)
}

/// The half of step 5 that needs the manifest's format: what it says, and which variant fits.
fn facts(site: &Site<'_>, trust: &TrustState, checked: &CheckedManifest) -> Result<(Manifest, String), Stop> {
    let mut facts = ManifestFacts {
        name: checked.name.clone(),
        number: checked.allowed.as_ref().map_or(u64::MAX, |allowed| allowed.number),
        ..ManifestFacts::default()
    };
    let manifest = match Manifest::parse(&checked.bytes) {
        Ok(manifest) => manifest,
        Err(error) if error.class() == ErrorClass::Unsupported => {
            facts.unsupported = Some(error.to_string());
            trust.check_facts(checked, &facts)?;
            // `check_facts` refuses what is unsupported; this is for a reader who does not know that.
            return Err(stop::artifact(5, error));
        }
        Err(error) => return Err(stop::artifact(5, error)),
    };
    facts.name.clone_from(&manifest.name);
    facts.number = manifest.number;
    let chosen = manifest.choose(site.profile).map(|variant| variant.id.clone());
    if let Err(error) = &chosen {
        if manifest.variants.iter().any(Variant::is_known_kind) {
            let unmet = |variant: &Variant| {
                format!("for variant {}: {}", variant.id, site.profile.unmet(&variant.requires).join(" and "))
            };
            let known = manifest.variants.iter().filter(|variant| variant.is_known_kind());
            facts.unmet = known.map(unmet).collect();
        } else {
            facts.unsupported = Some(error.to_string());
        }
    }
    trust.check_facts(checked, &facts)?;
    let variant = chosen.map_err(|error| stop::artifact(5, error))?;
    Ok((manifest, variant))
}
