//! What goes into a model and comes out of it.

use runtime_tensor::{Dimension, ElementType, TensorSpec};
use serde::{Deserialize, Serialize};

/// The beginning of the message about an element type that this version does not have.
pub(super) const UNKNOWN_ELEMENT: &str = "unknown element type";

/// The model's inputs and outputs as a caller sees them, whatever variant answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// At least one, in the model's order.
    pub inputs: Vec<TensorContract>,
    /// At least one, in the model's order.
    pub outputs: Vec<TensorContract>,
    /// Outputs that feed an input of the next call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<StatePair>,
    /// What the indices of a classifying output's last axis mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How an image becomes an input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// How an output becomes a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postprocessing: Option<Postprocessing>,
}

/// Name, element type and shape of one input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorContract {
    /// Name in the model.
    pub name: String,
    /// Element type, by its name (`f32`, `u8`).
    #[serde(with = "element")]
    pub element: ElementType,
    /// Axes, outermost first: an integer, or a symbol such as `"batch"` (the same symbol is the same size).
    #[serde(with = "shape")]
    pub shape: Vec<Dimension>,
}

impl TensorContract {
    /// The same in the words of `runtime-tensor`, which can check a tensor against it.
    pub fn to_spec(&self) -> TensorSpec {
        TensorSpec { name: self.name.clone(), element: self.element, shape: self.shape.clone() }
    }
}

impl From<&TensorSpec> for TensorContract {
    fn from(spec: &TensorSpec) -> Self {
        Self { name: spec.name.clone(), element: spec.element, shape: spec.shape.clone() }
    }
}

/// An output whose value is the input of the next call (a streaming model's state).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatePair {
    /// Name of the input that is fed.
    pub input: String,
    /// Name of the output that feeds it.
    pub output: String,
}

/// How a picture becomes an input tensor: each element is `pixel * scale + offset`, with pixels from 0 to 255.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// What is prepared: `image` (an open list; a program that does not know it asks for tensors instead).
    pub kind: String,
    /// Name of the input. Its shape gives width, height and channels (1 is grey, 3 is RGB).
    pub input: String,
    /// Order of the axes: `nchw` or `nhwc`.
    pub layout: String,
    /// Factor for each channel, in 1e-12.
    pub scale_e12: Vec<i64>,
    /// Summand for each channel, in 1e-12.
    pub offset_e12: Vec<i64>,
}

/// How an output becomes a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postprocessing {
    /// `argmax`: the largest element of the last axis names the label. `softmax`: the same, with the softmax of
    /// that axis as scores. An open list; a program that does not know it prints the tensor.
    pub kind: String,
    /// Name of the output.
    pub output: String,
}

mod element {
    use runtime_tensor::ElementType;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::error::shown;

    pub(super) fn serialize<S: Serializer>(element: &ElementType, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(element.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ElementType, D::Error> {
        let name = String::deserialize(deserializer)?;
        ElementType::from_name(&name)
            .ok_or_else(|| D::Error::custom(format!("{} {}", super::UNKNOWN_ELEMENT, shown(&name))))
    }
}

mod shape {
    use runtime_tensor::Dimension;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Axis {
        Fixed(u64),
        Symbol(String),
    }

    pub(super) fn serialize<S: Serializer>(shape: &[Dimension], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(shape.iter().map(|dimension| match dimension {
            Dimension::Fixed(size) => Axis::Fixed(*size),
            Dimension::Symbol(symbol) => Axis::Symbol(symbol.clone()),
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Dimension>, D::Error> {
        let axes = Vec::<Axis>::deserialize(deserializer)?;
        Ok(axes
            .into_iter()
            .map(|axis| match axis {
                Axis::Fixed(size) => Dimension::Fixed(size),
                Axis::Symbol(symbol) => Dimension::Symbol(symbol),
            })
            .collect())
    }
}
