//! The order of checks between bytes from outside and an active model, in one function.
//!
//! [`install`] is the only way to a new active version: over the network and from a file alike. It calls
//! `runtime-trust` for steps 1 to 5 and does 6 to 10 itself. It decides nothing: whether a deployment is followed,
//! and what becomes active, is the state machine's word, asked for through [`Desk`].
//!
//! Never here: where bytes come from ([`Source`]), retries, the network.

mod steps;
pub(crate) mod stop;
#[cfg(test)]
pub(crate) mod tests;

use runtime_inference::Proof;
use runtime_trust::{Digest, FileName, TrustState};

use crate::device::Site;
use crate::machine::{End, Installed, Proven, Verdict};

pub(crate) use stop::Stop;

/// What a source says is to be installed. Nothing about it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing; the metadata may still be newer.
    Nothing,
    /// The bytes of a signed deployment.
    Deployment(Vec<u8>),
    /// The bytes of a signed manifest, which a person brought.
    Sideload(Vec<u8>),
}

/// Where bytes come from. Nothing that a source gives is trusted, and no answer is longer than its limit.
pub(crate) trait Source {
    /// What is to be installed.
    fn claim(&mut self) -> Result<Claim, Stop>;

    /// A file of the fleet's metadata, at most `bytes_max` long; `None` when there is none.
    fn trust_file(&mut self, file: &FileName, bytes_max: u64) -> Result<Option<Vec<u8>>, Stop>;

    /// The signed envelope of a manifest.
    fn manifest(&mut self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>, Stop>;

    /// Steps 1 to 3 passed: for a source that checks its own bytes, too, before it gives any.
    fn trusted(&mut self, _trust: &TrustState) {}

    /// Gives each object of `wanted` to `take`, in any order; ends well only when all were taken.
    fn objects(&mut self, wanted: &[Digest], take: &mut Take<'_>) -> Result<(), Stop>;
}

/// Checks an object and keeps it.
pub(crate) type Take<'a> = dyn FnMut(&Digest, &[u8]) -> Taken + Send + 'a;

/// What the taker says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is what it should be and was kept.
    Kept,
    /// It is not what it should be; another copy may be.
    Wrong(String),
    /// Nothing more can be kept.
    Stop,
}

/// The state machine's side of a job.
pub(crate) trait Desk {
    /// Steps 1 to 3 passed.
    fn trust_refreshed(&mut self, trust: &TrustState);
    /// Step 4 passed: is the deployment followed?
    fn deployment_checked(&mut self, sequence: u64, models: Vec<(String, Digest)>) -> Verdict;
    /// A step from 6 to 9 begins, or step 5 passed.
    fn entered(&mut self, step: u8, model: Option<&str>);
    /// Step 6 passed for one model.
    fn reserved(&mut self, model: &str, candidate: Installed);
    /// Step 9 passed for one model.
    fn proof(&mut self, model: &str, digest: &Digest, proof: &Proof);
    /// Step 9 passed for all: makes them active, in one durable step.
    fn proven(&mut self, proven: Proven) -> Verdict;
    /// Whether the job was told to stop.
    fn is_aborted(&self) -> bool;
}

/// Takes what `source` claims through every check, in order, and makes it active.
pub(crate) fn install(site: &Site<'_>, source: &mut dyn Source, desk: &mut dyn Desk) -> End {
    match in_order(site, source, desk) {
        Ok(end) => end,
        Err(stop) => stop.into_end(),
    }
}

fn in_order(site: &Site<'_>, source: &mut dyn Source, desk: &mut dyn Desk) -> Result<End, Stop> {
    // Step 1: size caps. Every reader of `source` is given its limit, and every parser below checks it again before
    // it looks at a byte.
    let claim = source.claim()?;
    steps::check_size(&claim)?;

    // Step 2: root N to N+1, each signed by the old and the new threshold.
    // Step 3: timestamp, snapshot, targets: versions not lower, none expired.
    let trust = steps::refresh(site, source, &claim)?;
    desk.trust_refreshed(&trust);
    source.trusted(&trust);

    // Step 4: deployment: deploy's threshold, this fleet, this channel, a higher sequence, not expired. A sideload has
    // none: the person at the device stands in for it.
    let Some(order) = steps::deployment(site, &trust, &claim, desk)? else { return Ok(End::Nothing) };

    // Step 5: manifest, of every model before any is fetched: digest as in targets, release's threshold, name allowed,
    // format known, not denied, not under the floor, fits this device.
    let wishes = steps::manifests(site, &trust, source, &claim, &order, desk)?;

    // Step 6: space, for all of them, before the first byte.
    let mut candidates = steps::reserve(site, &wishes, &order, desk)?;

    // Step 7: each chunk: stored length and digest, capped decompression, plain length and digest.
    steps::fetch(source, &mut candidates, &order, desk)?;

    // Step 8: the digest of each whole file.
    let slots = steps::finish(candidates, &order, desk)?;

    // Step 9: load, golden set, memory, latency; on this device, beside what is active.
    let models = steps::prove(site, &wishes, &slots, &order, desk)?;

    // Step 10: floors, sequence and slots in one durable step, all models together.
    steps::activate(trust, order, models, desk)
}
