//! What small integer values hold: `Shape` and what is computed from it.
//!
//! Exporters compute the target of a `Reshape` with a chain of Shape, Gather, Concat and arithmetic. Following
//! it entry by entry, with symbols, gives shapes without running anything.

use std::collections::BTreeMap;

use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

use super::call::axis_index;
use crate::{Attribute, Node};

/// Entries that are followed; shapes have fewer.
const ENTRIES_MAX: usize = 256;

/// One entry of an integer value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    Value(i64),
    /// The size that this symbol stands for.
    Size(String),
    Unknown,
}

/// An integer scalar or vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) entries: Vec<Entry>,
    pub(crate) scalar: bool,
}

impl Content {
    fn vector(entries: Vec<Entry>) -> Option<Self> {
        (entries.len() <= ENTRIES_MAX).then_some(Self { entries, scalar: false })
    }

    /// All entries, when all are numbers.
    pub(crate) fn ints(&self) -> Option<Vec<i64>> {
        let value = |entry: &Entry| match entry {
            Entry::Value(value) => Some(*value),
            _ => None,
        };
        self.entries.iter().map(value).collect()
    }
}

#[derive(Default)]
pub(crate) struct Contents(BTreeMap<String, Content>);

impl Contents {
    pub(crate) fn get(&self, name: &str) -> Option<&Content> {
        self.0.get(name)
    }

    /// Notes a constant if it is a small integer scalar or vector.
    pub(crate) fn set_tensor(&mut self, name: &str, tensor: &Tensor) {
        if tensor.shape().len() > 1 || tensor.len() > ENTRIES_MAX {
            return;
        }
        let values: Option<Vec<i64>> = match tensor.element() {
            ElementType::I64 => tensor.as_i64().ok().map(<[i64]>::to_vec),
            ElementType::I32 => {
                tensor.as_i32().ok().map(|values| values.iter().map(|&value| i64::from(value)).collect())
            }
            ElementType::Bool => Some(tensor.bytes().iter().map(|&value| i64::from(value)).collect()),
            _ => None,
        };
        if let Some(values) = values {
            let entries = values.into_iter().map(Entry::Value).collect();
            self.0.insert(name.to_owned(), Content { entries, scalar: tensor.shape().is_empty() });
        }
    }

    /// Follows one node.
    pub(crate) fn visit(&mut self, node: &Node, specs: &BTreeMap<String, TensorSpec>) {
        if let (true, Some(output)) = (node.is_standard(), node.output(0))
            && let Some(content) = self.follow(node, specs)
        {
            self.0.insert(output.to_owned(), content);
        }
    }

    fn follow(&self, node: &Node, specs: &BTreeMap<String, TensorSpec>) -> Option<Content> {
        let input = |position: usize| node.input(position).and_then(|name| self.0.get(name));
        match node.operator.as_str() {
            "Shape" => shape_entries(node, specs.get(node.input(0)?)?),
            "Constant" => constant_entries(node),
            "Identity" => input(0).cloned(),
            // A float in between may round; integers and booleans keep the entries.
            "Cast" if matches!(node.int("to", 0), 6 | 7) => input(0).cloned(),
            "Gather" => gather(input(0)?, input(1)?, node.int("axis", 0)),
            "Concat" => {
                let parts: Option<Vec<&Content>> = (0..node.inputs.len()).map(input).collect();
                let parts = parts?;
                let entries = parts.iter().flat_map(|part| part.entries.iter().cloned()).collect();
                parts.iter().all(|part| !part.scalar).then(|| Content::vector(entries)).flatten()
            }
            "Unsqueeze" => {
                input(0).filter(|content| content.scalar).map(|content| Content { scalar: false, ..content.clone() })
            }
            "Squeeze" => {
                let content = input(0).filter(|content| content.entries.len() == 1)?;
                Some(Content { scalar: true, ..content.clone() })
            }
            "Reshape" => {
                let (content, target) = (input(0)?, input(1)?);
                (target.entries.len() <= 1)
                    .then(|| Content { entries: content.entries.clone(), scalar: target.entries.is_empty() })
            }
            "Slice" => slice(node, input(0)?, &input),
            "ConstantOfShape" => filled(node, input(0)?),
            "ReduceProd" => {
                let product = input(0)?.ints()?.into_iter().try_fold(1i64, i64::checked_mul)?;
                Some(Content { entries: vec![Entry::Value(product)], scalar: node.int("keepdims", 1) == 0 })
            }
            "Where" => choose(input(0)?, input(1)?, input(2)?),
            operator => arithmetic(operator, input(0)?, input(1)?),
        }
    }
}

fn shape_entries(node: &Node, spec: &TensorSpec) -> Option<Content> {
    let rank = spec.shape.len() as i64;
    // Version 15 can take a part; its bounds are clamped, not checked.
    let bound = |value: i64| (if value < 0 { value.saturating_add(rank) } else { value }).clamp(0, rank) as usize;
    let (start, end) = (bound(node.int("start", 0)), bound(node.int("end", rank)));
    let entry = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => i64::try_from(*size).map_or(Entry::Unknown, Entry::Value),
        Dimension::Symbol(symbol) => Entry::Size(symbol.clone()),
    };
    Content::vector(spec.shape.get(start..end.max(start))?.iter().map(entry).collect())
}

/// The forms of `Constant` that are no tensor.
fn constant_entries(node: &Node) -> Option<Content> {
    match (node.attributes.get("value_int"), node.attributes.get("value_ints")) {
        (Some(Attribute::Int(value)), _) => Some(Content { entries: vec![Entry::Value(*value)], scalar: true }),
        (_, Some(Attribute::Ints(values))) => {
            Content::vector(values.iter().map(|&value| Entry::Value(value)).collect())
        }
        // A tensor: noted before.
        _ => None,
    }
}

fn gather(data: &Content, indices: &Content, axis: i64) -> Option<Content> {
    if data.scalar || !matches!(axis, 0 | -1) {
        return None;
    }
    let pick = |index: i64| data.entries.get(axis_index(index, data.entries.len()).ok()?).cloned();
    let entries = indices.ints()?.into_iter().map(pick).collect::<Option<Vec<_>>>()?;
    Some(Content { entries, scalar: indices.scalar })
}

fn slice<'c>(node: &Node, data: &Content, input: &impl Fn(usize) -> Option<&'c Content>) -> Option<Content> {
    let first = |attribute: &str, position: usize, default: i64| match (node.ints(attribute), node.input(position)) {
        (Some(values), _) => values.first().copied(),
        (None, None) => Some(default),
        (None, Some(_)) => input(position)?.ints()?.first().copied(),
    };
    let (start, end) = (first("starts", 1, 0)?, first("ends", 2, i64::MAX)?);
    if data.scalar || first("steps", 4, 1)? != 1 {
        return None;
    }
    let length = data.entries.len() as i64;
    let bound = |value: i64| (if value < 0 { value.saturating_add(length) } else { value }).clamp(0, length) as usize;
    Content::vector(data.entries.get(bound(start)..bound(end).max(bound(start)))?.to_vec())
}

fn filled(node: &Node, shape: &Content) -> Option<Content> {
    let [count] = shape.ints()?[..] else { return None };
    let count = usize::try_from(count).ok().filter(|&count| count <= ENTRIES_MAX)?;
    let value = match node.tensor("value") {
        Some(tensor) if tensor.element() == ElementType::I64 => *tensor.as_i64().ok()?.first()?,
        _ => return None,
    };
    Content::vector(vec![Entry::Value(value); count])
}

fn choose(condition: &Content, yes: &Content, no: &Content) -> Option<Content> {
    let length = [condition, yes, no].iter().map(|content| content.entries.len()).max()?;
    let at = |content: &'_ Content, index: usize| match content.entries.len() {
        1 => content.entries.first().cloned(),
        _ => content.entries.get(index).cloned(),
    };
    let entry = |index: usize| {
        Some(match at(condition, index)? {
            Entry::Value(0) => at(no, index)?,
            Entry::Value(_) => at(yes, index)?,
            _ => Entry::Unknown,
        })
    };
    Content::vector((0..length).map(entry).collect::<Option<_>>()?)
}

fn arithmetic(operator: &str, left: &Content, right: &Content) -> Option<Content> {
    let compute: fn(i64, i64) -> Option<i64> = match operator {
        "Add" => i64::checked_add,
        "Sub" => i64::checked_sub,
        "Mul" => i64::checked_mul,
        "Div" => i64::checked_div,
        "Max" => |a, b| Some(a.max(b)),
        "Min" => |a, b| Some(a.min(b)),
        "Equal" => |a, b| Some(i64::from(a == b)),
        _ => return None,
    };
    let (a, b) = (left.entries.len(), right.entries.len());
    let length = a.max(b);
    if (a != length && a != 1) || (b != length && b != 1) {
        return None;
    }
    let entry = |index: usize| {
        let (left, right) = (&left.entries[index.min(a - 1)], &right.entries[index.min(b - 1)]);
        match (operator, left, right) {
            (_, Entry::Value(a), Entry::Value(b)) => compute(*a, *b).map_or(Entry::Unknown, Entry::Value),
            ("Add" | "Sub", size, Entry::Value(0)) | ("Mul" | "Div", size, Entry::Value(1)) => size.clone(),
            ("Add", Entry::Value(0), size) | ("Mul", Entry::Value(1), size) => size.clone(),
            // A size is never negative, which is what Expand's exporters compare with.
            ("Equal", Entry::Size(_), Entry::Value(..=-1)) | ("Equal", Entry::Value(..=-1), Entry::Size(_)) => {
                Entry::Value(0)
            }
            _ => Entry::Unknown,
        }
    };
    let entries = if length == 0 { Vec::new() } else { (0..length).map(entry).collect() };
    Some(Content { entries, scalar: left.scalar && right.scalar })
}
