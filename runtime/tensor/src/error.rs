//! What can be wrong with a tensor.

use crate::ElementType;

/// Why a tensor could not be made, read or accepted. Reads after "failed to".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The bytes given are not as many as shape and element type need.
    #[error("take {found} bytes as {element}{shape:?}, which needs {expected} bytes")]
    Length {
        /// Element type asked for.
        element: ElementType,
        /// Shape asked for.
        shape: Vec<usize>,
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// The tensor would be larger than [`TENSOR_BYTES_MAX`](crate::TENSOR_BYTES_MAX) or than memory allows.
    #[error("reserve a tensor {element}{shape:?}: it is over the limit of {max} bytes or over the free memory")]
    TooLarge {
        /// Element type asked for.
        element: ElementType,
        /// Shape asked for.
        shape: Vec<usize>,
        /// Bytes allowed.
        max: u64,
    },
    /// More axes than [`TENSOR_RANK_MAX`](crate::TENSOR_RANK_MAX).
    #[error("take a tensor of {found} axes; at most {max} are supported")]
    TooManyAxes {
        /// Axes given.
        found: usize,
        /// Axes allowed.
        max: usize,
    },
    /// The tensor holds another element type than the one asked for.
    #[error("read {found} elements as {expected}")]
    Element {
        /// What the tensor holds.
        found: ElementType,
        /// What was asked for.
        expected: ElementType,
    },
    /// The new shape has another number of elements.
    #[error("reshape {from:?} to {to:?}: the number of elements differs")]
    Reshape {
        /// Shape before.
        from: Vec<usize>,
        /// Shape asked for.
        to: Vec<usize>,
    },
    /// A tensor was refused by a [`TensorSpec`](crate::TensorSpec): element type.
    #[error("accept tensor {tensor:?}: found element type {found}, expected {expected}")]
    SpecElement {
        /// Name in the specification.
        tensor: String,
        /// What the tensor holds.
        found: ElementType,
        /// What the specification says.
        expected: ElementType,
    },
    /// A tensor was refused by a [`TensorSpec`](crate::TensorSpec): shape.
    #[error("accept tensor {tensor:?}: found shape {found:?}, expected {expected}")]
    SpecShape {
        /// Name in the specification.
        tensor: String,
        /// Shape of the tensor.
        found: Vec<usize>,
        /// The specification's shape, for people.
        expected: String,
    },
    /// A symbol that is already bound to one size met another.
    #[error("accept tensor {tensor:?}: dimension {symbol} is {found} here and {expected} in an earlier tensor")]
    SpecSymbol {
        /// Name in the specification.
        tensor: String,
        /// The symbol.
        symbol: String,
        /// Size in this tensor.
        found: u64,
        /// Size it was bound to.
        expected: u64,
    },
    /// There is no last axis, or it is empty.
    #[error("find the largest element along the last axis of shape {shape:?}: the axis is missing or empty")]
    NoLastAxis {
        /// Shape of the tensor.
        shape: Vec<usize>,
    },
}
