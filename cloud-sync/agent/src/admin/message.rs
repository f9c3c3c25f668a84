//! The lines on the admin socket, version 1.
//!
//! ```text
//! {"schema":1,"request":{"op":"rollback","model":"digits"}}
//! {"schema":1,"reply":{...}}   or   {"schema":1,"failed":{"code":4,"message":"..","hint":".."}}
//! ```

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runtime_artifact::Contract;
use runtime_console::{ExitCode, Failure};
use runtime_tensor::{ElementType, NamedTensor, Tensor};
use serde::{Deserialize, Serialize};

use crate::status::VersionShown;

/// The version of the lines.
pub(crate) const ADMIN_SCHEMA: u32 = 1;
/// The longest line; tensors travel in base64.
pub(crate) const LINE_BYTES_MAX: usize = 32 << 20;

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) schema: u32,
    pub(crate) request: Request,
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// The agent's status.
    Status {},
    /// Install a sealed file; the path is the agent's, so it must be absolute.
    Install { path: PathBuf },
    /// Go back to the last good version.
    Rollback { model: Option<String> },
    /// A model's contract.
    Describe { model: Option<String> },
    /// One inference.
    Infer { model: String, inputs: Vec<WireTensor>, strict: bool },
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) schema: u32,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// Well; the value's type depends on the request.
    Reply(serde_json::Value),
    /// Not well.
    Failed(Failed),
}

/// A failure as the command line prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl From<&Failure> for Failed {
    fn from(failure: &Failure) -> Self {
        Failed {
            code: failure.code().number(),
            message: failure.message().to_owned(),
            hint: failure.hint().map(str::to_owned),
        }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        let code = ExitCode::ALL.into_iter().find(|code| code.number() == failed.code).unwrap_or(ExitCode::Bug);
        let failure = Failure::new(code, failed.message);
        match failed.hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// What became active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstallReply {
    /// Version of this object: 1.
    pub(crate) schema: u32,
    pub(crate) models: Vec<Activated>,
}

/// One model that became active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Activated {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) version: VersionShown,
}

/// How to make a model's inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DescribeReply {
    pub(crate) name: String,
    pub(crate) contract: Contract,
}

/// One inference's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InferReplyBody {
    pub(crate) artifact: String,
    pub(crate) version: String,
    pub(crate) number: u64,
    pub(crate) digest: String,
    pub(crate) engine: String,
    pub(crate) rung: u8,
    pub(crate) outputs: Vec<WireTensor>,
}

/// A tensor as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireTensor {
    pub(crate) name: String,
    /// Element type as the inference API spells it.
    pub(crate) datatype: String,
    pub(crate) shape: Vec<usize>,
    /// Little-endian, row-major, in base64.
    pub(crate) data: String,
}

impl From<&NamedTensor> for WireTensor {
    fn from((name, tensor): &NamedTensor) -> Self {
        WireTensor {
            name: name.clone(),
            datatype: tensor.element().oip().to_owned(),
            shape: tensor.shape().to_vec(),
            data: STANDARD.encode(tensor.bytes()),
        }
    }
}

impl WireTensor {
    /// The tensor; the text says what is wrong with it.
    pub(crate) fn tensor(&self) -> Result<NamedTensor, String> {
        let element = ElementType::from_oip(&self.datatype)
            .ok_or_else(|| format!("tensor {:?}: unknown datatype {:?}", self.name, self.datatype))?;
        let bytes = STANDARD.decode(&self.data).map_err(|error| format!("tensor {:?}: {error}", self.name))?;
        let tensor = Tensor::new(element, self.shape.clone(), &bytes)
            .map_err(|error| format!("tensor {:?}: failed to {error}", self.name))?;
        Ok((self.name.clone(), tensor))
    }
}

/// A request as its line.
pub(crate) fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("maps with text keys, numbers and texts serialize to JSON");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_documented() {
        let asked = Asked { schema: ADMIN_SCHEMA, request: Request::Rollback { model: Some("digits".to_owned()) } };
        let text = "{\"schema\":1,\"request\":{\"op\":\"rollback\",\"model\":\"digits\"}}\n";
        assert_eq!(line(&asked), text.as_bytes());
        assert_eq!(serde_json::from_str::<Asked>(text).expect("its own line"), asked);
        let failed = Failed { code: 4, message: "no".to_owned(), hint: None };
        let answered = Answered { schema: ADMIN_SCHEMA, outcome: Outcome::Failed(failed) };
        let text = "{\"schema\":1,\"failed\":{\"code\":4,\"message\":\"no\",\"hint\":null}}\n";
        assert_eq!(line(&answered), text.as_bytes());
        assert_eq!(serde_json::from_str::<Answered>(text).expect("its own line"), answered);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let text = r#"{"schema":1,"request":{"op":"rollback","model":null,"force":true}}"#;
        assert!(serde_json::from_str::<Asked>(text).is_err());
    }

    #[test]
    fn tensors_survive_and_wrong_ones_are_named() {
        let tensor = Tensor::from_f32(vec![1, 2], vec![1.5, -2.0]).expect("two elements");
        let wire = WireTensor::from(&("x".to_owned(), tensor.clone()));
        assert_eq!(wire.tensor(), Ok(("x".to_owned(), tensor)));
        for (change, expected) in [
            (WireTensor { datatype: "FP31".to_owned(), ..wire.clone() }, "unknown datatype"),
            (WireTensor { data: "%%%".to_owned(), ..wire.clone() }, "Invalid"),
            (WireTensor { shape: vec![3], ..wire }, "failed to"),
        ] {
            let error = change.tensor().expect_err("a wrong tensor");
            assert!(error.contains(expected), "{error}");
        }
    }
}
