//! Steps 6 to 10: from a checked manifest to an active model.

use std::collections::BTreeMap;

use cloud_sync_store::{Candidate, ChunkNeed, IndexNeed, Slot};
use runtime_artifact::decode_chunk;
use runtime_inference::{ServedModel, prove as prove_model};
use runtime_trust::{Digest, TrustState};

use super::{Fetching, Order, Wish, abort_point};
use crate::device::{Site, memory, model};
use crate::machine::{End, Installed, Proven, Verdict};
use crate::order::stop::{self, Stop};
use crate::order::{Desk, Source, Taken};

/// Objects that are asked for in one go, so that an abort is honoured soon and memory stays small.
const OBJECTS_PER_FETCH: usize = 256;

/// Step 6.
pub(crate) fn reserve(
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
pub(crate) fn fetch(
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
pub(crate) fn finish(
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
pub(crate) fn prove(
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
pub(crate) fn activate(
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
