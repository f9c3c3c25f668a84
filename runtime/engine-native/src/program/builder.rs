//! Builds a program: values with their axes in memory, the buffers behind them, the steps that fill those.

use std::ops::Range;

use runtime_kernels::{Permutation, Table};

use super::arena::{Lifetime, plan};
use super::memory::Place;
use super::{BufferId, Memory, OutputPlace, Program, RangeId, Step};

/// A value of the program under construction.
pub(crate) type ValueId = usize;

/// What a value's buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// Stored bytes of a signed or unsigned type.
    Stored { signed: bool },
    /// `f32`.
    Float,
}

/// A tensor: a buffer, seen as `shape`.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) element: Element,
    pub(crate) buffer: BufferId,
    /// As the model has it.
    pub(crate) shape: Vec<usize>,
    /// Which of the model's axes is which axis in memory, outermost first. A transposition changes only this.
    pub(crate) order: Vec<usize>,
}

#[derive(Debug)]
enum Buffer {
    Bytes(usize),
    Floats(usize),
    Constant(Vec<u8>),
    FloatConstant(Vec<f32>),
}

#[derive(Debug, Default)]
pub(crate) struct Builder {
    values: Vec<Value>,
    buffers: Vec<Buffer>,
    steps: Vec<Step>,
    ranges: usize,
    /// Values that were brought into another order before: (value, order) and the result.
    reordered: Vec<(ValueId, Vec<usize>, ValueId)>,
}

/// The model's own order of `rank` axes.
pub(crate) fn plain(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// Batch, space, channels.
pub(crate) fn channels_last(rank: usize) -> Vec<usize> {
    let mut order = plain(rank);
    if rank > 2 {
        order.remove(1);
        order.push(1);
    }
    order
}

/// The smallest runs of neighbouring axes of `old` and `new` that have equally many elements.
fn common_groups(old: &[usize], new: &[usize]) -> Vec<(Range<usize>, Range<usize>)> {
    let mut groups = Vec::new();
    let (mut old_at, mut new_at) = (0, 0);
    while old_at < old.len() || new_at < new.len() {
        let (old_first, new_first) = (old_at, new_at);
        let (mut old_size, mut new_size) = (1, 1);
        loop {
            if old_at < old.len() && (old_size < new_size || old_at == old_first) {
                old_size *= old[old_at];
                old_at += 1;
            } else if new_at < new.len() && (new_size < old_size || new_at == new_first) {
                new_size *= new[new_at];
                new_at += 1;
            } else {
                break;
            }
        }
        // Sizes that never meet (there are zeros) leave one group of everything.
        if old_size != new_size {
            return vec![(0..old.len(), 0..new.len())];
        }
        groups.push((old_first..old_at, new_first..new_at));
    }
    groups
}

impl Builder {
    pub(crate) fn value(&self, value: ValueId) -> &Value {
        &self.values[value]
    }

    pub(crate) fn buffer(&self, value: ValueId) -> BufferId {
        self.values[value].buffer
    }

    /// A new value with a buffer of its own.
    pub(crate) fn add_value(&mut self, element: Element, shape: &[usize], order: Vec<usize>) -> ValueId {
        let length = shape.iter().product();
        let buffer = match element {
            Element::Stored { .. } => Buffer::Bytes(length),
            Element::Float => Buffer::Floats(length),
        };
        self.buffers.push(buffer);
        self.add_view(element, self.buffers.len() - 1, shape, order)
    }

    /// One more quantization that is measured in every run.
    pub(crate) fn add_range(&mut self) -> RangeId {
        self.ranges += 1;
        self.ranges - 1
    }

    /// A constant in plain order.
    pub(crate) fn add_constant(&mut self, signed: bool, shape: &[usize], bytes: Vec<u8>) -> ValueId {
        self.buffers.push(Buffer::Constant(bytes));
        self.add_view(Element::Stored { signed }, self.buffers.len() - 1, shape, plain(shape.len()))
    }

    /// A float constant in plain order.
    pub(crate) fn add_floats(&mut self, shape: &[usize], floats: Vec<f32>) -> ValueId {
        self.buffers.push(Buffer::FloatConstant(floats));
        self.add_view(Element::Float, self.buffers.len() - 1, shape, plain(shape.len()))
    }

    /// For each of the model's axes of `value`: elements in memory from one position to the next.
    pub(crate) fn axis_steps(&self, value: ValueId) -> Vec<usize> {
        let Value { shape, order, .. } = &self.values[value];
        let mut steps = vec![0; shape.len()];
        let mut step = 1;
        for &axis in order.iter().rev() {
            steps[axis] = step;
            step *= shape[axis];
        }
        steps
    }

    /// The step that fills `buffer`, the last of all steps if it was not that already: what it reads by then may be
    /// changed with it. Nobody may have read the buffer yet.
    pub(crate) fn last_filling(&mut self, buffer: BufferId) -> Option<&mut Step> {
        let position = self.steps.iter().position(|step| step.buffers().1 == buffer)?;
        let step = self.steps.remove(position);
        self.steps.push(step);
        self.steps.last_mut()
    }

    /// The step that fills `buffer`.
    pub(crate) fn filling(&mut self, buffer: BufferId) -> Option<&mut Step> {
        self.steps.iter_mut().rev().find(|step| step.buffers().1 == buffer)
    }

    /// Another buffer, whose elements lie as those of `like` do.
    pub(crate) fn seen_as(&mut self, like: ValueId, buffer: BufferId, element: Element) -> ValueId {
        let Value { element: own, buffer: now, shape, order } = self.values[like].clone();
        if own == element && now == buffer { like } else { self.add_view(element, buffer, &shape, order) }
    }

    fn add_view(&mut self, element: Element, buffer: BufferId, shape: &[usize], order: Vec<usize>) -> ValueId {
        self.values.push(Value { element, buffer, shape: shape.to_vec(), order });
        self.values.len() - 1
    }

    pub(crate) fn add_step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// The same elements with their axes in `order`; copies only when bytes have to move.
    pub(crate) fn in_order(&mut self, value: ValueId, order: &[usize]) -> Result<ValueId, String> {
        let Value { element, buffer, shape, order: now } = self.values[value].clone();
        if now == order {
            return Ok(value);
        }
        if let Some((_, _, done)) = self.reordered.iter().find(|(from, to, _)| *from == value && *to == order) {
            return Ok(*done);
        }
        let in_memory: Vec<usize> = now.iter().map(|&axis| shape[axis]).collect();
        let place = |axis: &usize| now.iter().position(|other| other == axis).unwrap_or_default();
        let moves: Vec<usize> = order.iter().map(place).collect();
        let permutation = Permutation::new(&in_memory, &moves).map_err(|error| format!("failed to {error}"))?;
        let result = if permutation.is_identity() {
            self.add_view(element, buffer, &shape, order.to_vec())
        } else {
            let result = self.add_value(element, &shape, order.to_vec());
            let output = self.buffer(result);
            self.add_step(match element {
                Element::Stored { .. } => Step::Permute { input: buffer, permutation, output },
                Element::Float => Step::PermuteFloats { input: buffer, permutation, output },
            });
            result
        };
        self.reordered.push((value, order.to_vec(), result));
        Ok(result)
    }

    /// The same elements under another shape, as a reshape of the model's order gives them.
    ///
    /// Axes that are split or merged stay where they are in memory if they lie beside each other; only where they do
    /// not does anything move.
    pub(crate) fn reshaped(&mut self, value: ValueId, shape: &[usize]) -> Result<ValueId, String> {
        let before = self.values[value].shape.clone();
        if before.iter().product::<usize>() != shape.iter().product::<usize>() {
            return Err(format!("{before:?} cannot become {shape:?}"));
        }
        let groups = common_groups(&before, shape);
        let mut order = Vec::new();
        let mut new_order = Vec::new();
        for axis in self.values[value].order.clone() {
            let group = groups.iter().find(|(old, _)| old.contains(&axis));
            if let Some((old, new)) = group.filter(|_| !order.contains(&axis)) {
                order.extend(old.clone());
                new_order.extend(new.clone());
            }
        }
        // Groups without an axis of the old shape are axes of size 1.
        new_order.extend(groups.iter().filter(|(old, _)| old.is_empty()).flat_map(|(_, new)| new.clone()));
        let value = self.in_order(value, &order)?;
        let Value { element, buffer, .. } = self.values[value];
        Ok(self.add_view(element, buffer, shape, new_order))
    }

    /// Axis i of the result is axis `axes[i]` of `value`; nothing moves.
    pub(crate) fn transposed(&mut self, value: ValueId, axes: &[usize]) -> Result<ValueId, String> {
        let Value { element, buffer, shape, order } = self.values[value].clone();
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if sorted != plain(shape.len()) {
            return Err(format!("{axes:?} is no order of {} axes", shape.len()));
        }
        let new_shape: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
        let renamed = |axis: &usize| axes.iter().position(|other| other == axis).unwrap_or_default();
        let new_order = order.iter().map(renamed).collect();
        Ok(self.add_view(element, buffer, &new_shape, new_order))
    }

    /// Drops the steps of which no output depends.
    fn drop_unread(&mut self, outputs: &[ValueId]) {
        let mut read = vec![false; self.buffers.len()];
        outputs.iter().for_each(|&output| read[self.values[output].buffer] = true);
        let mut kept = Vec::with_capacity(self.steps.len());
        for step in std::mem::take(&mut self.steps).into_iter().rev() {
            let (reads, writes) = step.buffers();
            if read[writes] {
                reads.into_iter().for_each(|buffer| read[buffer] = true);
                kept.push(step);
            }
        }
        kept.reverse();
        self.steps = kept;
    }

    /// Plans the memory. `outputs` are the values that the model returns, in the model's order of axes.
    pub(crate) fn finish(mut self, table: &'static Table, outputs: &[ValueId]) -> Program {
        self.drop_unread(outputs);
        let mut lifetimes: Vec<Option<(usize, usize)>> = vec![None; self.buffers.len()];
        for (number, step) in self.steps.iter().enumerate() {
            let (reads, writes) = step.buffers();
            lifetimes[writes].get_or_insert((number, number)).1 = number;
            for buffer in reads {
                if let Some((_, last)) = &mut lifetimes[buffer] {
                    *last = number;
                }
            }
        }
        for &output in outputs {
            if let Some((_, last)) = &mut lifetimes[self.values[output].buffer] {
                *last = self.steps.len();
            }
        }
        // What no step writes takes no room.
        let lifetime = |buffer: usize, length: usize| match lifetimes[buffer] {
            Some((first, last)) => Lifetime { length, first, last },
            None => Lifetime { length: 0, first: 0, last: 0 },
        };
        let (mut bytes, mut floats) = (Vec::new(), Vec::new());
        for (id, buffer) in self.buffers.iter().enumerate() {
            match buffer {
                Buffer::Bytes(length) => bytes.push(lifetime(id, *length)),
                Buffer::Floats(length) => floats.push(lifetime(id, *length)),
                Buffer::Constant(_) | Buffer::FloatConstant(_) => {}
            }
        }
        let ((byte_ranges, byte_length), (float_ranges, float_length)) = (plan(&bytes), plan(&floats));
        let (mut byte_ranges, mut float_ranges) = (byte_ranges.into_iter(), float_ranges.into_iter());
        // As many ranges as buffers of the kind, in the same order.
        let place = |buffer| match buffer {
            Buffer::Bytes(_) => Place::Bytes(byte_ranges.next().unwrap_or_default()),
            Buffer::Floats(_) => Place::Floats(float_ranges.next().unwrap_or_default()),
            Buffer::Constant(bytes) => Place::Constant(bytes),
            Buffer::FloatConstant(floats) => Place::FloatConstant(floats),
        };
        let memory = Memory::new(self.buffers.into_iter().map(place).collect(), byte_length, float_length, self.ranges);
        let place = |&output: &ValueId| {
            let value = &self.values[output];
            OutputPlace { buffer: value.buffer, signed: value.element == Element::Stored { signed: true } }
        };
        Program::new(table, self.steps, memory, outputs.iter().map(place).collect())
    }
}
