//! Keys, a root and a small artifact: always the same bytes.

use std::sync::LazyLock;

use runtime_artifact::{
    ArtifactError, Contract, GoldenCase, GoldenSet, Limits, Manifest, Numerics, Packer, Provenance, TensorContract,
    Unsigned, Variant, VerifiedArtifact, open_bytes,
};
use runtime_tensor::{Dimension, ElementType, Tensor};
use runtime_trust::{Envelope, PayloadType, Role, RoleKeys, Root, SigningKey, author};
use targets_profile::Requirements;

/// A day in the year 2100, in seconds since 1970.
const EXPIRES: u64 = 4_102_444_800;

pub fn release() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

pub fn stranger() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

/// A root that asks for `threshold` of two release keys, and its bytes.
pub fn root_bytes(threshold: u32) -> Vec<u8> {
    let top = SigningKey::from_seed(&[2; 32]);
    let deploy = SigningKey::from_seed(&[3; 32]);
    let second = second_release();
    let roles = [
        (Role::Root, RoleKeys::new(1, [top.public()])),
        (Role::Targets, RoleKeys::new(threshold, [release().public(), second.public()])),
        (Role::Snapshot, RoleKeys::new(1, [deploy.public()])),
        (Role::Timestamp, RoleKeys::new(1, [deploy.public()])),
    ];
    author::build_root(1, EXPIRES, &roles.into(), &[&top]).unwrap()
}

pub fn second_release() -> SigningKey {
    SigningKey::from_seed(&[4; 32])
}

/// Made once: thousands of rows verify against it.
pub fn root() -> &'static Root {
    static ROOT: LazyLock<Root> = LazyLock::new(|| Root::pin(&root_bytes(1)).unwrap());
    &ROOT
}

pub fn tensor(name: &str, element: ElementType, sizes: &[u64]) -> TensorContract {
    let mut shape = vec![Dimension::Symbol("batch".to_owned())];
    shape.extend(sizes.iter().map(|&size| Dimension::Fixed(size)));
    TensorContract { name: name.to_owned(), element, shape }
}

pub fn variant(id: &str) -> Variant {
    Variant {
        id: id.to_owned(),
        kind: "onnx".to_owned(),
        precision: "int8".to_owned(),
        numerics: Numerics::Exact,
        requires: Requirements::default(),
        files: Default::default(),
        quality: Vec::new(),
        limits: Limits { p95_us: 900, memory_bytes: 1 << 20 },
    }
}

pub fn draft(variants: &[&str]) -> Manifest {
    Manifest {
        format: 1,
        name: "digits".to_owned(),
        version: "1.0.0".parse().unwrap(),
        number: 1,
        variants: variants.iter().map(|id| variant(id)).collect(),
        contract: Contract {
            inputs: vec![tensor("x", ElementType::U8, &[4])],
            outputs: vec![tensor("y", ElementType::F32, &[2])],
            states: Vec::new(),
            labels: vec!["no".to_owned(), "yes".to_owned()],
            preprocessing: None,
            postprocessing: None,
        },
        provenance: Provenance { tool: "fixture 1".to_owned(), ..Provenance::default() },
    }
}

pub fn golden() -> GoldenSet {
    let case = GoldenCase {
        inputs: vec![("x".to_owned(), Tensor::from_u8(vec![1, 4], vec![1, 2, 3, 4]).unwrap())],
        outputs: vec![("y".to_owned(), Tensor::from_f32(vec![1, 2], vec![0.25, 0.75]).unwrap())],
    };
    GoldenSet { cases: vec![case] }
}

/// Stands for a model file: three "tensors" of which the middle one compresses.
pub fn model() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..100_u32).map(|number| (number * number / 3) as u8).collect();
    bytes.extend([7; 300]);
    bytes.extend((0..60_u8).rev());
    bytes
}

pub fn packed() -> Unsigned {
    let mut packer = Packer::new(draft(&["int8"])).unwrap();
    packer.add_file("int8", "model", &model(), &[100, 400]).unwrap();
    packer.add_file("int8", "golden", &golden().encode().unwrap(), &[]).unwrap();
    packer.unsigned().unwrap()
}

pub fn sign(unsigned: &Unsigned, keys: &[&SigningKey]) -> Vec<u8> {
    unsigned.attach(&envelope(unsigned.manifest_bytes(), keys)).unwrap()
}

pub fn envelope(manifest: &[u8], keys: &[&SigningKey]) -> Vec<u8> {
    Envelope::sign(PayloadType::Manifest, manifest.to_vec(), keys).to_bytes()
}

/// A small good `.cask`.
pub fn cask() -> Vec<u8> {
    sign(&packed(), &[&release()])
}

pub fn verify(bytes: &[u8]) -> Result<VerifiedArtifact, ArtifactError> {
    open_bytes(bytes.to_vec())?.verify(root())
}
