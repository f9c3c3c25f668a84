//! Questions that need no inference: health, server, model metadata, readiness, configuration.

use hyper::StatusCode;
use runtime_inference::{Absence, Inference, ModelMetadata, ModelState};
use runtime_tensor::{Dimension, ElementType, TensorSpec};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::reply::{self, ApiResponse};

/// The name that the server gives itself.
const SERVER_NAME: &str = "cask";
/// Extensions of the protocol that are answered.
const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "model_configuration"];
/// How the protocol names ONNX models.
const PLATFORM: &str = "onnx_onnxv1";

pub(crate) fn live() -> ApiResponse {
    reply::json(StatusCode::OK, &json!({ "live": true }))
}

/// Ready when every known model answers.
pub(crate) fn ready(inference: &Inference) -> ApiResponse {
    let ready = inference.names().iter().all(|name| inference.state(name) == ModelState::Ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply::json(status, &json!({ "ready": ready }))
}

pub(crate) fn server() -> ApiResponse {
    let value = json!({ "name": SERVER_NAME, "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS });
    reply::json(StatusCode::OK, &value)
}

/// The metadata of a model that is known, whether or not it answers now.
pub(crate) fn find(inference: &Inference, model: &str, number: Option<u64>) -> Result<ModelMetadata, ApiError> {
    if let Some(metadata) = inference.metadata(model, number) {
        return Ok(metadata);
    }
    let not_found = |code, message| Err(ApiError::new(StatusCode::NOT_FOUND, code, message));
    match (inference.state(model), inference.metadata(model, None), number) {
        (ModelState::Unknown, _, _) => {
            let names = inference.names().join(", ");
            let known = if names.is_empty() { "no model".to_owned() } else { names };
            not_found("unknown-model", format!("failed to find model {model:?}: this device serves {known}"))
        }
        (_, Some(active), Some(number)) => {
            let active = active.identity.number;
            let message = format!("failed to find version {number} of model {model:?}: the active version is {active}");
            not_found("unknown-version", message)
        }
        (state, ..) => Err(absent(model, &state)),
    }
}

fn absent(model: &str, state: &ModelState) -> ApiError {
    let (code, reason) = match state {
        ModelState::Absent(Absence::Denied) => ("denied", "its artifact is on the signed deny-list"),
        ModelState::Absent(Absence::NotReady(reason)) => ("no-model", reason.as_str()),
        ModelState::Ready | ModelState::Unknown => ("no-model", "it was replaced just now; ask again"),
    };
    let message = format!("failed to answer with model {model:?}: {reason}");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
}

pub(crate) fn model_ready(inference: &Inference, model: &str, number: Option<u64>) -> Result<ApiResponse, ApiError> {
    let metadata = find(inference, model, number)?;
    if !metadata.ready {
        return Err(absent(model, &inference.state(model)));
    }
    Ok(reply::json(StatusCode::OK, &json!({ "name": model, "ready": true })))
}

pub(crate) fn model(inference: &Inference, model: &str, number: Option<u64>) -> Result<ApiResponse, ApiError> {
    let metadata = find(inference, model, number)?;
    let tensors = |specs: &[TensorSpec]| specs.iter().map(tensor).collect::<Vec<_>>();
    let value = json!({
        "name": model,
        "versions": [metadata.identity.number.to_string()],
        "platform": PLATFORM,
        "inputs": tensors(&metadata.inputs),
        "outputs": tensors(&metadata.outputs),
        "parameters": parameters(&metadata),
    });
    Ok(reply::json(StatusCode::OK, &value))
}

/// The model's configuration in the form of the protocol's extension. `max_batch_size` 0 says that shapes are whole,
/// batch included, and that the server does not batch.
pub(crate) fn config(inference: &Inference, model: &str, number: Option<u64>) -> Result<ApiResponse, ApiError> {
    let metadata = find(inference, model, number)?;
    let tensors = |specs: &[TensorSpec]| {
        let row = |spec: &TensorSpec| json!({ "name": spec.name, "data_type": config_type(spec.element), "dims": sizes(&spec.shape) });
        specs.iter().map(row).collect::<Vec<_>>()
    };
    let value = json!({
        "name": model,
        "platform": PLATFORM,
        "backend": metadata.engine,
        "max_batch_size": 0,
        "input": tensors(&metadata.inputs),
        "output": tensors(&metadata.outputs),
        "model_transaction_policy": { "decoupled": false },
    });
    Ok(reply::json(StatusCode::OK, &value))
}

fn tensor(spec: &TensorSpec) -> Value {
    json!({ "name": spec.name, "datatype": spec.element.oip(), "shape": sizes(&spec.shape) })
}

/// Open dimensions are -1.
fn sizes(shape: &[Dimension]) -> Vec<i64> {
    let size = |size: &Dimension| match size {
        Dimension::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
        Dimension::Symbol(_) => -1,
    };
    shape.iter().map(size).collect()
}

/// The configuration spells one type differently from the rest of the protocol: FP32 is TYPE_FP32, BOOL TYPE_BOOL.
fn config_type(element: ElementType) -> String {
    format!("TYPE_{}", element.oip())
}

fn parameters(metadata: &ModelMetadata) -> Value {
    let identity = &metadata.identity;
    let mut value = json!({
        "artifact": identity.artifact,
        "version": identity.version,
        "digest": identity.digest,
        "engine": metadata.engine,
        "isa": metadata.isa,
    });
    if !metadata.labels.is_empty() {
        value["labels"] = json!(metadata.labels);
    }
    value
}
