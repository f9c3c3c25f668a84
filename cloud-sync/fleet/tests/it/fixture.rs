//! A fleet in a temporary folder, and artifacts for it.

use std::path::{Path, PathBuf};

use cloud_sync_fleet::decide::{ReleaseChange, VersionChoice};
use cloud_sync_fleet::keys::{self, NewFleet, ROOT_LIFETIME_S};
use cloud_sync_fleet::report::Pushed;
use cloud_sync_fleet::trust_files::sign_release;
use cloud_sync_fleet::{Fleet, FleetError, FleetFolder, Package};
use cloud_sync_protocol::{ChannelId, DeviceId, FleetId, ModelName};
use runtime_artifact::{
    Contract, GoldenCase, GoldenSet, Limits, Manifest, Numerics, Packer, Provenance, TensorContract, Variant,
};
use runtime_tensor::{Dimension, ElementType, Tensor};
use runtime_trust::SigningKey;
use runtime_trust::keyfile::{self, Protection};

/// A day in 2026, in seconds since 1970.
pub(crate) const NOW: u64 = 1_790_000_000;

pub(crate) fn channel() -> ChannelId {
    ChannelId::parse("stable").expect("a name")
}

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId::parse(name).expect("a name")
}

pub(crate) fn model(name: &str) -> ModelName {
    ModelName::parse(name).expect("a name")
}

/// A fleet called `kiosks` whose keys are not encrypted: Argon2 takes its time in debug builds.
pub(crate) struct Place {
    temporary: tempfile::TempDir,
    pub(crate) folder: FleetFolder,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(edit: impl FnOnce(&mut NewFleet)) -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = FleetFolder::new(temporary.path().join("fleet"));
        let fleet = FleetId::parse("kiosks").expect("a name");
        let mut new =
            NewFleet { fleet, trusted: Vec::new(), thresholds: Default::default(), root_lifetime_s: ROOT_LIFETIME_S };
        edit(&mut new);
        keys::create(&folder, &new, Protection::InsecureUnencrypted, NOW).expect("a new fleet");
        Place { temporary, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    pub(crate) fn key(&self, role: &str) -> SigningKey {
        let bytes = std::fs::read(self.folder.key(role)).expect("a key file");
        keyfile::open_key(&bytes, b"").expect("the key")
    }

    /// A signed artifact in a file.
    pub(crate) fn cask(&self, name: &str, number: u64, model: &[u8]) -> PathBuf {
        let path = self.path(&format!("{name}-{number}.cask"));
        std::fs::write(&path, cask(name, number, model, &[&self.key("release")])).expect("written");
        path
    }

    /// The open fleet with its deploy key and device CA.
    pub(crate) async fn open(&self) -> Fleet {
        let mut fleet = Fleet::open(&self.folder).await.expect("the fleet");
        fleet.unlock_deploy(b"").expect("the deploy key");
        fleet.unlock_authority(b"").expect("the device CA");
        fleet
    }
}

/// Stores an artifact and makes its targets current, as `fleet artifact push` does.
pub(crate) async fn push(place: &Place, fleet: &mut Fleet, file: &Path, now: u64) -> Result<Pushed, FleetError> {
    let package = Package::open(file, fleet.root())?;
    let name = package.name().clone();
    let (artifact, _) = package.store(fleet.objects(), |_| {}).await?;
    let change = ReleaseChange { artifact: Some(artifact), ..ReleaseChange::default() };
    update(place, fleet, &name, change, now).await
}

/// Signs new targets of a name and makes them current.
pub(crate) async fn update(
    place: &Place,
    fleet: &mut Fleet,
    name: &ModelName,
    change: ReleaseChange,
    now: u64,
) -> Result<Pushed, FleetError> {
    let plan = fleet.plan_release(name, &change)?;
    let lifetimes = fleet.settings().expiry.seconds();
    let release = sign_release(&plan, change, fleet.root(), &[place.key("release")], lifetimes, now)?;
    fleet.commit_release(&release, now).await
}

/// Deploys the newest version of a name to the channel `stable` and returns the sequence.
pub(crate) async fn roll_out(fleet: &mut Fleet, name: &str, now: u64) -> u64 {
    let deployed = fleet.rollout(&channel(), &model(name), &VersionChoice::Newest, 0, now).await;
    deployed.expect("deployed").sequence
}

/// Bytes that do not compress: a model of this length is cut into many chunks.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed << 1 | 1;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

/// The bytes of a `.cask` with `model` as its model file.
pub(crate) fn cask(name: &str, number: u64, model: &[u8], keys: &[&SigningKey]) -> Vec<u8> {
    let mut packer = Packer::new(draft(name, number)).expect("a draft");
    packer.add_file("int8", "model", model, &[]).expect("the model");
    packer.add_file("int8", "golden", &golden().encode().expect("golden answers"), &[]).expect("the golden set");
    packer.seal(keys).expect("an artifact")
}

fn golden() -> GoldenSet {
    let input = Tensor::from_u8(vec![1, 4], vec![1, 2, 3, 4]).expect("a tensor");
    let output = Tensor::from_f32(vec![1, 2], vec![0.25, 0.75]).expect("a tensor");
    let case = GoldenCase { inputs: vec![("x".to_owned(), input)], outputs: vec![("y".to_owned(), output)] };
    GoldenSet { cases: vec![case] }
}

fn draft(name: &str, number: u64) -> Manifest {
    let tensor = |name: &str, element, size| TensorContract {
        name: name.to_owned(),
        element,
        shape: vec![Dimension::Symbol("batch".to_owned()), Dimension::Fixed(size)],
    };
    Manifest {
        format: 1,
        name: name.to_owned(),
        version: semver::Version::new(1, 0, number),
        number,
        variants: vec![Variant {
            id: "int8".to_owned(),
            kind: "onnx".to_owned(),
            precision: "int8".to_owned(),
            numerics: Numerics::Exact,
            requires: targets_profile::Requirements::default(),
            files: Default::default(),
            quality: Vec::new(),
            limits: Limits { p95_us: 900, memory_bytes: 1 << 20 },
        }],
        contract: Contract {
            inputs: vec![tensor("x", ElementType::U8, 4)],
            outputs: vec![tensor("y", ElementType::F32, 2)],
            states: Vec::new(),
            labels: vec!["no".to_owned(), "yes".to_owned()],
            preprocessing: None,
            postprocessing: None,
        },
        provenance: Provenance { tool: "fixture 1".to_owned(), ..Provenance::default() },
    }
}
