//! A model that is read where it lies: large constants stay in the file's bytes.

use std::collections::{BTreeMap, BTreeSet};

use runtime_tensor::Tensor;

use crate::model::{opset_of, type_outputs};
use crate::read::{RawModel, read_model};
use crate::read_tensor::NoExternalData;
use crate::{Graph, GraphError, ReadLimits, order};

/// A graph whose large constants are slices of the file, for a reader that takes each of them once.
///
/// Invariant: `weights` has the elements of every name in the graph's `deferred`, as many bytes as its shape needs,
/// little-endian and row-major, aligned to nothing.
#[derive(Clone, Debug)]
pub struct Borrowed<'a> {
    /// The graph, checked and sorted as [`Model::read`](crate::Model::read) does it.
    pub graph: Graph,
    /// Version of ONNX's own operator set.
    pub opset: i64,
    /// The elements of the graph's deferred constants.
    pub weights: BTreeMap<String, &'a [u8]>,
}

impl<'a> Borrowed<'a> {
    /// Reads a model that is one file; external data is refused. `choose` is given the graph, in which every constant
    /// is deferred that could be, and names those that stay so; the others are copied.
    ///
    /// Errors: those of [`Model::read`](crate::Model::read).
    pub fn read(
        bytes: &'a [u8],
        limits: &ReadLimits,
        choose: &dyn Fn(&Graph) -> BTreeSet<String>,
    ) -> Result<Self, GraphError> {
        let raw = read_model(bytes, limits, &NoExternalData, Some(choose))?;
        let RawModel { opsets, mut graph, untyped_outputs, deferred, .. } = raw;
        order::check_and_sort(&mut graph)?;
        let opset = opset_of(&opsets);
        if !untyped_outputs.is_empty() {
            type_outputs(&mut graph, opset, &|name| untyped_outputs.contains(name))?;
        }
        let weights = deferred.into_iter().map(|(name, range)| (name, &bytes[range])).collect();
        Ok(Self { graph, opset, weights })
    }
}

impl Graph {
    /// Copies a deferred constant, whose elements are `bytes`, into the graph. Nothing happens to another name.
    pub(crate) fn complete(&mut self, name: &str, bytes: &[u8]) -> Result<(), GraphError> {
        let Some(spec) = self.deferred.get(name) else { return Ok(()) };
        let shape = spec.bound_shape(&BTreeMap::new()).unwrap_or_default();
        let tensor = Tensor::new(spec.element, shape, bytes)
            .map_err(|source| GraphError::Tensor { tensor: name.to_owned(), source })?;
        self.deferred.remove(name);
        self.initializers.insert(name.to_owned(), tensor);
        Ok(())
    }

    /// Copies every deferred constant out of `weights` into the graph.
    pub fn complete_all(&mut self, weights: &BTreeMap<String, &[u8]>) -> Result<(), GraphError> {
        let names: Vec<String> = self.deferred.keys().cloned().collect();
        names.iter().try_for_each(|name| self.complete(name, weights.get(name).copied().unwrap_or_default()))
    }
}
