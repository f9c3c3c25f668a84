//! What the fleet answers: a short binary header, then the object itself.
//!
//! ```text
//! offset  bytes  field
//!      0      4  magic "CKRP"
//!      4      2  version, little-endian: 1
//!      6      2  header length in bytes, little-endian: 48 in version 1
//!      8      1  kind: 1 object, 2 offer, 3 declined
//!      9      7  reserved, zero
//!     16     32  subject: the digest that was asked about
//!     48      -  body, to the end of the payload
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use runtime_trust::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{ProtocolError, check_size, check_version, malformed, read_json, write_json};
use crate::limits::{MESSAGE_BYTES_MAX, OBJECT_BYTES_MAX, PAYLOAD_BYTES_MAX, bounded_text};

/// The newest version of a reply's header.
pub const REPLY_VERSION: u16 = 1;

const WHAT: &str = "a reply's header";
const WHAT_DECLINED: &str = "a declined reply";
const MAGIC: &[u8; 4] = b"CKRP";
const HEADER_BYTES: usize = 48;
const KIND_OBJECT: u8 = 1;
const KIND_OFFER: u8 = 2;
const KIND_DECLINED: u8 = 3;
const DECLINED_SCHEMA: u32 = 1;
const DECLINED_BYTES_MAX: usize = 2048;

/// One answer to one [`Request`](crate::Request).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The digest that was asked about.
    pub subject: Digest,
    /// The answer.
    pub body: ReplyBody,
}

/// What the answer carries. None of it is trusted: an object is checked against its digest by whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// The stored bytes of the object.
    Object(Bytes),
    /// An encoded [`Offer`](crate::Offer).
    Offer(Bytes),
    /// The fleet does not answer, and why.
    Declined(Declined),
}

/// Why a server has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    /// The kind of reason, which decides whether asking again helps.
    pub why: WhyDeclined,
    /// Milliseconds to wait before asking again; 0 leaves it to the asker.
    pub retry_after_ms: u32,
    /// For people; at most 400 bytes.
    pub message: String,
}

impl Declined {
    /// A reason with its message cut to what the format holds.
    pub fn new(why: WhyDeclined, retry_after_ms: u32, message: &str) -> Self {
        Self { why, retry_after_ms, message: bounded_text(message, MESSAGE_BYTES_MAX) }
    }
}

/// Kinds of reason for which a server declines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhyDeclined {
    /// The server has no such object; asking again does not help until a new deployment.
    NotFound,
    /// The server has too much to do; ask fewer at a time, later.
    Busy,
    /// The server could not read the request.
    BadRequest,
    /// The server's own store failed.
    Unavailable,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclinedJson {
    schema: u32,
    why: WhyDeclined,
    retry_after_ms: u32,
    message: String,
}

impl Reply {
    /// An answer with the object's stored bytes.
    pub fn object(subject: Digest, bytes: Bytes) -> Self {
        Self { subject, body: ReplyBody::Object(bytes) }
    }

    /// An answer without.
    pub fn declined(subject: Digest, declined: Declined) -> Self {
        Self { subject, body: ReplyBody::Declined(declined) }
    }

    /// The payload.
    pub fn encode(&self) -> Result<Bytes, ProtocolError> {
        let declined;
        let (kind, body): (u8, &[u8]) = match &self.body {
            ReplyBody::Object(bytes) => {
                check_size("an object in a reply", bytes.len(), OBJECT_BYTES_MAX)?;
                (KIND_OBJECT, bytes)
            }
            ReplyBody::Offer(bytes) => (KIND_OFFER, bytes),
            ReplyBody::Declined(Declined { why, retry_after_ms, message }) => {
                let json = DeclinedJson {
                    schema: DECLINED_SCHEMA,
                    why: *why,
                    retry_after_ms: *retry_after_ms,
                    message: bounded_text(message, MESSAGE_BYTES_MAX),
                };
                declined = write_json(WHAT_DECLINED, &json, DECLINED_BYTES_MAX)?;
                (KIND_DECLINED, &declined)
            }
        };
        check_size("a reply", HEADER_BYTES + body.len(), PAYLOAD_BYTES_MAX)?;
        let mut payload = BytesMut::with_capacity(HEADER_BYTES + body.len());
        payload.put_slice(MAGIC);
        payload.put_u16_le(REPLY_VERSION);
        payload.put_u16_le(HEADER_BYTES as u16);
        payload.put_u8(kind);
        payload.put_bytes(0, 7);
        payload.put_slice(self.subject.as_bytes());
        payload.put_slice(body);
        Ok(payload.freeze())
    }

    /// Reads a payload; the body shares its memory.
    pub fn decode(payload: &Bytes) -> Result<Self, ProtocolError> {
        check_size("a reply", payload.len(), PAYLOAD_BYTES_MAX)?;
        // Magic and version stand at the same place in every version, so that a newer one can be named.
        let Some((start, _)) = payload.split_first_chunk::<8>() else {
            return Err(malformed(WHAT, format!("{} bytes are too few", payload.len())));
        };
        if &start[..4] != MAGIC {
            return Err(malformed(WHAT, "it does not begin with CKRP"));
        }
        check_version(WHAT, u16::from_le_bytes([start[4], start[5]]).into(), REPLY_VERSION.into())?;
        let header_bytes = usize::from(u16::from_le_bytes([start[6], start[7]]));
        if header_bytes != HEADER_BYTES || payload.len() < HEADER_BYTES {
            return Err(malformed(
                WHAT,
                format!("header length {header_bytes} in {} bytes, expected {HEADER_BYTES}", payload.len()),
            ));
        }
        if payload[9..16] != [0; 7] {
            return Err(malformed(WHAT, "reserved bytes are not zero"));
        }
        let subject: [u8; 32] = payload[16..HEADER_BYTES].try_into().expect("48 - 16 is 32");
        let body = payload.slice(HEADER_BYTES..);
        let body = match payload[8] {
            KIND_OBJECT => {
                check_size("an object in a reply", body.len(), OBJECT_BYTES_MAX)?;
                ReplyBody::Object(body)
            }
            KIND_OFFER => ReplyBody::Offer(body),
            KIND_DECLINED => {
                let json: DeclinedJson = read_json(WHAT_DECLINED, &body, DECLINED_BYTES_MAX, DECLINED_SCHEMA)?;
                ReplyBody::Declined(Declined::new(json.why, json.retry_after_ms, &json.message))
            }
            kind => return Err(malformed(WHAT, format!("unknown kind {kind}"))),
        };
        Ok(Self { subject: Digest::from_bytes(subject), body })
    }
}
