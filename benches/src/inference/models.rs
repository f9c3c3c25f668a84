//! The models of a folder: `NAME.KIND.onnx`, with the range of their inputs from `models.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use runtime_engine::EngineError;
use runtime_inference::seeded_inputs;
use runtime_tensor::{NamedTensor, TensorSpec};
use serde::Deserialize;

/// Entries of the folder that are read at most.
const ENTRIES_MAX: usize = 10_000;

/// Bytes of `models.json` at most.
const LISTING_BYTES_MAX: u64 = 4 << 20;

/// Bytes of one model at most.
const MODEL_BYTES_MAX: u64 = 1 << 30;

/// The forms that `make.py` writes, in the order of the tables; others come after them.
const KINDS: [&str; 6] = ["f32", "qdq", "qdq_s8", "qop", "dyn", "pairsafe"];

/// One model file.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFile {
    /// The network.
    pub name: String,
    /// Its form: `f32`, `qdq`.
    pub kind: String,
    /// The file's name.
    pub file: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The lowest value of a float input.
    pub low: f32,
    /// The highest.
    pub high: f32,
}

#[derive(Deserialize)]
struct Listing {
    models: Vec<ListingRow>,
}

#[derive(Deserialize)]
struct ListingRow {
    name: String,
    input_low: f32,
    input_high: f32,
}

/// The models of `folder` whose name contains `only` and whose kind is among `kinds` (all when empty), in the order
/// of the kinds and then of `models.json`.
///
/// A file that `models.json` does not list has the range of another form of the same network, or -1 to 1.
pub(crate) fn list(folder: &Path, only: Option<&str>, kinds: &[String]) -> Result<Vec<ModelFile>> {
    let hint = || format!("{} has no models; benches/models/make.py makes them", folder.display());
    let entries = runtime_disk::list(folder, ENTRIES_MAX).with_context(hint)?;
    let listing = folder.join("models.json");
    let rows = if runtime_disk::exists(&listing)? {
        let bytes = runtime_disk::read_bounded(&listing, LISTING_BYTES_MAX)?;
        serde_json::from_slice::<Listing>(&bytes).with_context(|| format!("{} is damaged", listing.display()))?.models
    } else {
        Vec::new()
    };
    let mut ranges: BTreeMap<&str, (usize, f32, f32)> = BTreeMap::new();
    for (position, row) in rows.iter().enumerate() {
        ranges.entry(&row.name).or_insert((position, row.input_low, row.input_high));
    }
    let mut found = Vec::new();
    for entry in entries {
        let Some(file) = entry.name.to_str() else { continue };
        let Some((name, kind)) = name_and_kind(file) else { continue };
        if !name.contains(only.unwrap_or_default()) || !(kinds.is_empty() || kinds.iter().any(|other| other == kind)) {
            continue;
        }
        let (position, low, high) = ranges.get(name).copied().unwrap_or((usize::MAX, -1.0, 1.0));
        let order = (KINDS.iter().position(|row| *row == kind).unwrap_or(KINDS.len()), kind.to_owned(), position);
        let (name, kind, path) = (name.to_owned(), kind.to_owned(), folder.join(file));
        found.push((order, ModelFile { name, kind, file: file.to_owned(), path, low, high }));
    }
    found.sort_by(|left, right| (&left.0, &left.1.name).cmp(&(&right.0, &right.1.name)));
    Ok(found.into_iter().map(|(_, model)| model).collect())
}

fn name_and_kind(file: &str) -> Option<(&str, &str)> {
    let (name, kind) = file.strip_suffix(".onnx")?.split_once('.')?;
    (!name.is_empty() && !kind.is_empty() && !kind.contains('.')).then_some((name, kind))
}

impl ModelFile {
    /// The file's bytes.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        Ok(runtime_disk::read_bounded(&self.path, MODEL_BYTES_MAX)?)
    }
}

/// Seeded inputs for `specs`, floats uniform from `low` to `high`.
pub(crate) fn inputs(specs: &[TensorSpec], low: f32, high: f32, seed: u64) -> Result<Vec<NamedTensor>, EngineError> {
    let mut inputs = seeded_inputs(specs, &BTreeMap::new(), seed)?;
    for (_, tensor) in &mut inputs {
        if let Ok(values) = tensor.as_values_mut::<f32>() {
            for value in values {
                *value = low + (*value + 1.0) * 0.5 * (high - low);
            }
        }
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_kinds_and_ranges_come_from_files_and_listing() {
        let folder = tempfile::tempdir().expect("a folder");
        let listing = r#"{"schema":1,"models":[
            {"name":"b","kind":"f32","input_low":0,"input_high":255},
            {"name":"a","kind":"f32","input_low":-2,"input_high":2}]}"#;
        let files = ["a.qdq.onnx", "a.f32.onnx", "b.f32.onnx", "b.own.onnx", "c.qdq.onnx", "d.onnx", "e.f32.part"];
        for file in files {
            runtime_disk::write_atomic(&folder.path().join(file), b"x").expect("a file");
        }
        runtime_disk::write_atomic(&folder.path().join("models.json"), listing.as_bytes()).expect("a file");
        let names = |only: Option<&str>, kinds: &[String]| {
            let models = list(folder.path(), only, kinds).expect("a listing");
            models.iter().map(|model| format!("{} {} {}", model.file, model.low, model.high)).collect::<Vec<_>>()
        };
        let all = ["b.f32.onnx 0 255", "a.f32.onnx -2 2", "a.qdq.onnx -2 2", "c.qdq.onnx -1 1", "b.own.onnx 0 255"];
        assert_eq!(names(None, &[]), all);
        assert_eq!(names(Some("a"), &["qdq".into()]), ["a.qdq.onnx -2 2"]);
    }

    #[test]
    fn a_missing_folder_says_what_makes_it() {
        let error = list(Path::new("/nowhere/at/all"), None, &[]).expect_err("no such folder");
        assert!(format!("{error:#}").contains("make.py"), "{error:#}");
    }
}
