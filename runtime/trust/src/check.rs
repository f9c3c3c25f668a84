//! Steps 4 and 5 of the order on the device: deployments and manifests against the trusted state.

use crate::document::{Document, check_size};
use crate::limits::{CHANNELS_MAX, MANIFEST_BYTES_MAX};
use crate::refusal::{Reason, Refusal, Step};
use crate::targets::AllowedManifest;
use crate::{Deployment, Digest, Envelope, PayloadType, Role, TrustState, calendar, check_name};

/// A manifest whose signature and digest were checked; [`TrustState::check_facts`] has to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedManifest {
    /// The manifest's exact bytes.
    pub bytes: Vec<u8>,
    /// Their SHA-256.
    pub digest: Digest,
    /// The artifact that it was checked for.
    pub name: String,
    /// What release signed of it; `None` for a sideload, which needs no current metadata.
    pub allowed: Option<AllowedManifest>,
}

/// What the caller found when it parsed a checked manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestFacts {
    /// The name in the manifest.
    pub name: String,
    /// The growing number in the manifest.
    pub number: u64,
    /// Why its format is not known, if it is not.
    pub unsupported: Option<String>,
    /// What this device lacks for it, if no variant fits.
    pub unmet: Vec<String>,
}

fn refuse_deployment(reason: Reason, problem: String) -> Refusal {
    Refusal::new(Step::Deployment, reason, format!("trust the deployment: {problem}"))
}

fn refuse_manifest(reason: Reason, problem: String) -> Refusal {
    Refusal::new(Step::Manifest, reason, format!("trust the manifest: {problem}"))
}

fn parse_manifest(envelope: &[u8]) -> Result<Envelope, Refusal> {
    let envelope = Envelope::parse_kind(PayloadType::Manifest, envelope)?;
    check_size("the manifest", envelope.payload(), MANIFEST_BYTES_MAX)?;
    Ok(envelope)
}

impl TrustState {
    /// Step 4: an envelope that claims to be a new deployment for this fleet and channel.
    /// `now` is [`TrustState::clock`]. Nothing is remembered: see [`TrustState::accept_deployment`].
    pub fn check_deployment(
        &self,
        envelope: &[u8],
        fleet: &str,
        channel: &str,
        now: u64,
    ) -> Result<Deployment, Refusal> {
        // Step 1: size caps, in both readers.
        let envelope = Envelope::parse_kind(PayloadType::Deployment, envelope)?;
        // Step 4: deploy's threshold.
        envelope.verify(PayloadType::Deployment, self.root.role(Role::Timestamp))?;
        let deployment = Deployment::parse(envelope.payload())?;
        // Step 4: fleet.
        if deployment.fleet != fleet {
            return Err(refuse_deployment(
                Reason::WrongFleet,
                format!("it is for the fleet {:?}, this device is in {fleet:?}; publish it there", deployment.fleet),
            ));
        }
        // Step 4: channel.
        if deployment.channel != channel {
            return Err(refuse_deployment(
                Reason::WrongChannel,
                format!(
                    "it is for the channel {:?}, this device listens to {channel:?}; publish it there",
                    deployment.channel
                ),
            ));
        }
        // Step 4: sequence higher.
        self.check_sequence(&deployment)?;
        // Step 4: not expired.
        if now >= deployment.expires {
            return Err(refuse_deployment(
                Reason::Expired,
                format!(
                    "it expired at {}, the clock says {}; publish a newer one, or set this device's clock",
                    calendar::format_utc(deployment.expires),
                    calendar::format_utc(now)
                ),
            ));
        }
        Ok(deployment)
    }

    fn check_sequence(&self, deployment: &Deployment) -> Result<(), Refusal> {
        let found = deployment.sequence;
        match self.sequence(&deployment.channel) {
            Some(last) if found < last => Err(refuse_deployment(
                Reason::SequenceReplay,
                format!(
                    "it has sequence {found}, {last} was already accepted; somebody is replaying an old \
                     deployment: to go back, publish a new one"
                ),
            )),
            Some(last) if found == last => Err(refuse_deployment(
                Reason::SequenceRepeated,
                format!("its sequence {found} was already accepted; nothing to do, or publish a higher one"),
            )),
            None if self.sequences.len() >= CHANNELS_MAX => Err(refuse_deployment(
                Reason::TooMany,
                format!("this device remembers {CHANNELS_MAX} channels and cannot take one more; enrol it again"),
            )),
            _ => Ok(()),
        }
    }

    /// Step 5, as far as it needs no knowledge of the manifest's format: the envelope of the manifest
    /// that a trusted deployment names by `name` and `digest`. [`TrustState::check_facts`] is the rest.
    pub fn check_manifest(
        &self,
        envelope: &[u8],
        digest: &Digest,
        name: &str,
        now: u64,
    ) -> Result<CheckedManifest, Refusal> {
        // Step 1: size caps.
        let envelope = parse_manifest(envelope)?;
        // Step 3 again: the metadata belongs together and has not expired since the refresh.
        self.require_current(name, now)?;
        // Step 5: digest as in targets.
        let allowed = self.named.get(name).and_then(|targets| targets.allowed.get(digest));
        let allowed = allowed.ok_or_else(|| {
            refuse_manifest(
                Reason::NotAllowed,
                format!(
                    "release does not allow {digest} for {name}; push it, or deploy one of the {} allowed ones",
                    self.allowed(name).len()
                ),
            )
        })?;
        let found = Digest::of(envelope.payload());
        if found != *digest {
            return Err(refuse_manifest(
                Reason::DigestMismatch,
                format!("its digest is {found}, the deployment names {digest}; fetch it again"),
            ));
        }
        let bytes = envelope.payload().len() as u64;
        if bytes != allowed.bytes {
            return Err(refuse_manifest(
                Reason::LengthMismatch,
                format!("it has {bytes} bytes, {name}.json says {}; push it again", allowed.bytes),
            ));
        }
        // Step 5: release's threshold.
        self.require_release(&envelope, name)?;
        // Step 5: not denied; the number is checked here as signed, and again as parsed.
        self.require_not_denied(name, digest)?;
        self.require_floor(name, allowed.number)?;
        Ok(CheckedManifest {
            digest: *digest,
            name: name.to_owned(),
            allowed: Some(allowed.clone()),
            bytes: envelope.into_payload(),
        })
    }

    /// Step 5 for an artifact that came by hand: release's signature and the deny-list last seen; no
    /// expiry, no current metadata. `name` is what the manifest claims. [`TrustState::check_facts`] is the rest.
    pub fn check_sideload(&self, envelope: &[u8], name: &str) -> Result<CheckedManifest, Refusal> {
        // Step 1: size caps.
        let envelope = parse_manifest(envelope)?;
        // Step 5: name allowed.
        check_name(name).map_err(|error| refuse_manifest(Reason::WrongName, error.to_string()))?;
        // Step 5: release's threshold.
        self.require_release(&envelope, name)?;
        // Step 5: not denied.
        let digest = Digest::of(envelope.payload());
        self.require_not_denied(name, &digest)?;
        Ok(CheckedManifest { digest, name: name.to_owned(), allowed: None, bytes: envelope.into_payload() })
    }

    /// The rest of step 5, when the manifest was parsed.
    pub fn check_facts(&self, checked: &CheckedManifest, facts: &ManifestFacts) -> Result<(), Refusal> {
        // Step 5: name allowed.
        if facts.name != checked.name {
            return Err(refuse_manifest(
                Reason::WrongName,
                format!(
                    "it names the artifact {:?}, expected {:?}; push it under its own name",
                    facts.name, checked.name
                ),
            ));
        }
        // Step 5: format known.
        if let Some(problem) = &facts.unsupported {
            return Err(refuse_manifest(
                Reason::UnsupportedFormat,
                format!("{problem}; update this program, or pack the artifact for it"),
            ));
        }
        if let Some(allowed) = &checked.allowed
            && allowed.number != facts.number
        {
            return Err(refuse_manifest(
                Reason::NumberMismatch,
                format!("it has number {}, release signed {} for it; push it again", facts.number, allowed.number),
            ));
        }
        // Step 5: not denied. The state may be newer than the one that checked the envelope.
        self.require_not_denied(&checked.name, &checked.digest)?;
        // Step 5: not under the floor.
        self.require_floor(&checked.name, facts.number)?;
        // Step 5: fits the profile.
        if !facts.unmet.is_empty() {
            return Err(refuse_manifest(
                Reason::Unfit,
                format!(
                    "no variant fits this device, which lacks {}; deploy an artifact with a variant for it",
                    facts.unmet.join(", ")
                ),
            ));
        }
        Ok(())
    }

    /// Release's keys speak for every name, those of a delegation for its own.
    fn require_release(&self, envelope: &Envelope, name: &str) -> Result<(), Refusal> {
        let by_release = envelope.verify(PayloadType::Manifest, self.root.role(Role::Targets));
        let delegated = self.targets.as_ref().and_then(|targets| targets.delegations.get(name));
        match (by_release, delegated) {
            (Err(refusal), Some(keys)) => envelope.verify(PayloadType::Manifest, keys).map_err(|_| refusal),
            (by_release, _) => by_release,
        }
    }

    fn require_not_denied(&self, name: &str, digest: &Digest) -> Result<(), Refusal> {
        if !self.is_denied(name, digest) {
            return Ok(());
        }
        Err(refuse_manifest(
            Reason::Denied,
            format!("{digest} of {name} is on release's deny-list; deploy another one"),
        ))
    }

    fn require_floor(&self, name: &str, number: u64) -> Result<(), Refusal> {
        let floor = self.floor(name);
        if number >= floor {
            return Ok(());
        }
        Err(refuse_manifest(
            Reason::UnderFloor,
            format!("it has number {number}, release's floor for {name} is {floor}; deploy {floor} or higher"),
        ))
    }

    /// The files at hand are one another's, and none has expired.
    fn require_current(&self, name: &str, now: u64) -> Result<(), Refusal> {
        let missing = |file: &str| {
            Refusal::new(
                Step::Metadata,
                Reason::NotCurrent,
                format!(
                    "trust the manifest: no {file} that fits the rest was seen yet; fetch the fleet's metadata first"
                ),
            )
        };
        let timestamp = self.timestamp.as_ref().ok_or_else(|| missing("timestamp.json"))?;
        let snapshot = self
            .snapshot
            .as_ref()
            .filter(|snapshot| timestamp.snapshot.describes(&snapshot.document))
            .ok_or_else(|| missing("snapshot.json"))?;
        let targets = self
            .targets
            .as_ref()
            .filter(|targets| snapshot.targets().describes(&targets.document))
            .ok_or_else(|| missing("targets.json"))?;
        self.root.require_unexpired(now)?;
        let unexpired = |document: &Document| document.require_unexpired(now);
        unexpired(&timestamp.document)?;
        unexpired(&snapshot.document)?;
        unexpired(&targets.document)?;
        // A name that the snapshot does not list was never pushed, whatever an older one said.
        let listed = snapshot.named(name).ok_or_else(|| {
            refuse_manifest(
                Reason::NotAllowed,
                format!("the fleet's snapshot lists no {name}.json; push the artifact first"),
            )
        })?;
        let named = self
            .named
            .get(name)
            .filter(|named| listed.describes(&named.document))
            .ok_or_else(|| missing(&format!("{name}.json")))?;
        unexpired(&named.document)
    }
}
