//! An error as a client gets it: a status and `{"error": "..."}`.

use hyper::StatusCode;
use runtime_inference::InferError;

/// Characters of an error's text; longer ones are cut.
const MESSAGE_CHARACTERS_MAX: usize = 2000;

/// A refusal on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// A short code for programs, in kebab case.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The rest of the request cannot be trusted or is not wanted: the connection ends with the reply.
    pub(crate) close: bool,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self { status, code, message: message.chars().take(MESSAGE_CHARACTERS_MAX).collect(), close: false }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    pub(crate) fn too_large(found: Option<u64>, max: u64) -> Self {
        let found = found.map_or_else(|| "more".to_owned(), |found| format!("{found} bytes"));
        let message = format!("the request's body is too large: {found}, at most {max} bytes are taken");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message).closing()
    }

    /// `{"error": "...", "code": "..."}`; clients of the protocol read `error`.
    pub(crate) fn json(&self) -> Vec<u8> {
        serde_json::json!({ "error": self.message, "code": self.code }).to_string().into_bytes()
    }
}

impl From<InferError> for ApiError {
    fn from(error: InferError) -> Self {
        let status = match &error {
            InferError::UnknownModel { .. } | InferError::UnknownVersion { .. } => StatusCode::NOT_FOUND,
            InferError::BadInput { .. } => StatusCode::BAD_REQUEST,
            InferError::Deadline => StatusCode::GATEWAY_TIMEOUT,
            InferError::Busy { .. }
            | InferError::Denied { .. }
            | InferError::NoModel { .. }
            | InferError::Failed { .. }
            | InferError::Closed => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.code(), format!("failed to {error}"))
    }
}
