//! One form of the model, and the files that it consists of.

use std::collections::BTreeMap;

use runtime_tensor::Tolerance;
use runtime_trust::Digest;
use serde::{Deserialize, Serialize};
use targets_profile::Requirements;

use super::KINDS;

/// The model in one precision and form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Name of this variant, unique in the manifest.
    pub id: String,
    /// What the model file is: `onnx` (an open list, see [`KINDS`]).
    pub kind: String,
    /// Number format of weights and activations, for people and for choosing: `int8`, `f32`.
    pub precision: String,
    /// How close the outputs are to the golden set on every device.
    pub numerics: Numerics,
    /// What the device must have.
    pub requires: Requirements,
    /// The files by role: `model` and `golden` always, others as the kind needs them.
    pub files: BTreeMap<String, FileEntry>,
    /// What was measured on data before sealing.
    pub quality: Vec<Quality>,
    /// What the device must stay under when it tries the model.
    pub limits: Limits,
}

impl Variant {
    /// Whether this version can run this kind.
    pub fn is_known_kind(&self) -> bool {
        KINDS.contains(&self.kind.as_str())
    }
}

/// The promise about outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Numerics {
    /// Every output byte is the same on every CPU.
    Exact,
    /// Each element is within `absolute + relative * |expected|` of the golden output.
    Tolerance {
        /// Absolute tolerance, in billionths.
        absolute_e9: u64,
        /// Relative tolerance, in billionths.
        relative_e9: u64,
    },
}

impl Numerics {
    /// The tolerance for comparing a golden output.
    pub fn tolerance(self) -> Tolerance {
        const BILLION: f64 = 1e9;
        match self {
            Self::Exact => Tolerance::EXACT,
            Self::Tolerance { absolute_e9, relative_e9 } => {
                Tolerance { absolute: absolute_e9 as f64 / BILLION, relative: relative_e9 as f64 / BILLION }
            }
        }
    }
}

/// One file: its length and digest, and the parts of the index that say how it is cut into chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Length of the whole plain file, in bytes; at least 1.
    pub bytes: u64,
    /// Digest of the whole plain file.
    pub digest: Digest,
    /// The parts of its index, in order; at least one.
    pub index: Vec<IndexPart>,
}

/// One part of a file's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexPart {
    /// Length in bytes.
    pub bytes: u64,
    /// Digest of exactly these bytes.
    pub digest: Digest,
}

/// A figure that was measured before sealing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// What was measured: `accuracy`, `agreement` (with the float model).
    pub measure: String,
    /// The part of the data that it was measured on: `validation`, `test`.
    pub split: String,
    /// The figure, in billionths (an accuracy of 97 % is 970000000).
    pub value_e9: i64,
    /// The same figure of the model that the budget compares with, in billionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_e9: Option<i64>,
    /// Samples that it was measured on.
    pub samples: u64,
    /// The budget that it met, if one was set on this figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// What a figure or a file was allowed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Largest allowed loss against the baseline, in billionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_e9_max: Option<u64>,
    /// Largest allowed number of samples that only the baseline gets right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_errors_max: Option<u64>,
    /// Largest allowed model file, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
}

/// What the self-test on the device holds the model to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// 95th percentile of the time of one inference, in microseconds.
    pub p95_us: u64,
    /// Memory that the loaded session may take, in bytes.
    pub memory_bytes: u64,
}
