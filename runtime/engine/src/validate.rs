//! The checks that every engine makes before it runs anything.

use std::collections::BTreeMap;
use std::time::Instant;

use runtime_tensor::{NamedTensor, Tensor, TensorSpec};

use crate::EngineError;

/// A request that fits its model.
#[derive(Debug)]
pub struct CheckedRequest<'a> {
    /// The tensors in the order of the model's inputs.
    pub tensors: Vec<&'a Tensor>,
    /// The size of each symbol.
    pub bindings: BTreeMap<String, u64>,
    /// Positions of the outputs to return.
    pub wanted: Vec<usize>,
}

/// What every engine checks before it runs anything: inputs, wanted outputs, deadline.
pub fn check_request<'a>(
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
    given: &'a [NamedTensor],
    wanted: &[String],
    deadline: Option<Instant>,
) -> Result<CheckedRequest<'a>, EngineError> {
    let (tensors, bindings) = check_inputs(inputs, given)?;
    let wanted = check_wanted(outputs, wanted)?;
    check_deadline(deadline)?;
    Ok(CheckedRequest { tensors, bindings, wanted })
}

/// Checks that `given` has each of `inputs` exactly once with fitting type and shape, and no other tensor.
///
/// Returns the tensors in the order of `inputs` and the size of each symbol.
pub fn check_inputs<'a>(
    inputs: &[TensorSpec],
    given: &'a [NamedTensor],
) -> Result<(Vec<&'a Tensor>, BTreeMap<String, u64>), EngineError> {
    let names = || inputs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
    for (position, (name, _)) in given.iter().enumerate() {
        if !inputs.iter().any(|spec| spec.name == *name) {
            return Err(EngineError::BadInput {
                tensor: name.clone(),
                found: "an input that the model does not have".into(),
                expected: format!("inputs {}", names()),
            });
        }
        if given[..position].iter().any(|(earlier, _)| earlier == name) {
            return Err(EngineError::BadInput {
                tensor: name.clone(),
                found: "the same input twice".into(),
                expected: "each input once".into(),
            });
        }
    }
    let mut bindings = BTreeMap::new();
    let mut tensors = Vec::with_capacity(inputs.len());
    for spec in inputs {
        let Some((_, tensor)) = given.iter().find(|(name, _)| *name == spec.name) else {
            return Err(EngineError::BadInput {
                tensor: spec.name.clone(),
                found: "no such tensor in the request".into(),
                expected: spec.to_string(),
            });
        };
        spec.check(tensor, &mut bindings)?;
        tensors.push(tensor);
    }
    Ok((tensors, bindings))
}

/// Positions in `outputs` of the outputs to return; all of them when `wanted` is empty.
pub fn check_wanted(outputs: &[TensorSpec], wanted: &[String]) -> Result<Vec<usize>, EngineError> {
    if wanted.is_empty() {
        return Ok((0..outputs.len()).collect());
    }
    let position = |name: &String| {
        outputs.iter().position(|spec| spec.name == *name).ok_or_else(|| EngineError::BadInput {
            tensor: name.clone(),
            found: "an output that the model does not have".into(),
            expected: format!(
                "outputs {}",
                outputs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        })
    };
    wanted.iter().map(position).collect()
}

/// [`EngineError::Deadline`] when `deadline` has passed.
pub fn check_deadline(deadline: Option<Instant>) -> Result<(), EngineError> {
    match deadline {
        Some(deadline) if Instant::now() >= deadline => Err(EngineError::Deadline),
        _ => Ok(()),
    }
}
