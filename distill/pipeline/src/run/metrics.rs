//! `metrics.json`, schema 1: figures on the test part, sizes, digests, and how the budget was judged.

use std::path::PathBuf;

use runtime_trust::Digest;
use serde::Serialize;

use crate::search::Attempt;

/// Version of `metrics.json`.
pub(super) const SCHEMA: u32 = 1;

/// Everything that was measured in a run. Accuracies are shares from 0 to 1 on the test part, `null` without labels.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Metrics {
    pub(crate) schema: u32,
    pub(crate) teacher_accuracy: Option<f64>,
    pub(crate) student_accuracy: Option<f64>,
    /// The control: the same student without the teacher.
    pub(crate) student_without_teacher_accuracy: Option<f64>,
    pub(crate) int8_accuracy: Option<f64>,
    /// Share of test samples for which int8 and float student choose the same class.
    pub(crate) int8_agreement: f64,
    /// Bytes of `student.onnx`.
    pub(crate) float_bytes: u64,
    /// Bytes of `student.int8.onnx`.
    pub(crate) int8_bytes: u64,
    /// Bytes of the `.cask`.
    pub(crate) artifact_bytes: Option<u64>,
    /// File name of the `.cask`.
    pub(crate) artifact: Option<String>,
    pub(crate) samples: Samples,
    pub(crate) budget_met: bool,
    /// The kept quantization, judged on the validation part.
    pub(crate) quantization: Attempt,
    pub(crate) attempts: usize,
    pub(crate) digests: Digests,
    pub(crate) engine: EngineFacts,
    /// Where training ran.
    pub(crate) device: String,
    pub(crate) wall_s: f64,
}

/// Samples of each part.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Samples {
    pub(crate) train: usize,
    pub(crate) calibration: usize,
    pub(crate) validation: usize,
    pub(crate) test: usize,
}

/// SHA-256 of everything that went in and came out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Digests {
    pub(crate) recipe: Digest,
    pub(crate) data: Digest,
    pub(crate) teacher: Option<Digest>,
    pub(crate) student: Digest,
    pub(crate) int8: Digest,
    /// Of the manifest.
    pub(crate) artifact: Option<Digest>,
}

/// How the device's engine runs the int8 model.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EngineFacts {
    pub(crate) name: String,
    /// `exact` or `float`.
    pub(crate) numerics: runtime_engine::NumericsClass,
    pub(crate) nodes_total: u64,
    pub(crate) nodes_covered: u64,
}

/// What a finished run is reported by.
pub(crate) struct Outcome {
    pub(crate) folder: PathBuf,
    pub(crate) metrics: Metrics,
    pub(crate) signed: bool,
}
