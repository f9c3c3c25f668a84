//! What a rule sees of its node, and the arithmetic of sizes.

use std::collections::BTreeMap;

use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

use super::contents::{Content, Contents};
use crate::Node;

/// Element type and shape of one output; `None` is a size that cannot be known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) element: ElementType,
    pub(crate) shape: Vec<Option<Dimension>>,
}

/// What a rule finds: outputs in order, or nothing when an input is unknown. The error is a sentence.
pub(crate) type Found = Result<Option<Vec<Known>>, String>;

/// One node with what is known about its inputs.
pub(crate) struct Call<'a> {
    pub(crate) node: &'a Node,
    pub(crate) opset: i64,
    pub(crate) specs: &'a BTreeMap<String, TensorSpec>,
    pub(crate) contents: &'a Contents,
    pub(crate) constants: &'a BTreeMap<&'a str, &'a Tensor>,
}

impl<'a> Call<'a> {
    /// Type and shape of a required input; `None` when they are unknown.
    pub(crate) fn input(&self, position: usize) -> Result<Option<&'a TensorSpec>, String> {
        match self.node.input(position) {
            Some(name) => Ok(self.specs.get(name)),
            None => Err(format!("input {position} is missing")),
        }
    }

    /// Type and shape of an optional input.
    pub(crate) fn optional(&self, position: usize) -> Option<&'a TensorSpec> {
        self.node.input(position).and_then(|name| self.specs.get(name))
    }

    /// What a small integer input holds, as far as it is known.
    pub(crate) fn content(&self, position: usize) -> Option<&'a Content> {
        self.node.input(position).and_then(|name| self.contents.get(name))
    }

    /// A small integer input all of whose values are known.
    pub(crate) fn known_ints(&self, position: usize) -> Option<Vec<i64>> {
        self.content(position).and_then(Content::ints)
    }

    /// An input that is a constant.
    pub(crate) fn constant(&self, position: usize) -> Option<&'a Tensor> {
        self.node.input(position).and_then(|name| self.constants.get(name).copied())
    }

    /// Integers that moved from an attribute to an input in some version: `Err` when neither says them yet.
    pub(crate) fn ints_of(&self, attribute: &str, input: usize) -> Result<Option<Vec<i64>>, Unknown> {
        if let Some(values) = self.node.ints(attribute) {
            return Ok(Some(values.to_vec()));
        }
        match self.node.input(input) {
            Some(_) => self.known_ints(input).map(Some).ok_or(Unknown),
            None => Ok(None),
        }
    }
}

/// An input that decides the shape is known only at run time.
pub(crate) struct Unknown;

pub(crate) fn one(element: ElementType, shape: Vec<Option<Dimension>>) -> Found {
    Ok(Some(vec![Known { element, shape }]))
}

pub(crate) fn same(spec: &TensorSpec) -> Known {
    Known { element: spec.element, shape: sizes(&spec.shape) }
}

pub(crate) fn sizes(shape: &[Dimension]) -> Vec<Option<Dimension>> {
    shape.iter().cloned().map(Some).collect()
}

pub(crate) fn fixed(size: u64) -> Option<Dimension> {
    Some(Dimension::Fixed(size))
}

/// A size that is known as a number.
pub(crate) fn number(dimension: &Dimension) -> Option<u64> {
    match dimension {
        Dimension::Fixed(size) => Some(*size),
        Dimension::Symbol(_) => None,
    }
}

/// `axis` counted from the front; negative ones count from the back.
pub(crate) fn axis_index(axis: i64, rank: usize) -> Result<usize, String> {
    let rank = rank as i64;
    let index = if axis < 0 { axis.saturating_add(rank) } else { axis };
    if (0..rank).contains(&index) { Ok(index as usize) } else { Err(format!("axis {axis} is outside of {rank} axes")) }
}

/// The shape of two shapes spread over each other.
pub(crate) fn broadcast(
    left: &[Option<Dimension>],
    right: &[Option<Dimension>],
) -> Result<Vec<Option<Dimension>>, String> {
    let rank = left.len().max(right.len());
    let at = |shape: &[Option<Dimension>], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(index) => shape[index].clone(),
        None => fixed(1),
    };
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        shape.push(match (at(left, axis), at(right, axis)) {
            (Some(Dimension::Fixed(1)), other) | (other, Some(Dimension::Fixed(1))) => other,
            (Some(Dimension::Fixed(a)), Some(Dimension::Fixed(b))) if a != b => {
                return Err(format!("sizes {a} and {b} do not spread over each other on axis {axis} of {rank}"));
            }
            (Some(left), Some(right)) if left == right => Some(left),
            // A symbol beside a number other than 1 can only be 1 or that number.
            (Some(Dimension::Fixed(size)), _) | (_, Some(Dimension::Fixed(size))) => fixed(size),
            _ => None,
        });
    }
    Ok(shape)
}

/// [`broadcast`] of numbers; `None` when they do not fit.
pub(crate) fn broadcast_sizes(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let wrap = |shape: &[usize]| shape.iter().map(|&size| fixed(size as u64)).collect::<Vec<_>>();
    let shape = broadcast(&wrap(left), &wrap(right)).ok()?;
    shape.iter().map(|size| size.as_ref().and_then(number).and_then(|size| usize::try_from(size).ok())).collect()
}

/// The number of elements, when every size is a number and the product fits.
pub(crate) fn product(shape: &[Dimension]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, dimension| product.checked_mul(number(dimension)?))
}

/// The product of some axes as one size: a number, or the single symbol among ones.
pub(crate) fn joined(shape: &[Dimension]) -> Option<Dimension> {
    let mut rest = shape.iter().filter(|dimension| **dimension != Dimension::Fixed(1));
    match (rest.next(), rest.next()) {
        (None, _) => fixed(1),
        (Some(only), None) => Some(only.clone()),
        _ => product(shape).map(Dimension::Fixed),
    }
}
