//! Five attacks, each with a control that differs only in the attack.
//!
//! An attack passes every check before the one that must stop it, is named by a deployment signed with the real
//! deploy key, and reaches the devices by a path that the programs do not offer: straight through the broker, or
//! by changing a file in the operator's store. The control is the same thing without the change, and must activate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use runtime_artifact::GoldenSet;
use runtime_trust::{DeployedModel, Deployment, Digest, Envelope, PayloadType, SigningKey};
use serde_json::Value;

use crate::forge::{Forge, Sealed};
use crate::hostile::Entry;
use crate::report::Refused;
use crate::samples::Samples;
use crate::stage::{CHANNEL, MODEL, Stage};

/// How many images each device is asked about after each attack and each control.
const SPOT_CHECK_IMAGES: usize = 20;

/// How long a forged deployment is valid, in seconds.
const DEPLOYMENT_LIFETIME_S: u64 = 7 * 24 * 3600;

/// The largest object of the store that is read, in bytes.
const OBJECT_BYTES_MAX: u64 = 1 << 20;

/// The number of attacks.
pub(crate) const ATTACKS: usize = 5;

/// Everything that the attacker and the controls need.
pub(crate) struct Attacks<'a> {
    /// The actors.
    pub(crate) stage: &'a Stage,
    /// A stolen enrolment.
    pub(crate) entry: &'a Entry,
    /// The release and deploy keys: stolen, where an attack needs them.
    pub(crate) forge: &'a Forge,
    /// The images, with the answers of version 1, which every control gives as well.
    pub(crate) samples: &'a Samples,
    /// What is active now.
    pub(crate) active: Digest,
    /// The highest sequence so far.
    pub(crate) sequence: u64,
}

impl Attacks<'_> {
    /// Runs all; `first_deployment` is the signed deployment of version 1 that the replay uses.
    pub(crate) fn run_all(&mut self, first_deployment: &[u8], tell: &mut dyn FnMut(&Refused)) -> Result<Vec<Refused>> {
        let mut refused = Vec::new();
        let mut done = |row: Refused| {
            tell(&row);
            refused.push(row);
        };
        done(self.flipped_manifest().context("attack: a flipped byte in the manifest")?);
        done(self.flipped_chunk().context("attack: a flipped byte in a chunk")?);
        done(self.unknown_key().context("attack: signed by an unknown key")?);
        done(self.wrong_golden_answers().context("attack: wrong golden answers")?);
        done(self.replay(first_deployment).context("attack: replay of an older deployment")?);
        Ok(refused)
    }

    fn flipped_manifest(&mut self) -> Result<Refused> {
        let sealed = self.push(self.forge.repack(1, |golden| golden)?)?;
        let envelope = Envelope::parse(&sealed.envelope)?;
        let mut manifest = envelope.payload().to_vec();
        let middle = manifest.len() / 2;
        manifest[middle] ^= 1;
        let hostile = with_payload(&sealed.envelope, &manifest)?;
        self.planted("a flipped byte in the manifest", &sealed, &hostile)
    }

    fn unknown_key(&mut self) -> Result<Refused> {
        let sealed = self.push(self.forge.repack(3, |golden| golden)?)?;
        let manifest = Envelope::parse(&sealed.envelope)?.payload().to_vec();
        let stranger = SigningKey::generate();
        let hostile = Envelope::sign(PayloadType::Manifest, manifest, &[&stranger]).to_bytes();
        self.planted("signed by an unknown key", &sealed, &hostile)
    }

    /// Plants a hostile envelope in place of the manifest, and a deployment that names it.
    fn planted(&mut self, case: &str, sealed: &Sealed, hostile: &[u8]) -> Result<Refused> {
        let mut intruder = self.entry.connect()?;
        intruder.plant(&self.entry.topic(&format!("manifest/{}", sealed.digest)), hostile)?;
        self.sequence += 1;
        let deployment = self.deployment(sealed.digest, self.sequence)?;
        intruder.plant(&self.entry.topic(&format!("channel/{CHANNEL}/deployment")), &deployment)?;
        let refused = self.expect_refusal(case, self.sequence)?;
        intruder.plant(&self.entry.topic(&format!("manifest/{}", sealed.digest)), &sealed.envelope)?;
        self.expect_activation(sealed.digest)?;
        Ok(refused)
    }

    fn flipped_chunk(&mut self) -> Result<Refused> {
        // Turned around, the same golden cases make chunks that no device has yet.
        let sealed = self.push(self.forge.repack(2, reversed)?)?;
        let object = find_object(&self.stage.layout.fleet().join("objects"), &sealed.golden_chunk)?;
        let good = runtime_disk::read_bounded(&object, OBJECT_BYTES_MAX)?;
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        runtime_disk::write_atomic(&object, &bad)?;
        let sequence = self.roll_out(&sealed)?;
        let refused = self.expect_refusal("a flipped byte in a chunk", sequence)?;
        runtime_disk::write_atomic(&object, &good)?;
        self.expect_activation(sealed.digest)?;
        Ok(refused)
    }

    fn wrong_golden_answers(&mut self) -> Result<Refused> {
        let bad = self.push(self.forge.repack(4, |golden| spoiled(reversed(golden)))?)?;
        let sequence = self.roll_out(&bad)?;
        let refused = self.expect_refusal("wrong golden answers, correctly signed", sequence)?;
        let good = self.push(self.forge.repack(5, reversed)?)?;
        self.expect_activation(good.digest)?;
        Ok(refused)
    }

    fn replay(&mut self, first_deployment: &[u8]) -> Result<Refused> {
        let old = Deployment::parse(Envelope::parse(first_deployment)?.payload())?;
        let mut intruder = self.entry.connect()?;
        intruder.plant(&self.entry.topic(&format!("channel/{CHANNEL}/deployment")), first_deployment)?;
        let refused = self.expect_refusal("a replay of an older deployment", old.sequence)?;
        let digest = old.models.first().context("the first deployment names no model")?.digest;
        self.expect_activation(digest)?;
        Ok(refused)
    }

    /// Makes an artifact known to the fleet, as its operator would.
    fn push(&self, sealed: Sealed) -> Result<Sealed> {
        self.stage.fleet(&["artifact", "push", crate::stage::path_text(&sealed.file)?])?;
        Ok(sealed)
    }

    /// Starts a rollout, as its operator would; returns its sequence.
    fn roll_out(&mut self, sealed: &Sealed) -> Result<u64> {
        self.start_rollout(&format!("{MODEL}@{}", sealed.digest))
    }

    fn start_rollout(&mut self, target: &str) -> Result<u64> {
        let least = (self.sequence + 1).to_string();
        let reply = self.stage.fleet(&["rollout", "start", target, "--channel", CHANNEL, "--sequence", &least])?;
        self.sequence = reply["sequence"].as_u64().context("the rollout has no sequence")?;
        Ok(self.sequence)
    }

    /// A deployment signed with the real deploy key.
    fn deployment(&self, digest: Digest, sequence: u64) -> Result<Vec<u8>> {
        let issued = unix_now();
        let deployment = Deployment {
            schema: 1,
            fleet: self.entry.fleet().to_owned(),
            channel: CHANNEL.to_owned(),
            sequence,
            issued,
            expires: issued + DEPLOYMENT_LIFETIME_S,
            models: vec![DeployedModel { name: MODEL.to_owned(), digest }],
        };
        Ok(Envelope::sign(PayloadType::Deployment, deployment.to_bytes(), &[&self.forge.deploy]).to_bytes())
    }

    /// Every device must name one and the same reason, keep what it had, and go on giving the same bytes.
    fn expect_refusal(&self, case: &str, sequence: u64) -> Result<Refused> {
        let mut reasons = Vec::new();
        let mut devices = 0;
        for index in 0..self.stage.devices.len() {
            let refusal = self.stage.wait_refused(index, sequence)?;
            reasons.push(reason_of(&refusal)?);
            devices += usize::from(self.still_serves(index, self.active)?);
        }
        ensure!(reasons.windows(2).all(|pair| pair[0] == pair[1]), "the devices name different reasons: {reasons:?}");
        Ok(Refused { case: case.to_owned(), reason: reasons.swap_remove(0), devices })
    }

    /// The control: a deployment by the operator activates `digest` everywhere, and the answers are right.
    fn expect_activation(&mut self, digest: Digest) -> Result<()> {
        self.start_rollout(&format!("{MODEL}@{digest}"))?;
        self.stage.wait_active(&digest.to_string()).context("the control")?;
        for index in 0..self.stage.devices.len() {
            ensure!(self.still_serves(index, digest)?, "the control gives other answers");
        }
        self.active = digest;
        Ok(())
    }

    fn still_serves(&self, index: usize, digest: Digest) -> Result<bool> {
        let answers = self.stage.ask(index, self.samples, &digest.to_string(), SPOT_CHECK_IMAGES)?;
        Ok(answers.total > 0 && answers.equal == answers.total)
    }
}

fn reason_of(refusal: &Value) -> Result<String> {
    Ok(refusal["reason"].as_str().context("the refusal names no reason")?.to_owned())
}

/// The envelope with another payload and the same signatures.
fn with_payload(envelope: &[u8], payload: &[u8]) -> Result<Vec<u8>> {
    use base64::Engine as _;
    let mut value: Value = serde_json::from_slice(envelope)?;
    value["payload"] = base64::engine::general_purpose::STANDARD.encode(payload).into();
    Ok(serde_json::to_vec(&value)?)
}

fn reversed(mut golden: GoldenSet) -> GoldenSet {
    golden.cases.reverse();
    golden
}

/// The golden set with one bit of one expected answer changed.
fn spoiled(mut golden: GoldenSet) -> GoldenSet {
    if let Some((_, tensor)) = golden.cases.first_mut().and_then(|case| case.outputs.first_mut()) {
        // The exponent's lowest bit of the first f32: the answer is off by a factor of two.
        tensor.bytes_mut()[2] ^= 0x80;
    }
    golden
}

/// The file of the store whose content has this digest, wherever the store keeps it.
fn find_object(folder: &Path, digest: &Digest) -> Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in walk(&folder)? {
            if entry.is_dir() {
                folders.push(entry);
            } else if runtime_disk::read_bounded(&entry, OBJECT_BYTES_MAX)
                .is_ok_and(|bytes| Digest::of(&bytes) == *digest)
            {
                return Ok(entry);
            }
        }
    }
    anyhow::bail!("no object {digest} in the store")
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(runtime_disk::list(folder, 100_000)?.into_iter().map(|entry| folder.join(entry.name)).collect())
}

fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
