//! What a model asks of a device.

use serde::{Deserialize, Serialize};

/// What a variant of an artifact needs of the device that runs it.
///
/// It is part of a signed manifest, so an unknown field is refused: a requirement that this version
/// does not understand must never be taken as met.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// Instruction set extensions that must all be there, as Rust's feature detection names them.
    #[serde(default)]
    pub cpu_features: Vec<String>,
    /// Main memory that the device must have, in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// The engine that must run it; any will do when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_it_does_not_understand() {
        let error = serde_json::from_str::<Requirements>(r#"{"memory_bytes":1,"tpu":true}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `tpu`"), "{error}");
    }

    #[test]
    fn says_nothing_of_an_engine_that_is_not_required() {
        let text = serde_json::to_string(&Requirements::default()).unwrap();
        assert_eq!(text, r#"{"cpu_features":[],"memory_bytes":0}"#);
        assert_eq!(serde_json::from_str::<Requirements>(&text).unwrap(), Requirements::default());
    }
}
