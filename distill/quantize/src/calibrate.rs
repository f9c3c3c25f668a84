//! Calibration: the float model runs over samples, and what its tensors hold chooses their scales.

use std::collections::{BTreeMap, BTreeSet};

use runtime_engine::Engine;
use runtime_graph::{Graph, Model};
use runtime_tensor::{NamedTensor, QuantizationPlan};

use crate::bound::Bound;
use crate::linear::Linear;
use crate::parameters::activation_parameters;
use crate::prepare::{prepare, shapes_of};
use crate::probe::walk;
use crate::select::{Form, Selection};
use crate::weights::{WeightWish, weight_parameters};
use crate::{CalibrationOptions, Observer, ObserverKind, QuantizeError, QuantizeOptions, Range};

/// Runs the float model over `batches` and chooses a scale for every tensor that becomes an integer.
///
/// [`observe`] and [`Calibration::plan`] in one: the same batches give the same plan on the same engine.
pub fn calibrate(
    model: &Model,
    batches: &mut dyn Iterator<Item = Result<Vec<NamedTensor>, String>>,
    engine: &dyn Engine,
    options: &CalibrationOptions,
) -> Result<QuantizationPlan, QuantizeError> {
    observe(model, batches, engine, options)?.plan(&options.quantize)
}

/// Runs the float model over `batches` and notes the range of every tensor that may become an integer.
///
/// A batch names every input of the model. Inner tensors are read by making them outputs of the graph that
/// `engine` runs; one batch is held at a time.
pub fn observe(
    model: &Model,
    batches: &mut dyn Iterator<Item = Result<Vec<NamedTensor>, String>>,
    engine: &dyn Engine,
    options: &CalibrationOptions,
) -> Result<Calibration, QuantizeError> {
    let prepared = prepare(model)?;
    let selection = select(&prepared, &options.quantize.skip)?;
    let mut watch = Watch::new(&prepared, &selection, options)?;
    let inner = watch.inner.clone();
    let count =
        walk(&prepared, &inner, batches, (engine, options.threads), &mut |tensors, batch| watch.see(tensors, batch))?;
    tracing::debug!(batches = count, tensors = watch.observers.len(), "calibrated");
    let observed = watch.ranges()?;
    let mut joined: BTreeMap<&str, Range> = BTreeMap::new();
    for (name, &range) in &observed {
        let leader = selection.groups[name].as_str();
        joined.entry(leader).and_modify(|other| *other = other.join(range)).or_insert(range);
    }
    let carried =
        selection.groups.iter().filter_map(|(name, leader)| Some((name.clone(), *joined.get(leader.as_str())?)));
    let carried = carried.collect();
    let candidates = watch.observers.iter().map(|(name, observer)| (name.clone(), observer.candidates()));
    let candidates = candidates.filter(|(_, list)| !list.is_empty()).collect();
    Ok(Calibration { prepared, observed, carried, candidates })
}

pub(crate) fn select(prepared: &Model, skip: &[String]) -> Result<Selection, QuantizeError> {
    let shapes = shapes_of(prepared.graph(), prepared.opset())?;
    let selection = Selection::of(prepared.graph(), &shapes, skip);
    if selection.groups.is_empty() {
        return Err(QuantizeError::NothingToDo {
            reason: "no Conv, Gemm or MatMul has constant f32 weights".to_owned(),
        });
    }
    Ok(selection)
}

/// What calibration saw: from it plans are made for any choice of nodes, without running the model again.
#[derive(Clone, Debug)]
pub struct Calibration {
    prepared: Model,
    /// Ranges of the tensors that were watched.
    observed: BTreeMap<String, Range>,
    /// For every tensor of a group what the whole group takes: for those that repeat what others hold.
    carried: BTreeMap<String, Range>,
    /// What different observers would choose, where that was asked for.
    candidates: BTreeMap<String, Vec<(ObserverKind, Range)>>,
}

impl Calibration {
    /// The prepared float model that was observed.
    pub fn prepared(&self) -> &Model {
        &self.prepared
    }

    /// The range chosen for each tensor that was watched.
    pub fn ranges(&self) -> &BTreeMap<String, Range> {
        &self.observed
    }

    pub(crate) fn candidates(&self) -> &BTreeMap<String, Vec<(ObserverKind, Range)>> {
        &self.candidates
    }

    /// Takes another range for a tensor.
    pub(crate) fn set_range(&mut self, tensor: &str, range: Range) {
        self.observed.entry(tensor.to_owned()).and_modify(|known| *known = range);
        self.carried.insert(tensor.to_owned(), range);
    }

    /// Scales for the nodes that `options` quantize. They may skip more nodes than calibration did, not fewer.
    pub fn plan(&self, options: &QuantizeOptions) -> Result<QuantizationPlan, QuantizeError> {
        let selection = select(&self.prepared, &options.skip)?;
        let mut ranges: BTreeMap<String, Range> = BTreeMap::new();
        let mut join = |source: &BTreeMap<String, Range>, fill: bool| {
            let mut found: BTreeMap<String, Range> = BTreeMap::new();
            for (name, leader) in selection.groups.iter().filter(|(_, leader)| !fill || !ranges.contains_key(*leader)) {
                if let Some(&range) = source.get(name) {
                    found.entry(leader.clone()).and_modify(|other| *other = other.join(range)).or_insert(range);
                }
            }
            ranges.append(&mut found);
        };
        join(&self.observed, false);
        join(&self.carried, true);
        plan(&self.prepared, &selection, &ranges, options)
    }
}

/// The observers of all tensors that are watched.
struct Watch {
    observers: BTreeMap<String, Observer>,
    /// Tensors that are neither inputs nor constants: a run must hand them out.
    inner: BTreeSet<String>,
}

impl Watch {
    fn new(prepared: &Model, selection: &Selection, options: &CalibrationOptions) -> Result<Self, QuantizeError> {
        let graph = prepared.graph();
        // What carries or joins elements shows nothing new behind itself.
        let repeated: BTreeSet<&str> = selection
            .integer_nodes()
            .filter(|(_, form)| matches!(form, Form::Carrying | Form::Joining))
            .filter_map(|(index, _)| graph.nodes[index].output(0))
            .collect();
        let watched = selection.groups.keys().filter(|name| !repeated.contains(name.as_str()));
        let mut observers: BTreeMap<String, Observer> =
            watched.map(|name| (name.clone(), Observer::new(options.observer))).collect();
        let mut inner = BTreeSet::new();
        for (name, observer) in &mut observers {
            if let Some(constant) = graph.initializers.get(name) {
                if !observer.observe(constant.as_f32()?) {
                    return Err(QuantizeError::NotFinite { tensor: name.clone(), batch: 0 });
                }
            } else if !graph.inputs.iter().any(|input| input.name == *name) {
                inner.insert(name.clone());
            }
        }
        Ok(Self { observers, inner })
    }

    fn see(&mut self, tensors: &[NamedTensor], batch: u64) -> Result<(), QuantizeError> {
        for (name, tensor) in tensors {
            if let Some(observer) = self.observers.get_mut(name)
                && !observer.observe(tensor.as_f32()?)
            {
                return Err(QuantizeError::NotFinite { tensor: name.clone(), batch });
            }
        }
        Ok(())
    }

    /// The range that each observer chose.
    fn ranges(&self) -> Result<BTreeMap<String, Range>, QuantizeError> {
        let range = |(name, observer): (&String, &Observer)| {
            let found = observer.range().ok_or_else(|| QuantizeError::Plan {
                tensor: name.clone(),
                reason: "no batch showed a value of it; are the batches empty?".to_owned(),
            })?;
            Ok((name.clone(), found))
        };
        self.observers.iter().map(range).collect()
    }
}

/// Scales for activations from their ranges, and for weights from the weights.
fn plan(
    prepared: &Model,
    selection: &Selection,
    ranges: &BTreeMap<String, Range>,
    options: &QuantizeOptions,
) -> Result<QuantizationPlan, QuantizeError> {
    let mut plan = QuantizationPlan::default();
    let bounds = bounds_of_groups(prepared.graph(), selection);
    for (name, leader) in &selection.groups {
        let range = ranges.get(leader).copied().ok_or_else(|| QuantizeError::Plan {
            tensor: name.clone(),
            reason: format!("its scale is that of {leader:?}, which was not observed"),
        })?;
        let mut found = activation_parameters(range, options.activation);
        for bound in bounds.get(leader).into_iter().flatten() {
            let ends = options.activation.bounds();
            found.scales[0] = bound.reach(found.scales[0], found.zero_points[0], ends);
        }
        plan.tensors.insert(name.clone(), found);
    }
    let wish = WeightWish::of(options);
    let graph = prepared.graph();
    for (index, _) in selection.integer_nodes().filter(|(_, form)| *form == Form::Linear) {
        let node = &graph.nodes[index];
        let refuse = |reason: String| QuantizeError::Plan { tensor: node.label(), reason };
        let linear = Linear::of(node, graph).map_err(refuse)?;
        let input_scale = plan.tensors[node.inputs[0].as_str()].scales[0];
        let weights = linear.weights.as_f32()?;
        if !weights.iter().chain(linear.bias.iter().flatten()).all(|value| value.is_finite()) {
            return Err(refuse("its weights or bias hold NaN or infinity".to_owned()));
        }
        let found = weight_parameters(weights, &linear.layout, linear.bias.as_deref(), input_scale, wish);
        // Shared by two nodes, weights have the scales that their first node asks for.
        plan.tensors.entry(linear.name).or_insert(found);
    }
    Ok(plan)
}

/// The bounds that saturation is to take over, by the tensor that stands for the group of what they make.
fn bounds_of_groups(graph: &Graph, selection: &Selection) -> BTreeMap<String, Vec<Bound>> {
    let mut found: BTreeMap<String, Vec<Bound>> = BTreeMap::new();
    for &index in selection.bounds.values() {
        let node = &graph.nodes[index];
        let leader = node.output(0).and_then(|output| selection.groups.get(output));
        if let (Some(leader), Some(bound)) = (leader, Bound::of(node, graph)) {
            found.entry(leader.clone()).or_default().push(bound);
        }
    }
    found
}
