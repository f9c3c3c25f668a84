//! A deployment: the signed desired state of one channel.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::limits::{DEPLOYMENT_BYTES_MAX, MODELS_MAX};
use crate::refusal::{Reason, Refusal, Step};
use crate::{Digest, check_name, document::check_size, is_plain_name, json};

/// The version of the deployment format that this program reads and writes.
pub const DEPLOYMENT_SCHEMA: u32 = 1;

/// What a channel's devices are to run. A value of this type is a claim;
/// [`TrustState::check_deployment`](crate::TrustState::check_deployment) makes it a trusted one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Format version: [`DEPLOYMENT_SCHEMA`].
    pub schema: u32,
    /// The fleet it is for.
    pub fleet: String,
    /// The channel it is for.
    pub channel: String,
    /// Grows with every deployment of a channel; the controller's term stands in the high 32 bits.
    pub sequence: u64,
    /// When it was signed, in seconds since 1970.
    pub issued: u64,
    /// When devices stop taking it, in seconds since 1970.
    pub expires: u64,
    /// The models that activate together, each name once.
    pub models: Vec<DeployedModel>,
}

/// One model of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployedModel {
    /// The artifact's name.
    pub name: String,
    /// SHA-256 of its manifest.
    pub digest: Digest,
}

/// Read first, so that a newer format is told by its version and not by its unknown fields.
#[derive(Deserialize)]
struct SchemaOnly {
    schema: u32,
}

fn malformed(problem: impl std::fmt::Display) -> Refusal {
    let text = format!("trust the deployment: {problem}; publish it again");
    Refusal::new(Step::Deployment, Reason::Malformed, text)
}

impl Deployment {
    /// Reads a deployment's bytes; who signed them is not known here.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        check_size("the deployment", bytes, DEPLOYMENT_BYTES_MAX)?;
        let value = json::parse_strict(bytes).map_err(malformed)?;
        let SchemaOnly { schema } = SchemaOnly::deserialize(&value).map_err(malformed)?;
        if schema != DEPLOYMENT_SCHEMA {
            return Err(Refusal::new(
                Step::Deployment,
                Reason::UnsupportedVersion,
                format!(
                    "trust the deployment: it has schema {schema}, this program reads {DEPLOYMENT_SCHEMA}; \
                     update this program"
                ),
            ));
        }
        let deployment: Self = serde_json::from_value(value).map_err(malformed)?;
        deployment.check_form().map_err(malformed)?;
        Ok(deployment)
    }

    fn check_form(&self) -> Result<(), String> {
        for (what, name) in [("fleet", &self.fleet), ("channel", &self.channel)] {
            if !is_plain_name(name) {
                return Err(format!("its {what} {name:?} is no plain name"));
            }
        }
        if self.models.is_empty() || self.models.len() > MODELS_MAX {
            let found = self.models.len();
            return Err(format!("it names {found} models, expected 1 to {MODELS_MAX}"));
        }
        let mut names = BTreeSet::new();
        for model in &self.models {
            check_name(&model.name).map_err(|error| error.to_string())?;
            if !names.insert(&model.name) {
                return Err(format!("it names the model {:?} twice", model.name));
            }
        }
        if self.issued > self.expires {
            return Err("it was issued after its own expiry".to_owned());
        }
        Ok(())
    }

    /// The bytes to sign: canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).expect("texts and integers always serialize");
        json::canonical(&value).expect("it has no floats")
    }
}
