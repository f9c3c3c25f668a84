//! DSSE envelopes: a payload, its type, and signatures over both.
//!
//! One payload type per kind of statement, so that nothing signed as one kind is accepted as another.
//! An envelope has exactly one spelling for its content: what [`Envelope::to_bytes`] writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::document::check_size;
use crate::limits::{ENVELOPE_BYTES_MAX, SIGNATURES_MAX};
use crate::refusal::{Reason, Refusal, Step};
use crate::signature::{Signature, require_threshold};
use crate::{RoleKeys, json};

/// What an envelope's payload states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayloadType {
    /// An artifact's manifest, signed by release.
    Manifest,
    /// A channel's desired state, signed by deploy.
    Deployment,
}

impl PayloadType {
    /// All payload types.
    pub const ALL: [Self; 2] = [Self::Manifest, Self::Deployment];

    /// The media type that is signed with the payload.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Manifest => "application/vnd.cask.manifest.v1+json",
            Self::Deployment => "application/vnd.cask.deployment.v1+json",
        }
    }

    fn from_media_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == text)
    }

    fn step(self) -> Step {
        match self {
            Self::Manifest => Step::Manifest,
            Self::Deployment => Step::Deployment,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Manifest => "the manifest's envelope",
            Self::Deployment => "the deployment's envelope",
        }
    }
}

/// A DSSE envelope, well-formed. Its payload is unverified until [`Envelope::verify`] has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    kind: PayloadType,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// The JSON, in the order of its fields. Unknown fields are refused: no byte lies outside a check.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: String,
    sig: String,
}

/// The bytes that DSSE signs: the pre-authentication encoding of type and payload.
fn signed_bytes(kind: PayloadType, payload: &[u8]) -> Vec<u8> {
    let media_type = kind.media_type();
    let mut bytes = format!("DSSEv1 {} {media_type} {} ", media_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// Reads an envelope; nothing in it is believed yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        Self::parse_at(Step::Manifest, "an envelope", bytes)
    }

    /// Reads an envelope that must be of one kind.
    pub(crate) fn parse_kind(kind: PayloadType, bytes: &[u8]) -> Result<Self, Refusal> {
        let envelope = Self::parse_at(kind.step(), kind.what(), bytes)?;
        envelope.require_kind(kind)?;
        Ok(envelope)
    }

    fn parse_at(step: Step, what: &str, bytes: &[u8]) -> Result<Self, Refusal> {
        check_size(what, bytes, ENVELOPE_BYTES_MAX)?;
        let malformed = |problem: String| {
            let text = format!("trust {what}: {problem}; fetch it again or sign it again");
            Refusal::new(step, Reason::Malformed, text)
        };
        let wire = json::parse_strict(bytes)
            .and_then(serde_json::from_value::<Wire>)
            .map_err(|error| malformed(error.to_string()))?;
        let Some(kind) = PayloadType::from_media_type(&wire.payload_type) else {
            return Err(Refusal::new(
                step,
                Reason::WrongPayloadType,
                format!(
                    "trust {what}: its payload type is {:?}, this program knows {}; it may need an update",
                    wire.payload_type.chars().take(80).collect::<String>(),
                    PayloadType::ALL.map(PayloadType::media_type).join(" and "),
                ),
            ));
        };
        let payload = STANDARD
            .decode(&wire.payload)
            .map_err(|error| malformed(format!("its payload is not canonical base64: {error}")))?;
        if wire.signatures.len() > SIGNATURES_MAX {
            let found = wire.signatures.len();
            return Err(malformed(format!("it has {found} signatures, at most {SIGNATURES_MAX} are allowed")));
        }
        let signatures = wire
            .signatures
            .into_iter()
            .map(|signature| {
                let key = signature.keyid.parse().map_err(|error| malformed(format!("{error}")))?;
                let bytes = STANDARD
                    .decode(&signature.sig)
                    .map_err(|error| malformed(format!("a signature is not canonical base64: {error}")))?;
                Ok(Signature { key, bytes })
            })
            .collect::<Result<Vec<_>, Refusal>>()?;
        let envelope = Self { kind, payload, signatures };
        // Spaces, escapes or another order of fields would let one statement have many digests.
        if envelope.to_bytes() != bytes {
            return Err(malformed(
                "it is not in its one canonical spelling (compact JSON: payload, payloadType, signatures)".to_owned(),
            ));
        }
        Ok(envelope)
    }

    /// What it claims to state.
    pub fn kind(&self) -> PayloadType {
        self.kind
    }

    /// The payload, UNVERIFIED: believe it only after [`Envelope::verify`] with the kind you expect.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(crate) fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    fn require_kind(&self, kind: PayloadType) -> Result<(), Refusal> {
        if self.kind == kind {
            return Ok(());
        }
        Err(Refusal::new(
            kind.step(),
            Reason::WrongPayloadType,
            format!(
                "trust {}: its payload type is {}, expected {}; it was signed as something else and proves \
                 nothing here",
                kind.what(),
                self.kind.media_type(),
                kind.media_type(),
            ),
        ))
    }

    /// Refuses unless `role`'s threshold of keys signed the payload as `kind`.
    pub fn verify(&self, kind: PayloadType, role: &RoleKeys) -> Result<(), Refusal> {
        self.require_kind(kind)?;
        let who = match kind {
            PayloadType::Manifest => "release keys",
            PayloadType::Deployment => "deploy keys",
        };
        let message = signed_bytes(kind, &self.payload);
        require_threshold(kind.step(), kind.what(), who, role, &message, &self.signatures)
    }

    /// Its one spelling.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            payload: STANDARD.encode(&self.payload),
            payload_type: self.kind.media_type().to_owned(),
            signatures: self
                .signatures
                .iter()
                .map(|signature| WireSignature {
                    keyid: signature.key.to_string(),
                    sig: STANDARD.encode(&signature.bytes),
                })
                .collect(),
        };
        serde_json::to_vec(&wire).expect("texts always serialize")
    }
}

#[cfg(feature = "signing")]
impl Envelope {
    /// A new envelope, signed by each of `keys`.
    pub fn sign(kind: PayloadType, payload: Vec<u8>, keys: &[&crate::SigningKey]) -> Self {
        let mut envelope = Self { kind, payload, signatures: Vec::new() };
        for key in keys {
            envelope.add_signature(key);
        }
        envelope
    }

    /// Adds a key's signature; one that this key made before is replaced.
    pub fn add_signature(&mut self, key: &crate::SigningKey) {
        let message = signed_bytes(self.kind, &self.payload);
        self.signatures.retain(|signature| signature.key != key.id());
        self.signatures.push(Signature { key: key.id(), bytes: key.sign(&message).to_vec() });
    }
}
