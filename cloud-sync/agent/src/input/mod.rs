//! From a person's file to a model's inputs, and from its outputs to a label.
//!
//! Runs in the command that the person started, never in the serving process: a hostile picture reaches no daemon.

mod array;
mod label;
mod picture;
#[cfg(test)]
mod tests;
mod text;

use runtime_artifact::Contract;
use runtime_tensor::{Dimension, NamedTensor, Tensor};

pub(crate) use label::excerpt;
pub(crate) use label::{Label, label};

/// The longest input file, in bytes.
pub(crate) const INPUT_BYTES_MAX: u64 = 256 << 20;

/// Why a file is no input of the model. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// The file is in no format that is read here.
    #[error(
        "read the input: its first bytes are of no known format; expected a PNG, JPEG, BMP or PNM picture, .npy, .npz \
         or JSON"
    )]
    UnknownFormat,
    /// The picture cannot be read.
    #[error("read the picture: {0}")]
    Picture(String),
    /// The array file cannot be read.
    #[error("read the array: {0}")]
    Array(String),
    /// The JSON does not describe tensors.
    #[error("read the JSON input: {0}")]
    Json(String),
    /// The file is good and the model takes something else.
    #[error("make the input {input:?}: found {found}, expected {expected}")]
    Unfit {
        /// The model's input.
        input: String,
        /// In the file.
        found: String,
        /// In the contract.
        expected: String,
    },
}

/// Inputs made from a file, and what was done to it that the person should know.
#[derive(Debug, PartialEq)]
pub(crate) struct Prepared {
    /// Every input of the model.
    pub(crate) inputs: Vec<NamedTensor>,
    /// For example that a picture was resized.
    pub(crate) notes: Vec<String>,
}

/// Reads `bytes` (a picture, `.npy`, `.npz` or JSON; the bytes decide, not a name) as inputs that `contract` asks for.
pub(crate) fn prepare(bytes: &[u8], contract: &Contract) -> Result<Prepared, InputError> {
    let mut notes = Vec::new();
    let inputs = if bytes.starts_with(array::NPY_MAGIC) {
        array::single(bytes, contract)?
    } else if bytes.starts_with(array::ZIP_MAGIC) {
        array::several(bytes, contract)?
    } else if picture::is_picture(bytes) {
        picture::read(bytes, contract, &mut notes)?
    } else if text::is_json(bytes) {
        text::read(bytes, contract)?
    } else {
        return Err(InputError::UnknownFormat);
    };
    Ok(Prepared { inputs, notes })
}

/// Names of the inputs that a caller gives; states are kept by the runtime.
fn given_inputs(contract: &Contract) -> impl Iterator<Item = &runtime_artifact::TensorContract> {
    contract.inputs.iter().filter(|input| !contract.states.iter().any(|state| state.input == input.name))
}

/// The one input of a model that has one; an error that lists them otherwise.
fn only_input(contract: &Contract) -> Result<&runtime_artifact::TensorContract, InputError> {
    let inputs: Vec<_> = given_inputs(contract).collect();
    match inputs.as_slice() {
        [input] => Ok(input),
        several => {
            let names: Vec<&str> = several.iter().map(|input| input.name.as_str()).collect();
            Err(InputError::Unfit {
                input: names.join(", "),
                found: "one unnamed array".to_owned(),
                expected: format!("{} named ones: use .npz or JSON with their names", names.len()),
            })
        }
    }
}

/// `tensor` with a leading axis of 1 where it is one sample and the contract counts samples.
fn with_batch(tensor: Tensor, shape: &[Dimension]) -> Tensor {
    let counts = matches!(shape.first(), Some(Dimension::Symbol(_) | Dimension::Fixed(1)));
    if !counts || tensor.shape().len() + 1 != shape.len() {
        return tensor;
    }
    let mut longer = vec![1];
    longer.extend_from_slice(tensor.shape());
    // The same number of elements: reshaping cannot fail, and on a bug the check after it speaks.
    tensor.clone().reshape(longer).unwrap_or(tensor)
}

/// A shape for people: `[batch, 1, 8, 8]`.
fn shown(shape: &[Dimension]) -> String {
    let axes: Vec<String> = shape
        .iter()
        .map(|axis| match axis {
            Dimension::Fixed(size) => size.to_string(),
            Dimension::Symbol(symbol) => symbol.clone(),
        })
        .collect();
    format!("[{}]", axes.join(", "))
}

/// Checks a tensor against its contract, after giving it its batch axis.
fn fit(tensor: Tensor, input: &runtime_artifact::TensorContract) -> Result<NamedTensor, InputError> {
    let tensor = with_batch(tensor, &input.shape);
    let mut bindings = std::collections::BTreeMap::new();
    input.to_spec().check(&tensor, &mut bindings).map_err(|_| InputError::Unfit {
        input: input.name.clone(),
        found: format!("{} {:?}", tensor.element().name(), tensor.shape()),
        expected: format!("{} {}", input.element.name(), shown(&input.shape)),
    })?;
    Ok((input.name.clone(), tensor))
}
