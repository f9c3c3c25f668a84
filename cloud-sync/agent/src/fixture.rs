//! A whole small fleet for tests: keys, metadata, artifacts that really run, deployments. Compiled for tests only,
//! into the library's own and into the package's integration tests.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::disallowed_methods, reason = "tests write small files into folders of their own")]
#![allow(missing_docs, unreachable_pub, reason = "a test's fixture")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use cloud_sync_protocol::{BrokerUrl, ChannelId, DeviceId, Enrolment, FleetId};
use runtime_artifact::{
    Contract, GoldenCase, GoldenSet, Limits, Manifest, Numerics, Packer, Postprocessing, Preprocessing, Provenance,
    ROLE_GOLDEN, ROLE_MODEL, TensorContract, Variant, open_bytes,
};
use runtime_graph::{Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};
use runtime_trust::author::{
    NamedDraft, build_named_targets, build_root, build_snapshot, build_targets, build_timestamp,
};
use runtime_trust::{
    AllowedManifest, DEPLOYMENT_SCHEMA, DeployedModel, Deployment, Digest, Envelope, FileName, PayloadType, Role,
    RoleKeys, Root, SigningKey,
};
use targets_profile::Requirements;

pub const FLEET: &str = "fleet-a";
pub const CHANNEL: &str = "stable";
pub const DEVICE: &str = "camera-7";
pub const MODEL: &str = "digits";
pub const YEAR_S: u64 = 31_536_000;
/// The four pixels of the picture that tests ask about, row by row.
pub const PIXELS: [u8; 4] = [0, 51, 102, 255];

pub fn now() -> u64 {
    let system = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // The agent takes no earlier time than that of its build.
    system.max(1_793_491_200)
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// What to pack.
#[derive(Clone)]
pub struct Spec {
    pub name: &'static str,
    pub number: u64,
    /// Added to the first output: every version answers differently.
    pub bias: f32,
    /// The golden answers are not the model's.
    pub golden_wrong: bool,
    pub requires: Requirements,
    pub p95_us: u64,
    /// Changed after packing and before signing: what a hostile release could sign.
    pub change: fn(&mut Manifest),
    /// Who signs it.
    pub signer: u8,
}

impl Spec {
    pub fn new(name: &'static str, number: u64) -> Spec {
        Spec {
            name,
            number,
            bias: number as f32,
            golden_wrong: false,
            requires: Requirements::default(),
            p95_us: 0,
            change: |_| {},
            signer: RELEASE,
        }
    }
}

/// Seeds of the keys.
pub const ROOT: u8 = 1;
pub const RELEASE: u8 = 2;
pub const DEPLOY: u8 = 3;
pub const STRANGER: u8 = 9;

/// A sealed artifact and its parts.
#[derive(Clone)]
pub struct Artifact {
    pub name: &'static str,
    pub number: u64,
    pub version: String,
    pub cask: Vec<u8>,
    pub envelope: Vec<u8>,
    pub digest: Digest,
    pub manifest_bytes: u64,
    /// Index parts and chunks as they travel.
    pub objects: BTreeMap<Digest, Vec<u8>>,
    /// Digests of the model file's chunks.
    pub model_chunks: Vec<Digest>,
}

/// The weights: output `i` is pixel `i` plus pixel 3, less half of pixel 0.
fn weights() -> Vec<f32> {
    let mut weights = vec![0.0; 12];
    for output in 0..3 {
        weights[output * 3 + output] += 1.0;
        weights[3 * 3 + output] += 1.0;
        weights[output] -= 0.5;
    }
    weights
}

/// What the model answers, computed without an engine.
pub fn answer(bias: f32, input: &[f32; 4]) -> [f32; 3] {
    let weights = weights();
    let mut answer = [bias, 0.0, 0.0];
    for (output, value) in answer.iter_mut().enumerate() {
        *value += (0..4).map(|pixel| input[pixel] * weights[pixel * 3 + output]).sum::<f32>();
    }
    answer
}

fn spec(name: &str, shape: &[u64]) -> TensorSpec {
    let shape = shape.iter().map(|axis| Dimension::Fixed(*axis)).collect();
    TensorSpec { name: name.to_owned(), element: ElementType::F32, shape }
}

/// A 2x2 picture in, three scores out.
pub fn model(bias: f32) -> Vec<u8> {
    let tensor = |shape: &[usize], values: Vec<f32>| Tensor::from_f32(shape.to_vec(), values).expect("right length");
    let graph = Graph {
        name: "tiny".to_owned(),
        nodes: vec![
            Node::new("Flatten", &["x"], &["flat"]),
            Node::new("MatMul", &["flat", "w"], &["product"]),
            Node::new("Add", &["product", "b"], &["y"]),
        ],
        initializers: [
            ("w".to_owned(), tensor(&[4, 3], weights())),
            ("b".to_owned(), tensor(&[3], vec![bias, 0.0, 0.0])),
        ]
        .into(),
        inputs: vec![spec("x", &[1, 1, 2, 2])],
        outputs: vec![spec("y", &[1, 3])],
        ..Graph::default()
    };
    Model::from_graph(graph, 17).write()
}

fn golden(bias: f32, wrong: bool) -> GoldenSet {
    let case = |seed: u8| {
        let input = [f32::from(seed), 2.0, 3.0, 4.5];
        let mut output = answer(bias, &input);
        if wrong {
            output[2] += 1.0;
        }
        let tensor = |shape: &[usize], values: &[f32]| Tensor::from_f32(shape.to_vec(), values.to_vec()).expect("fits");
        GoldenCase {
            inputs: vec![("x".to_owned(), tensor(&[1, 1, 2, 2], &input))],
            outputs: vec![("y".to_owned(), tensor(&[1, 3], &output))],
        }
    };
    GoldenSet { cases: (0..4).map(case).collect() }
}

pub fn contract() -> Contract {
    Contract {
        inputs: vec![TensorContract::from(&spec("x", &[1, 1, 2, 2]))],
        outputs: vec![TensorContract::from(&spec("y", &[1, 3]))],
        states: Vec::new(),
        labels: ["zero", "one", "two"].map(str::to_owned).into(),
        preprocessing: Some(Preprocessing {
            kind: "image".to_owned(),
            input: "x".to_owned(),
            layout: "nchw".to_owned(),
            scale_e12: vec![1_000_000_000_000 / 255],
            offset_e12: vec![0],
        }),
        postprocessing: Some(Postprocessing { kind: "argmax".to_owned(), output: "y".to_owned() }),
    }
}

/// Packs and signs.
pub fn artifact(wanted: &Spec) -> Artifact {
    let version = format!("{}.0.0", wanted.number);
    let draft = Manifest {
        format: 1,
        name: wanted.name.to_owned(),
        version: version.parse().expect("a version"),
        number: wanted.number,
        variants: vec![Variant {
            id: "f32".to_owned(),
            kind: "onnx".to_owned(),
            precision: "f32".to_owned(),
            numerics: Numerics::Tolerance { absolute_e9: 10_000, relative_e9: 10_000 },
            requires: wanted.requires.clone(),
            files: BTreeMap::new(),
            quality: Vec::new(),
            limits: Limits { p95_us: wanted.p95_us, memory_bytes: 0 },
        }],
        contract: contract(),
        provenance: Provenance { tool: "test".to_owned(), ..Provenance::default() },
    };
    let mut packer = Packer::new(draft).expect("a draft");
    packer.add_file("f32", ROLE_MODEL, &model(wanted.bias), &[]).expect("a model");
    let golden = golden(wanted.bias, wanted.golden_wrong).encode().expect("a golden set");
    packer.add_file("f32", ROLE_GOLDEN, &golden, &[]).expect("a golden set");
    let unsigned = packer.unsigned().expect("a manifest");
    let good = Manifest::parse(unsigned.manifest_bytes()).expect("a manifest");
    let whole =
        |payload: &[u8], seed: u8| Envelope::sign(PayloadType::Manifest, payload.to_vec(), &[&key(seed)]).to_bytes();
    // Objects do not depend on the envelope: they are read from an honest twin.
    let twin = unsigned.attach(&whole(unsigned.manifest_bytes(), RELEASE)).expect("a file");
    let root = Root::pin(&Fleet::new().root).expect("a root");
    let verified = open_bytes(twin.clone()).expect("a file").verify(&root).expect("an honest file");
    let mut objects = BTreeMap::new();
    verified
        .for_each_object::<runtime_artifact::ArtifactError>(|digest, bytes| {
            objects.insert(digest, bytes.to_vec());
            Ok(())
        })
        .expect("objects");
    let rows = verified.index("f32", ROLE_MODEL).expect("an index").rows;
    let mut manifest = good.clone();
    (wanted.change)(&mut manifest);
    let payload = if manifest == good { unsigned.manifest_bytes().to_vec() } else { manifest.to_bytes() };
    let envelope = whole(&payload, wanted.signer);
    let cask = if manifest == good { unsigned.attach(&envelope).expect("a file") } else { twin };
    Artifact {
        name: wanted.name,
        number: wanted.number,
        version,
        cask,
        envelope,
        digest: Digest::of(&payload),
        manifest_bytes: payload.len() as u64,
        objects,
        model_chunks: rows.iter().map(|row| row.stored_digest).collect(),
    }
}

/// The operator's side.
#[derive(Clone)]
pub struct Fleet {
    pub root: Vec<u8>,
    /// Versions of everything that is written.
    pub version: u64,
    pub sequence: u64,
    pub allowed: BTreeMap<String, Vec<AllowedManifest>>,
    pub floors: BTreeMap<String, u64>,
    pub denied: BTreeMap<String, BTreeSet<Digest>>,
    /// Expiry of timestamps.
    pub expires: u64,
}

/// `root.json` of `version` with these keys as root, release and deploy, signed by `signers`.
pub fn root(version: u64, seeds: [u8; 3], signers: &[u8]) -> Vec<u8> {
    let role = |seed: u8| RoleKeys::new(1, [key(seed).public()]);
    let [root, release, deploy] = seeds;
    let roles = [
        (Role::Root, role(root)),
        (Role::Targets, role(release)),
        (Role::Snapshot, role(deploy)),
        (Role::Timestamp, role(deploy)),
    ];
    let keys: Vec<SigningKey> = signers.iter().map(|seed| key(*seed)).collect();
    let keys: Vec<&SigningKey> = keys.iter().collect();
    build_root(version, now() + YEAR_S, &roles.into(), &keys).expect("a root")
}

impl Fleet {
    pub fn new() -> Fleet {
        Fleet {
            root: root(1, [ROOT, RELEASE, DEPLOY], &[ROOT]),
            version: 10,
            sequence: 0,
            allowed: BTreeMap::new(),
            floors: BTreeMap::new(),
            denied: BTreeMap::new(),
            expires: now() + YEAR_S,
        }
    }

    /// Release allows an artifact.
    pub fn allow(&mut self, artifact: &Artifact) {
        let entry = AllowedManifest {
            digest: artifact.digest,
            bytes: artifact.manifest_bytes,
            number: artifact.number,
            version: artifact.version.clone(),
        };
        let allowed = self.allowed.entry(artifact.name.to_owned()).or_default();
        if !allowed.contains(&entry) {
            allowed.push(entry);
        }
    }

    /// Signs everything anew.
    pub fn metadata(&mut self) -> BTreeMap<FileName, Vec<u8>> {
        self.version += 1;
        let far = now() + YEAR_S;
        let (release, deploy) = (key(RELEASE), key(DEPLOY));
        let mut named = BTreeMap::new();
        for (name, allowed) in &self.allowed {
            let draft = NamedDraft {
                name: name.clone(),
                version: self.version,
                expires: far,
                allowed: allowed.clone(),
                floor: self.floors.get(name).copied().unwrap_or(0),
                denied: self.denied.get(name).cloned().unwrap_or_default(),
            };
            named.insert(name.clone(), build_named_targets(&draft, &[&release]).expect("targets"));
        }
        let delegations: BTreeMap<String, RoleKeys> =
            named.keys().map(|name| (name.clone(), RoleKeys::new(1, [release.public()]))).collect();
        let targets = build_targets(self.version, far, &delegations, &[&release]).expect("targets");
        let snapshot = build_snapshot(self.version, far, &targets, &named, &[&deploy]).expect("a snapshot");
        let timestamp =
            build_timestamp(self.version, self.expires, now().min(self.expires - 60), &snapshot, &[&deploy])
                .expect("a timestamp");
        let mut files: BTreeMap<FileName, Vec<u8>> = BTreeMap::from([
            (FileName::Targets, targets),
            (FileName::Snapshot, snapshot),
            (FileName::Timestamp, timestamp),
        ]);
        files.extend(named.into_iter().map(|(name, bytes)| (FileName::Named(name), bytes)));
        files
    }

    /// The next deployment, as deploy signs it.
    pub fn deployment(&mut self, artifacts: &[&Artifact]) -> Deployment {
        self.sequence += 1;
        Deployment {
            schema: DEPLOYMENT_SCHEMA,
            fleet: FLEET.to_owned(),
            channel: CHANNEL.to_owned(),
            sequence: self.sequence,
            issued: now(),
            expires: now() + YEAR_S,
            models: artifacts
                .iter()
                .map(|artifact| DeployedModel { name: artifact.name.to_owned(), digest: artifact.digest })
                .collect(),
        }
    }

    pub fn enrolment(&self) -> Enrolment {
        Enrolment {
            schema: cloud_sync_protocol::ENROLMENT_SCHEMA,
            broker: BrokerUrl::parse("mqtts://127.0.0.1:1").expect("a URL"),
            fleet: FleetId::parse(FLEET).expect("a name"),
            device: DeviceId::parse(DEVICE).expect("a name"),
            channel: ChannelId::parse(CHANNEL).expect("a name"),
            time: now() - 60,
            ca_pem: String::new(),
            certificate_pem: String::new(),
            key_pem: String::new(),
            root: String::from_utf8(self.root.clone()).expect("JSON"),
        }
    }
}

pub fn sign_deployment(deployment: &Deployment, signer: u8) -> Vec<u8> {
    Envelope::sign(PayloadType::Deployment, deployment.to_bytes(), &[&key(signer)]).to_bytes()
}

/// A 2x2 grey picture of [`PIXELS`].
pub fn picture() -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = image::GrayImage::from_raw(2, 2, PIXELS.to_vec()).expect("four pixels");
    picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).expect("a PNG");
    bytes
}

/// What the model makes of [`picture`].
pub fn picture_answer(bias: f32) -> [f32; 3] {
    answer(bias, &PIXELS.map(|pixel| f32::from(pixel) / 255.0))
}
