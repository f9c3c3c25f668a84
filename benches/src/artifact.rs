//! Opening and verifying a sealed artifact, against SHA-256 and zstd alone over the same chunks.
//!
//! The peer does the least that any checked download must do: a digest over what was stored, decompression, a digest
//! over what came out. Ours adds the signature, the manifest, the index, the caps and the whole-file digest.

use std::path::Path;

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use runtime_artifact::{
    Contract, GoldenCase, GoldenSet, Limits, Manifest, Numerics, Packer, Provenance, ROLE_GOLDEN, ROLE_MODEL,
    TensorContract, Variant,
};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};
use runtime_trust::{Role, RoleKeys, Root, SigningKey};
use sha2::{Digest as _, Sha256};
use targets_profile::Requirements;

use crate::measure::{Comparison, compare};

/// Plain bytes of the model file.
const MODEL_BYTES: usize = 16 << 20;

/// Compares over a model of int8 weights drawn from a normal distribution.
pub fn run(rounds: usize) -> Result<Comparison> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bench.cask");
    let (root, artifact) = seal(&weights(MODEL_BYTES))?;
    runtime_disk::write_atomic(&file, &artifact)?;
    let chunks = stored_chunks(&file, &root)?;
    let plain: u64 = chunks.iter().map(|(_, plain)| *plain as u64).sum();
    let ours = || {
        runtime_artifact::open(&file)?.verify(&Root::pin(&root)?)?;
        Ok(())
    };
    let theirs = || {
        let mut decoder = zstd::bulk::Decompressor::new()?;
        for (stored, plain_bytes) in &chunks {
            let stored_digest = Sha256::digest(stored);
            let plain = match decoder.decompress(stored, *plain_bytes) {
                Ok(plain) => plain,
                // A chunk that zstd could not make smaller is stored as it is.
                Err(_) => stored.clone(),
            };
            std::hint::black_box((stored_digest, Sha256::digest(&plain)));
        }
        Ok(())
    };
    compare("artifact open + verify", "sha256 + zstd, one thread", plain, rounds, ours, theirs)
}

/// Seeded int8 weights, as they look after quantization.
fn weights(count: usize) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let uniform = |random: &mut ChaCha8Rng| f64::from(random.random::<u32>()) / f64::from(u32::MAX);
    // The sum of twelve uniform numbers is close to normal.
    (0..count)
        .map(|_| {
            let normal: f64 = (0..12).map(|_| uniform(&mut random)).sum::<f64>() - 6.0;
            (normal * 28.0).clamp(-127.0, 127.0) as i8 as u8
        })
        .collect()
}

fn seal(model: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let release = SigningKey::generate();
    let deploy = SigningKey::generate();
    let root_key = SigningKey::generate();
    let root = root(&root_key, &release, &deploy)?;
    let spec = |name: &str| {
        TensorContract::from(&TensorSpec {
            name: name.to_owned(),
            element: ElementType::F32,
            shape: vec![Dimension::Fixed(1)],
        })
    };
    let tensor = Tensor::from_f32(vec![1], vec![0.0])?;
    let golden = GoldenSet {
        cases: vec![GoldenCase {
            inputs: vec![("x".to_owned(), tensor.clone())],
            outputs: vec![("y".to_owned(), tensor)],
        }],
    };
    let variant = Variant {
        id: "int8".to_owned(),
        kind: "onnx".to_owned(),
        precision: "int8".to_owned(),
        numerics: Numerics::Exact,
        requires: Requirements::default(),
        files: Default::default(),
        quality: Vec::new(),
        limits: Limits { p95_us: 1_000_000, memory_bytes: 1 << 30 },
    };
    let mut packer = Packer::new(Manifest {
        format: 1,
        name: "bench".to_owned(),
        version: semver::Version::new(1, 0, 0),
        number: 1,
        variants: vec![variant],
        contract: Contract {
            inputs: vec![spec("x")],
            outputs: vec![spec("y")],
            states: Vec::new(),
            labels: Vec::new(),
            preprocessing: None,
            postprocessing: None,
        },
        provenance: Provenance { tool: "bench".to_owned(), ..Provenance::default() },
    })?;
    packer.add_file("int8", ROLE_MODEL, model, &[])?;
    packer.add_file("int8", ROLE_GOLDEN, &golden.encode()?, &[])?;
    Ok((root, packer.seal(&[&release])?))
}

fn root(root: &SigningKey, release: &SigningKey, deploy: &SigningKey) -> Result<Vec<u8>> {
    const FAR_FUTURE: u64 = 4_000_000_000;
    let role = |key: &SigningKey| RoleKeys { threshold: 1, keys: [(key.id(), key.public())].into() };
    let roles = [
        (Role::Root, role(root)),
        (Role::Targets, role(release)),
        (Role::Snapshot, role(deploy)),
        (Role::Timestamp, role(deploy)),
    ];
    Ok(runtime_trust::author::build_root(1, FAR_FUTURE, &roles.into(), &[root])?)
}

/// Each chunk as it is stored, with its plain length.
fn stored_chunks(file: &Path, root: &[u8]) -> Result<Vec<(Vec<u8>, usize)>> {
    let verified = runtime_artifact::open(file)?.verify(&Root::pin(root)?)?;
    let index = verified.index("int8", ROLE_MODEL)?;
    let read = |row| Ok((verified.read_chunk(row)?, usize::try_from(row.plain_bytes).context("a chunk fits memory")?));
    index.rows.iter().map(read).collect()
}
