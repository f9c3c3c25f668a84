//! Small artifacts, made once, and the moves of a device.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use cloud_sync_store::{Candidate, DeviceState, ModelState, Slot, SlotRef, Store, StoreError};
use runtime_artifact::{
    Contract, GoldenCase, GoldenSet, Limits, Manifest, Numerics, Packer, Provenance, TensorContract, Variant,
    VerifiedArtifact, open_bytes,
};
use runtime_disk::MemoryDisk;
use runtime_tensor::{Dimension, ElementType, Tensor};
use runtime_trust::{Envelope, PayloadType, Role, RoleKeys, Root, SigningKey, author};
use targets_profile::Requirements;

pub const MODEL: &str = "digits";
pub const FOLDER: &str = "/device";

/// A third of a model file: long enough for chunks of its own.
const TENSOR_BYTES: usize = 100_000;

/// An artifact, and the files in it.
pub struct Fixture {
    pub artifact: VerifiedArtifact,
    pub model: Vec<u8>,
    pub golden: Vec<u8>,
}

pub fn release() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

/// Bytes that do not compress (xorshift64).
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(bytes)
    .collect()
}

fn root() -> Root {
    let top = SigningKey::from_seed(&[2; 32]);
    let deploy = SigningKey::from_seed(&[3; 32]);
    let roles = [
        (Role::Root, RoleKeys::new(1, [top.public()])),
        (Role::Targets, RoleKeys::new(1, [release().public()])),
        (Role::Snapshot, RoleKeys::new(1, [deploy.public()])),
        (Role::Timestamp, RoleKeys::new(1, [deploy.public()])),
    ];
    Root::pin(&author::build_root(1, 4_102_444_800, &roles.into(), &[&top]).unwrap()).unwrap()
}

pub fn golden() -> Vec<u8> {
    let case = GoldenCase {
        inputs: vec![("x".to_owned(), Tensor::from_u8(vec![1], vec![1]).unwrap())],
        outputs: vec![("y".to_owned(), Tensor::from_u8(vec![1], vec![2]).unwrap())],
    };
    GoldenSet { cases: vec![case] }.encode().unwrap()
}

pub fn draft(number: u64, variants: &[&str]) -> Manifest {
    let tensor = |name: &str| TensorContract {
        name: name.to_owned(),
        element: ElementType::U8,
        shape: vec![Dimension::Fixed(1)],
    };
    let variant = |id: &&str| Variant {
        id: (*id).to_owned(),
        kind: "onnx".to_owned(),
        precision: "int8".to_owned(),
        numerics: Numerics::Exact,
        requires: Requirements::default(),
        files: Default::default(),
        quality: Vec::new(),
        limits: Limits { p95_us: 1, memory_bytes: 1 },
    };
    Manifest {
        format: 1,
        name: MODEL.to_owned(),
        version: semver::Version::new(1, number, 0),
        number,
        variants: variants.iter().map(variant).collect(),
        contract: Contract {
            inputs: vec![tensor("x")],
            outputs: vec![tensor("y")],
            states: Vec::new(),
            labels: Vec::new(),
            preprocessing: None,
            postprocessing: None,
        },
        provenance: Provenance::default(),
    }
}

pub fn pack(number: u64, models: &[(&str, &[u8])], borders: &[u64]) -> Fixture {
    let ids: Vec<&str> = models.iter().map(|(id, _)| *id).collect();
    let mut packer = Packer::new(draft(number, &ids)).unwrap();
    for (id, model) in models {
        packer.add_file(id, "model", model, borders).unwrap();
        packer.add_file(id, "golden", &golden(), &[]).unwrap();
    }
    let unsigned = packer.unsigned().unwrap();
    let envelope = Envelope::sign(PayloadType::Manifest, unsigned.manifest_bytes().to_vec(), &[&release()]);
    let bytes = unsigned.attach(&envelope.to_bytes()).unwrap();
    let artifact = open_bytes(bytes).unwrap().verify(&root()).unwrap();
    Fixture { artifact, model: models[0].1.to_vec(), golden: golden() }
}

/// Three long tensors, of which each version has another one in the middle.
fn version(number: u64) -> Fixture {
    let model = [noise(1, TENSOR_BYTES), noise(number + 10, TENSOR_BYTES), noise(2, TENSOR_BYTES)].concat();
    pack(number, &[("int8", &model)], &[TENSOR_BYTES as u64, 2 * TENSOR_BYTES as u64])
}

pub static V1: LazyLock<Fixture> = LazyLock::new(|| version(1));
pub static V2: LazyLock<Fixture> = LazyLock::new(|| version(2));

/// Eleven chunks of 1 MiB that differ and compress well.
pub static LARGE: LazyLock<Fixture> = LazyLock::new(|| {
    let model: Vec<u8> = (0..11_u32 << 20).map(|number| (number >> 20) as u8 ^ (number % 251) as u8).collect();
    pack(3, &[("int8", &model)], &[])
});

impl Fixture {
    pub fn begin(&self, store: &Store) -> Result<Candidate, StoreError> {
        store.begin(self.artifact.envelope_bytes(), &["int8"])
    }

    /// Fetches and finishes, as a device does.
    pub fn install(&self, store: &Store) -> Result<Slot, StoreError> {
        let mut candidate = self.begin(store)?;
        candidate.fill_from(&self.artifact)?;
        candidate.finish()
    }

    pub fn index(&self, candidate: &mut Candidate) {
        for need in candidate.missing_index() {
            let file = &candidate.files()[need.file as usize];
            let bytes = self.artifact.index_part(&file.variant, &file.role, need.part as usize).unwrap();
            candidate.put_index(&need, &bytes).unwrap();
        }
    }

    /// Whether the slot gives exactly this artifact's files.
    pub fn check(&self, slot: &Slot) -> Result<(), StoreError> {
        assert_eq!(slot.digest(), self.artifact.digest());
        assert_eq!(slot.envelope_bytes(), self.artifact.envelope_bytes());
        assert!(slot.read_file("int8", "model", 1 << 30)? == self.model, "other bytes of the model");
        assert!(slot.read_file("int8", "golden", 1 << 20)? == self.golden, "other bytes of the golden set");
        Ok(())
    }
}

pub fn open(disk: &MemoryDisk) -> Result<Store, StoreError> {
    Store::open_on(Arc::new(disk.clone()), Path::new(FOLDER))
}

/// A state in which `active` and `last_good` answer for the one model.
pub fn state(active: Option<&SlotRef>, last_good: Option<&SlotRef>, candidate: Option<&SlotRef>) -> DeviceState {
    let model = ModelState {
        active: active.cloned(),
        last_good: last_good.cloned(),
        candidate: candidate.cloned(),
        ..ModelState::default()
    };
    DeviceState { trust: b"trusted".to_vec(), models: [(MODEL.to_owned(), model)].into() }
}
