//! Inner tensors of the float model, batch by batch.

use std::collections::{BTreeMap, BTreeSet};

use runtime_engine::{Engine, LoadOptions, Session};
use runtime_graph::{Model, infer_shapes};
use runtime_tensor::{NamedTensor, TensorSpec};

use crate::QuantizeError;

/// Bytes of inner tensors that one run may hand out; a model with more runs several times a batch.
const EXPOSED_BYTES_MAX: u64 = 256 << 20;

/// Takes tensors and the number of their batch.
pub(crate) type See<'a> = &'a mut dyn FnMut(&[NamedTensor], u64) -> Result<(), QuantizeError>;

/// Shows `see` the inputs of every batch and then the `inner` tensors that the model makes of them; returns the number
/// of batches, at least one.
///
/// One batch is held at a time, and of its inner tensors at most as many bytes as one run may hand out.
pub(crate) fn walk(
    prepared: &Model,
    inner: &BTreeSet<String>,
    batches: &mut dyn Iterator<Item = Result<Vec<NamedTensor>, String>>,
    (engine, threads): (&dyn Engine, usize),
    see: See<'_>,
) -> Result<u64, QuantizeError> {
    let mut sessions: Option<Vec<Probe>> = None;
    let mut count = 0;
    for batch in batches {
        let batch = batch.map_err(|reason| QuantizeError::Samples { batch: count, reason })?;
        let probes = match &mut sessions {
            Some(probes) => probes,
            none => none.insert(load_probes(prepared, inner, &batch, engine, threads)?),
        };
        see(&batch, count)?;
        for probe in probes {
            let found = probe.session.run(&batch, &probe.values, None)?;
            see(&found, count)?;
        }
        count += 1;
    }
    if count == 0 { Err(QuantizeError::NoSamples) } else { Ok(count) }
}

/// A session that hands out some inner tensors.
struct Probe {
    session: Box<dyn Session>,
    values: Vec<String>,
}

/// Loads the model with its inner tensors as outputs, in as many parts as their size in this batch asks for.
fn load_probes(
    prepared: &Model,
    inner: &BTreeSet<String>,
    batch: &[NamedTensor],
    engine: &dyn Engine,
    threads: usize,
) -> Result<Vec<Probe>, QuantizeError> {
    let mut bindings = BTreeMap::new();
    for (name, tensor) in batch {
        if let Some(spec) = prepared.graph().inputs.iter().find(|spec| spec.name == *name) {
            spec.check(tensor, &mut bindings)?;
        }
    }
    let shapes = infer_shapes(prepared.graph(), prepared.opset(), &BTreeMap::new())?;
    let bytes = |spec: &TensorSpec| {
        let shape = spec.bound_shape(&bindings).unwrap_or_default();
        shape.iter().fold(spec.element.size_bytes() as u64, |bytes, &size| bytes.saturating_mul(size as u64))
    };
    let mut parts: Vec<(u64, Vec<TensorSpec>)> = Vec::new();
    for spec in inner.iter().filter_map(|name| shapes.get(name)) {
        match parts.last_mut() {
            Some((total, part)) if total.saturating_add(bytes(spec)) <= EXPOSED_BYTES_MAX => {
                *total += bytes(spec);
                part.push(spec.clone());
            }
            _ => parts.push((bytes(spec), vec![spec.clone()])),
        }
    }
    let load = |(_, part): (u64, Vec<TensorSpec>)| {
        let values = part.iter().map(|spec| spec.name.clone()).collect();
        let mut exposed = prepared.clone();
        exposed.graph_mut().expose(part);
        let options = LoadOptions { threads, ..LoadOptions::default() };
        Ok(Probe { session: engine.load(&exposed.write(), &options)?, values })
    };
    parts.into_iter().map(load).collect()
}
