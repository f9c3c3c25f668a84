//! What each step of the order does. Called by [`super::install`] alone, in its order.

use std::collections::{BTreeMap, BTreeSet};

use cloud_sync_store::{Candidate, ChunkNeed, IndexNeed, Slot};
use runtime_artifact::{ErrorClass, Manifest, Variant, decode_chunk};
use runtime_inference::{ServedModel, prove as prove_model};
use runtime_trust::{
    CheckedManifest, Deployment, Digest, Envelope, ManifestFacts, PayloadType, Refresh, Role, TrustState, limits,
};

use super::stop::{self, Stop};
use super::{Claim, Desk, Source, Taken};
use crate::device::{Site, memory, model};
use crate::machine::{End, Installed, Proven, Verdict};

/// Objects that are asked for in one go, so that an abort is honoured soon and memory stays small.
const OBJECTS_PER_FETCH: usize = 256;

/// What is to become active, once a deployment or a person said so.
pub(super) struct Order {
    /// The deployment; `None` for a sideload.
    deployment: Option<Deployment>,
    /// Name and manifest digest of each model.
    models: Vec<(String, Digest)>,
}

impl Order {
    fn sequence(&self) -> Option<u64> {
        self.deployment.as_ref().map(|deployment| deployment.sequence)
    }
}

/// A model of the order whose manifest passed step 5.
pub(super) struct Wish {
    name: String,
    digest: Digest,
    envelope: Vec<u8>,
    manifest: Manifest,
    /// The variant for this device.
    variant: String,
    /// The version is active already: nothing is fetched or proven.
    active: Option<Installed>,
}

impl Wish {
    fn variant(&self) -> Result<&Variant, Stop> {
        self.manifest
            .variant(&self.variant)
            .ok_or_else(|| Stop::refused(5, "no-such-file", format!("the manifest lost its variant {}", self.variant)))
    }
}

/// One model on its way into a slot.
pub(super) struct Fetching {
    name: String,
    digest: Digest,
    candidate: Candidate,
}

/// Step 1 for what the source claims.
pub(super) fn check_size(claim: &Claim) -> Result<(), Stop> {
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
pub(super) fn refresh(site: &Site<'_>, source: &mut dyn Source, claim: &Claim) -> Result<TrustState, Stop> {
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
pub(super) fn deployment(
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
pub(super) fn manifests(
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

/// Step 6.
pub(super) fn reserve(
    site: &Site<'_>,
    wishes: &[Wish],
    order: &Order,
    desk: &mut dyn Desk,
) -> Result<Vec<Fetching>, Stop> {
    desk.entered(6, None);
    let mut fetching = Vec::new();
    let mut planned_bytes = 0_u64;
    for wish in wishes.iter().filter(|wish| wish.active.is_none()) {
        let about = |stop: Stop| stop.about(Some(&wish.name), Some(wish.digest), order.sequence());
        abort_point(desk)?;
        planned_bytes = planned_bytes.saturating_add(model::bytes(wish.variant()?));
        site.check_budget(planned_bytes).map_err(|missing_bytes| about(stop::no_room(missing_bytes)))?;
        let candidate =
            site.store.begin(&wish.envelope, &[wish.variant.as_str()]).map_err(|error| about(stop::store(6, error)))?;
        desk.reserved(&wish.name, memory::installed(&candidate.slot_ref()));
        fetching.push(Fetching { name: wish.name.clone(), digest: wish.digest, candidate });
    }
    Ok(fetching)
}

/// Step 7.
pub(super) fn fetch(
    source: &mut dyn Source,
    candidates: &mut [Fetching],
    order: &Order,
    desk: &mut dyn Desk,
) -> Result<(), Stop> {
    desk.entered(7, None);
    for Fetching { name, digest, candidate } in candidates {
        let about = |stop: Stop| stop.about(Some(name), Some(*digest), order.sequence());
        fetch_indexes(source, candidate, desk).map_err(about)?;
        fetch_chunks(source, candidate, desk).map_err(about)?;
    }
    Ok(())
}

/// The parts of the index, each with the length and digest that the manifest names.
fn fetch_indexes(source: &mut dyn Source, candidate: &mut Candidate, desk: &mut dyn Desk) -> Result<(), Stop> {
    let needs: Vec<IndexNeed> = candidate.missing_index();
    for needs in needs.chunks(OBJECTS_PER_FETCH) {
        abort_point(desk)?;
        let by_digest: BTreeMap<Digest, &IndexNeed> = needs.iter().map(|need| (need.digest, need)).collect();
        let wanted: Vec<Digest> = by_digest.keys().copied().collect();
        let mut taker = Taker::default();
        let fetched = source.objects(&wanted, &mut |digest, bytes| {
            let Some(need) = by_digest.get(digest) else { return Taken::Wrong("it was not asked for".to_owned()) };
            taker.taken(candidate.put_index(need, bytes))
        });
        taker.judge(fetched)?;
    }
    Ok(())
}

fn fetch_chunks(source: &mut dyn Source, candidate: &mut Candidate, desk: &mut dyn Desk) -> Result<(), Stop> {
    let needs: Vec<ChunkNeed> = candidate.missing();
    for needs in needs.chunks(OBJECTS_PER_FETCH) {
        abort_point(desk)?;
        // Rows that share a chunk, in one file or several, are fed by one copy of it.
        let mut by_digest: BTreeMap<Digest, Vec<&ChunkNeed>> = BTreeMap::new();
        for need in needs {
            by_digest.entry(need.row.stored_digest).or_default().push(need);
        }
        let wanted: Vec<Digest> = by_digest.keys().copied().collect();
        let mut taker = Taker::default();
        let fetched = source.objects(&wanted, &mut |digest, stored| {
            for need in by_digest.get(digest).into_iter().flatten() {
                let kept = match decode_chunk(&need.row, stored) {
                    Ok(plain) => taker.taken(candidate.put(need, &plain)),
                    Err(error) => taker.wrong(stop::artifact(7, error)),
                };
                if kept != Taken::Kept {
                    return kept;
                }
            }
            Taken::Kept
        });
        taker.judge(fetched)?;
    }
    Ok(())
}

/// Remembers why an object was not kept: the source only hears that it was not.
#[derive(Default)]
struct Taker {
    why: Option<Stop>,
}

impl Taker {
    fn taken(&mut self, kept: Result<(), cloud_sync_store::StoreError>) -> Taken {
        match kept {
            Ok(()) => Taken::Kept,
            Err(error @ cloud_sync_store::StoreError::Refused(_)) => self.wrong(stop::store(7, error)),
            Err(error) => {
                self.why = Some(stop::store(7, error));
                Taken::Stop
            }
        }
    }

    fn wrong(&mut self, why: Stop) -> Taken {
        let text = match &why {
            Stop::Refused(refusal) => refusal.message.clone(),
            other => format!("{other:?}"),
        };
        self.why = Some(why);
        Taken::Wrong(text)
    }

    /// The reason behind a fetch that ended badly: what the taker found, unless the job was only interrupted.
    fn judge(self, fetched: Result<(), Stop>) -> Result<(), Stop> {
        match fetched {
            Err(Stop::Refused(refusal)) => Err(self.why.unwrap_or(Stop::Refused(refusal))),
            other => other,
        }
    }
}

/// Step 8.
pub(super) fn finish(
    candidates: Vec<Fetching>,
    order: &Order,
    desk: &mut dyn Desk,
) -> Result<BTreeMap<String, Slot>, Stop> {
    desk.entered(8, None);
    let mut slots = BTreeMap::new();
    for Fetching { name, digest, candidate } in candidates {
        abort_point(desk)?;
        let slot = candidate
            .finish()
            .map_err(|error| stop::store(8, error).about(Some(&name), Some(digest), order.sequence()))?;
        slots.insert(name, slot);
    }
    Ok(slots)
}

/// Step 9.
pub(super) fn prove(
    site: &Site<'_>,
    wishes: &[Wish],
    slots: &BTreeMap<String, Slot>,
    order: &Order,
    desk: &mut dyn Desk,
) -> Result<Vec<(String, Installed)>, Stop> {
    desk.entered(9, None);
    let mut models = Vec::new();
    for wish in wishes {
        let about = |stop: Stop| stop.about(Some(&wish.name), Some(wish.digest), order.sequence());
        if let Some(active) = &wish.active {
            models.push((wish.name.clone(), active.clone()));
            continue;
        }
        abort_point(desk)?;
        let Some(slot) = slots.get(&wish.name) else { continue };
        let variant = wish.variant()?;
        let files = model::files(slot, variant).map_err(about)?;
        let active = site.memory.models.get(&wish.name).and_then(|model| model.active.as_ref());
        // An active version that cannot be read any more is no measure, and no obstacle.
        let active: Option<ServedModel> = active.and_then(|active| site.served(active).ok());
        let order_of_engines = site.engines_for(variant);
        let proof = prove_model(&files, site.engines, &order_of_engines, active.as_ref(), &site.settings.prove)
            .map_err(|failure| about(stop::proof(&failure)))?;
        desk.proof(&wish.name, &wish.digest, &proof);
        let installed = Installed { engine: proof.engine.clone(), ..memory::installed(&slot.slot_ref()) };
        models.push((wish.name.clone(), installed));
    }
    Ok(models)
}

/// Step 10.
pub(super) fn activate(
    mut trust: TrustState,
    order: Order,
    models: Vec<(String, Installed)>,
    desk: &mut dyn Desk,
) -> Result<End, Stop> {
    abort_point(desk)?;
    if let Some(deployment) = &order.deployment {
        trust.accept_deployment(deployment);
    }
    let proven = Proven { trust: trust.to_bytes().into(), sequence: order.sequence(), models };
    match desk.proven(proven) {
        Verdict::Committed => Ok(End::Done),
        Verdict::NotWritten(why) => Err(Stop::Interrupted(why)),
        Verdict::Stop | Verdict::Install => Ok(End::Nothing),
    }
}

/// Where a job that was told to stop does.
fn abort_point(desk: &mut dyn Desk) -> Result<(), Stop> {
    if desk.is_aborted() { Err(Stop::Aborted) } else { Ok(()) }
}
