//! The rules of a manifest that JSON types cannot say.

use std::collections::BTreeSet;

use runtime_tensor::{Dimension, TENSOR_RANK_MAX};

use super::{Contract, FileEntry, Manifest, PLACE, Preprocessing, ROLE_GOLDEN, ROLE_MODEL, TensorContract, Variant};
use crate::error::shown;
use crate::index::ROWS_PER_PART_MAX;
use crate::limits::{
    CHUNK_PLAIN_BYTES_MAX, FILES_MAX, FORMAT, GOLDEN_BYTES_MAX, INDEX_PART_BYTES_MAX, TENSOR_NAME_BYTES_MAX,
    TENSORS_MAX, VARIANTS_MAX,
};
use crate::name::check_name;
use crate::{ArtifactError, Reason};

type Checked = Result<(), ArtifactError>;

fn refused(reason: Reason, place: String, found: String, expected: String) -> ArtifactError {
    ArtifactError::refused(reason, place, found, expected).within(|| PLACE.to_owned())
}

/// Checks the rules that need no file.
pub(super) fn check(manifest: &Manifest) -> Checked {
    if manifest.format != FORMAT {
        let found = format!("format {}", manifest.format);
        return Err(ArtifactError::refused(Reason::UnknownFormat, PLACE, found, format!("format {FORMAT}")));
    }
    check_name(&manifest.name, || format!("the name of {PLACE}"))?;
    check_count("variants", manifest.variants.len(), 1, VARIANTS_MAX)?;
    check_unique("variant", manifest.variants.iter().map(|variant| variant.id.as_str()))?;
    for variant in &manifest.variants {
        check_variant(variant)?;
    }
    check_contract(&manifest.contract)
}

fn check_variant(variant: &Variant) -> Checked {
    let place = format!("variant {}", shown(&variant.id));
    for (what, name) in [("id", &variant.id), ("kind", &variant.kind), ("precision", &variant.precision)] {
        check_name(name, || format!("the {what} of {place} of {PLACE}"))?;
    }
    if let Some(engine) = &variant.requires.engine {
        check_name(engine, || format!("the required engine of {place} of {PLACE}"))?;
    }
    check_count(&format!("files of {place}"), variant.files.len(), 1, FILES_MAX)?;
    for (role, entry) in &variant.files {
        check_name(role, || format!("a file's role in {place} of {PLACE}"))?;
        check_file(entry, &format!("file {role} of {place}"))?;
    }
    if variant.is_known_kind() {
        for role in [ROLE_MODEL, ROLE_GOLDEN] {
            if !variant.files.contains_key(role) {
                let expected = format!("the files {ROLE_MODEL} and {ROLE_GOLDEN}");
                return Err(refused(Reason::BadValue, place, format!("no file {role}"), expected));
            }
        }
    }
    match variant.files.get(ROLE_GOLDEN) {
        Some(golden) if golden.bytes > GOLDEN_BYTES_MAX as u64 => {
            let found = format!("a golden set of {} bytes", golden.bytes);
            Err(refused(Reason::TooLarge, place, found, format!("at most {GOLDEN_BYTES_MAX}")))
        }
        _ => Ok(()),
    }
}

fn check_file(entry: &FileEntry, place: &str) -> Checked {
    let bad = |reason, found: String, expected: String| Err(refused(reason, place.to_owned(), found, expected));
    if entry.bytes == 0 {
        return bad(Reason::BadValue, "0 bytes".into(), "at least 1".into());
    }
    if entry.index.is_empty() {
        return bad(Reason::BadValue, "no index part".into(), "at least 1".into());
    }
    for part in &entry.index {
        if part.bytes == 0 || part.bytes > INDEX_PART_BYTES_MAX as u64 {
            let found = format!("an index part of {} bytes", part.bytes);
            return bad(Reason::TooLarge, found, format!("1 to {INDEX_PART_BYTES_MAX}"));
        }
    }
    // What the index can describe at most: a claim above it is a lie, told before anything is read for it. A
    // manifest has room for a few hundred parts, so the product is far below 2^64.
    let describable = entry.index.len() as u64 * ROWS_PER_PART_MAX as u64 * CHUNK_PLAIN_BYTES_MAX as u64;
    if entry.bytes > describable {
        let expected = format!("at most {describable}, all that {} index parts can describe", entry.index.len());
        return bad(Reason::TooLarge, format!("{} bytes", entry.bytes), expected);
    }
    Ok(())
}

fn check_contract(contract: &Contract) -> Checked {
    for (what, tensors) in [("inputs", &contract.inputs), ("outputs", &contract.outputs)] {
        check_count(what, tensors.len(), 1, TENSORS_MAX)?;
        check_unique(what, tensors.iter().map(|tensor| tensor.name.as_str()))?;
        for tensor in tensors {
            check_tensor(tensor)?;
        }
    }
    check_unique("input fed by a state", contract.states.iter().map(|pair| pair.input.as_str()))?;
    check_unique("output that feeds a state", contract.states.iter().map(|pair| pair.output.as_str()))?;
    for pair in &contract.states {
        let place = format!("state {} to {}", shown(&pair.output), shown(&pair.input));
        let input = find(&contract.inputs, &pair.input, &place)?;
        let output = find(&contract.outputs, &pair.output, &place)?;
        if (input.element, &input.shape) != (output.element, &output.shape) {
            let (found, expected) = (output.to_spec().to_string(), input.to_spec().to_string());
            return Err(refused(Reason::BadValue, place, found, expected));
        }
    }
    if let Some(preprocessing) = &contract.preprocessing {
        check_preprocessing(preprocessing, &contract.inputs)?;
    }
    if let Some(postprocessing) = &contract.postprocessing {
        check_name(&postprocessing.kind, || format!("the kind of the postprocessing of {PLACE}"))?;
        find(&contract.outputs, &postprocessing.output, "the postprocessing")?;
    }
    Ok(())
}

fn check_tensor(tensor: &TensorContract) -> Checked {
    let place = || format!("tensor {}", shown(&tensor.name));
    if tensor.name.is_empty() || tensor.name.len() > TENSOR_NAME_BYTES_MAX {
        let found = format!("a name of {} bytes", tensor.name.len());
        return Err(refused(Reason::BadName, place(), found, format!("1 to {TENSOR_NAME_BYTES_MAX}")));
    }
    if tensor.shape.len() > TENSOR_RANK_MAX {
        let found = format!("{} axes", tensor.shape.len());
        return Err(refused(Reason::BadValue, place(), found, format!("at most {TENSOR_RANK_MAX}")));
    }
    if tensor.shape.contains(&Dimension::Symbol(String::new())) {
        return Err(refused(Reason::BadName, place(), "an empty symbol".into(), "a size or a symbol".into()));
    }
    Ok(())
}

fn check_preprocessing(preprocessing: &Preprocessing, inputs: &[TensorContract]) -> Checked {
    let place = "the preprocessing";
    check_name(&preprocessing.kind, || format!("the kind of {place} of {PLACE}"))?;
    check_name(&preprocessing.layout, || format!("the layout of {place} of {PLACE}"))?;
    find(inputs, &preprocessing.input, place)?;
    let (scales, offsets) = (preprocessing.scale_e12.len(), preprocessing.offset_e12.len());
    if scales == 0 || scales != offsets {
        let found = format!("{scales} scales and {offsets} offsets");
        return Err(refused(Reason::BadValue, place.into(), found, "one of each for every channel".into()));
    }
    Ok(())
}

fn find<'a>(tensors: &'a [TensorContract], name: &str, place: &str) -> Result<&'a TensorContract, ArtifactError> {
    tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| {
        let names: Vec<String> = tensors.iter().map(|tensor| shown(&tensor.name)).collect();
        refused(Reason::BadValue, place.into(), format!("the tensor {}", shown(name)), names.join(" or "))
    })
}

fn check_count(what: &str, found: usize, min: usize, max: usize) -> Checked {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(refused(Reason::BadValue, format!("the list of {what}"), format!("{found}"), format!("{min} to {max}")))
}

fn check_unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Checked {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            let found = format!("the name {} twice", shown(name));
            return Err(refused(Reason::DuplicateName, format!("the list of {what}"), found, "each once".into()));
        }
    }
    Ok(())
}
