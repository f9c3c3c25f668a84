//! From a quantized model to a signed `.cask`.

use std::path::Path;

use runtime_artifact::{
    Contract, GoldenSet, Limits, Manifest, Numerics, Packer, Postprocessing, Preprocessing, Provenance, Quality,
    ROLE_GOLDEN, ROLE_MODEL, Variant,
};
use runtime_console::PassphraseArgs;
use runtime_engine::NumericsClass;
use runtime_graph::{Model, tensor_ranges};
use runtime_inference::{Engines, ModelFiles, ModelIdentity, Proof, ProveOptions, prove};
use runtime_tensor::Dimension;
use runtime_trust::keyfile::{KEY_FILE_BYTES_MAX, describe_key, open_key};
use runtime_trust::{Digest, SigningKey};
use targets_profile::Requirements;

use crate::data::Preparation;
use crate::error::{At as _, PipelineError, Result};
use crate::models::ends_in_softmax;

/// The role whose key signs manifests.
const ROLE: &str = "release";
/// A self-test may take this many times what it took at sealing.
const LIMIT_FACTOR: u64 = 2;
/// Limits are never lower than these: microseconds on a large machine say nothing about a small device.
const P95_US_MIN: u64 = 50_000;
const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// What a device must repeat when a model has float parts.
const FLOAT_TOLERANCE: Numerics = Numerics::Tolerance { absolute_e9: 1_000_000, relative_e9: 1_000_000 };

/// Opens release's key file; the passphrase is asked for only when the file is encrypted.
pub(crate) fn open_signing_key(path: &Path, passphrase: &PassphraseArgs) -> Result<SigningKey> {
    let key = || -> Result<SigningKey> {
        let bytes = runtime_disk::read_bounded(path, KEY_FILE_BYTES_MAX)?;
        let facts = describe_key(&bytes)?;
        if facts.role != ROLE {
            return Err(PipelineError::input(format!(
                "found a key of the role {}, expected {ROLE}: only release signs models",
                facts.role
            )));
        }
        let secret = if facts.encrypted { passphrase.read("release key", false)? } else { Vec::new() };
        Ok(open_key(&bytes, &secret)?)
    };
    key().at(path.display())
}

/// What is sealed.
pub(crate) struct Sealing<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a semver::Version,
    pub(crate) number: u64,
    /// Name and precision of the one variant: `int8`, `f32`.
    pub(crate) precision: &'a str,
    pub(crate) model: &'a [u8],
    pub(crate) golden: GoldenSet,
    pub(crate) numerics: NumericsClass,
    pub(crate) contract: Contract,
    pub(crate) quality: Vec<Quality>,
    pub(crate) provenance: Provenance,
    /// Limits that the caller sets; the rest are measured.
    pub(crate) p95_us_max: Option<u64>,
    pub(crate) memory_bytes_max: Option<u64>,
}

/// The result of [`seal`].
pub(crate) struct Sealed {
    pub(crate) bytes: Vec<u8>,
    /// Digest of the manifest.
    pub(crate) digest: Digest,
    /// What the self-test measured here.
    pub(crate) proof: Proof,
}

/// Proves the model on this machine as devices will, sets the limits, packs and signs. Without a key the artifact
/// waits for `fleet artifact sign`.
pub(crate) fn seal(sealing: &Sealing<'_>, engines: &Engines, key: Option<&SigningKey>) -> Result<Sealed> {
    let numerics = match sealing.numerics {
        NumericsClass::Exact => Numerics::Exact,
        NumericsClass::Float => FLOAT_TOLERANCE,
    };
    let files = ModelFiles {
        identity: ModelIdentity {
            artifact: sealing.name.to_owned(),
            version: sealing.version.to_string(),
            number: sealing.number,
            digest: String::new(),
        },
        variant_id: sealing.precision.to_owned(),
        model: sealing.model.to_vec(),
        golden: sealing.golden.clone(),
        limits: Limits { p95_us: 0, memory_bytes: 0 },
        numerics,
        contract: sealing.contract.clone(),
    };
    let proof = prove(&files, engines, &[], None, &ProveOptions::default())?;
    let limits = Limits {
        p95_us: sealing.p95_us_max.unwrap_or_else(|| (proof.p95_us * LIMIT_FACTOR).max(P95_US_MIN)),
        memory_bytes: sealing
            .memory_bytes_max
            .unwrap_or_else(|| (proof.memory_bytes * LIMIT_FACTOR).max(MEMORY_BYTES_MIN)),
    };
    let variant = Variant {
        id: sealing.precision.to_owned(),
        kind: "onnx".to_owned(),
        precision: sealing.precision.to_owned(),
        numerics,
        requires: Requirements::default(),
        files: Default::default(),
        quality: sealing.quality.clone(),
        limits,
    };
    let manifest = Manifest {
        format: runtime_artifact::limits::FORMAT,
        name: sealing.name.to_owned(),
        version: sealing.version.clone(),
        number: sealing.number,
        variants: vec![variant],
        contract: sealing.contract.clone(),
        provenance: sealing.provenance.clone(),
    };
    let mut packer = Packer::new(manifest)?;
    let borders: Vec<u64> =
        tensor_ranges(sealing.model)?.into_iter().flat_map(|range| [range.start, range.end]).collect();
    packer.add_file(sealing.precision, ROLE_MODEL, sealing.model, &borders)?;
    packer.add_file(sealing.precision, ROLE_GOLDEN, &sealing.golden.encode()?, &[])?;
    let keys: Vec<&SigningKey> = key.into_iter().collect();
    let unsigned = packer.unsigned()?;
    let envelope =
        runtime_trust::Envelope::sign(runtime_trust::PayloadType::Manifest, unsigned.manifest_bytes().to_vec(), &keys);
    Ok(Sealed { digest: unsigned.digest(), bytes: unsigned.attach(&envelope.to_bytes())?, proof })
}

/// Inputs, outputs, labels, and how a picture becomes an input and an output a label.
pub(crate) fn contract(model: &Model, labels: &[String], preparation: Preparation, white: f32) -> Contract {
    let (inputs, outputs) = (model.inputs(), model.outputs());
    let preprocessing = inputs.first().and_then(|input| {
        let axis = |at: usize| match input.shape.get(at) {
            Some(Dimension::Fixed(size)) => Some(*size),
            _ => None,
        };
        if input.shape.len() != 4 {
            return None;
        }
        let (channels, layout) = match (axis(1), axis(3)) {
            (Some(channels @ (1 | 3)), _) => (channels, "nchw"),
            (_, Some(channels @ (1 | 3))) => (channels, "nhwc"),
            _ => return None,
        };
        // A pixel of 255 stands for `white` in the data.
        let scale = f64::from(preparation.scale) * f64::from(white) / 255.0;
        let trillionths = |value: f64| (value * 1e12).round() as i64;
        Some(Preprocessing {
            kind: "image".to_owned(),
            input: input.name.clone(),
            layout: layout.to_owned(),
            scale_e12: vec![trillionths(scale); channels as usize],
            offset_e12: vec![trillionths(f64::from(preparation.offset)); channels as usize],
        })
    });
    let postprocessing = outputs.first().map(|output| Postprocessing {
        kind: if ends_in_softmax(model) { "argmax" } else { "softmax" }.to_owned(),
        output: output.name.clone(),
    });
    Contract {
        inputs: inputs.iter().map(Into::into).collect(),
        outputs: outputs.iter().map(Into::into).collect(),
        states: Vec::new(),
        labels: labels.to_vec(),
        preprocessing,
        postprocessing,
    }
}

/// A share as the manifest writes it.
pub(crate) fn billionths(share: f64) -> i64 {
    (share * 1e9).round() as i64
}

/// Program and version, as the manifest names its maker.
pub(crate) fn tool() -> String {
    format!("distill {}", env!("CARGO_PKG_VERSION"))
}
