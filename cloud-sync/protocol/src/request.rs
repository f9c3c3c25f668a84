//! What a device asks the fleet for.

use runtime_trust::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{ProtocolError, read_json, write_json};
use crate::limits::REQUEST_BYTES_MAX;

/// The newest version of a request.
pub const REQUEST_SCHEMA: u32 = 1;

const WHAT: &str = "a device's request";

/// One question of a device, published on its `request` topic with correlation data.
///
/// Schema 1: `{"schema":1,"ask":"chunk"|"offer","digest":"<64 hex>"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// The object (chunk or index part) with this digest of its stored bytes.
    Chunk {
        /// SHA-256 of the stored bytes.
        digest: Digest,
    },
    /// The offer that goes with a manifest.
    Offer {
        /// SHA-256 of the manifest.
        manifest: Digest,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestJson {
    schema: u32,
    ask: Ask,
    digest: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ask {
    Chunk,
    Offer,
}

impl Request {
    /// The digest that is asked about, which the reply repeats.
    pub fn subject(&self) -> Digest {
        match self {
            Self::Chunk { digest } => *digest,
            Self::Offer { manifest } => *manifest,
        }
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let ask = match self {
            Self::Chunk { .. } => Ask::Chunk,
            Self::Offer { .. } => Ask::Offer,
        };
        let json = RequestJson { schema: REQUEST_SCHEMA, ask, digest: self.subject() };
        write_json(WHAT, &json, REQUEST_BYTES_MAX).expect("a request is about 120 bytes and has no map")
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let json: RequestJson = read_json(WHAT, bytes, REQUEST_BYTES_MAX, REQUEST_SCHEMA)?;
        Ok(match json.ask {
            Ask::Chunk => Self::Chunk { digest: json.digest },
            Ask::Offer => Self::Offer { manifest: json.digest },
        })
    }
}
