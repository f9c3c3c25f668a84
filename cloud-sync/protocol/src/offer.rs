//! How the content of a manifest can be had: objects inside the offer itself, and mirrors.
//!
//! An offer is unsigned and never trusted: a wrong one costs bytes, because every object is checked against a
//! digest that the signed manifest names.
//!
//! ```text
//! offset  bytes  field
//!      0      4  magic "CKOF"
//!      4      2  version, little-endian: 1
//!      6      2  reserved, zero
//!      8      4  length of the JSON part in bytes, little-endian
//!     12      -  JSON: {"schema":1,"manifest":"<hex>","inline":[{"digest":"<hex>","bytes":N}],"mirrors":["https://..."]}
//!      -      -  the inline objects' bytes in the order of the list, nothing behind them
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use runtime_trust::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{ProtocolError, check_size, check_version, malformed, read_json, write_json};
use crate::limits::{
    MIRROR_BYTES_MAX, OFFER_INLINE_BYTES_MAX, OFFER_INLINE_MAX, OFFER_MIRRORS_MAX, PAYLOAD_BYTES_MAX,
    REPLY_HEADER_BYTES_MAX,
};

/// The newest version of an offer.
pub const OFFER_VERSION: u16 = 1;

const WHAT: &str = "an offer";
const MAGIC: &[u8; 4] = b"CKOF";
const HEADER_BYTES: usize = 12;
const OFFER_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - REPLY_HEADER_BYTES_MAX;

/// What the fleet offers beside request and reply for one manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// SHA-256 of the manifest.
    pub manifest: Digest,
    /// Small objects, right here.
    pub inline: Vec<InlineObject>,
    /// Base URLs under which objects lie by their digest.
    pub mirrors: Vec<String>,
}

/// One object inside an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineObject {
    /// SHA-256 that the bytes are claimed to have; the taker checks it.
    pub digest: Digest,
    /// The stored bytes.
    pub bytes: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferJson {
    schema: u32,
    manifest: Digest,
    inline: Vec<InlineJson>,
    mirrors: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InlineJson {
    digest: Digest,
    bytes: u32,
}

impl Offer {
    /// The payload that rides in a [`ReplyBody::Offer`](crate::ReplyBody::Offer).
    pub fn encode(&self) -> Result<Bytes, ProtocolError> {
        let inline_bytes: usize = self.inline.iter().map(|object| object.bytes.len()).sum();
        check_counts(self.inline.len(), inline_bytes, &self.mirrors)?;
        let json = OfferJson {
            schema: OFFER_VERSION.into(),
            manifest: self.manifest,
            inline: self
                .inline
                .iter()
                .map(|object| InlineJson { digest: object.digest, bytes: object.bytes.len() as u32 })
                .collect(),
            mirrors: self.mirrors.clone(),
        };
        let json = write_json(WHAT, &json, OFFER_BYTES_MAX)?;
        let total = HEADER_BYTES + json.len() + inline_bytes;
        check_size(WHAT, total, OFFER_BYTES_MAX)?;
        let mut payload = BytesMut::with_capacity(total);
        payload.put_slice(MAGIC);
        payload.put_u16_le(OFFER_VERSION);
        payload.put_u16_le(0);
        payload.put_u32_le(json.len() as u32);
        payload.put_slice(&json);
        for object in &self.inline {
            payload.put_slice(&object.bytes);
        }
        Ok(payload.freeze())
    }

    /// Reads a payload; inline objects share its memory.
    pub fn decode(payload: &Bytes) -> Result<Self, ProtocolError> {
        check_size(WHAT, payload.len(), OFFER_BYTES_MAX)?;
        let Some((header, rest)) = payload.split_first_chunk::<HEADER_BYTES>() else {
            return Err(malformed(WHAT, format!("{} bytes are too few", payload.len())));
        };
        if &header[..4] != MAGIC {
            return Err(malformed(WHAT, "it does not begin with CKOF"));
        }
        check_version(WHAT, u16::from_le_bytes([header[4], header[5]]).into(), OFFER_VERSION.into())?;
        if header[6..8] != [0; 2] {
            return Err(malformed(WHAT, "reserved bytes are not zero"));
        }
        let json_bytes = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let Some(json) = rest.get(..json_bytes) else {
            return Err(malformed(WHAT, format!("{json_bytes} bytes of JSON announced, {} there", rest.len())));
        };
        let json: OfferJson = read_json(WHAT, json, OFFER_BYTES_MAX, OFFER_VERSION.into())?;
        let inline_bytes = json.inline.iter().fold(0_usize, |sum, row| sum.saturating_add(row.bytes as usize));
        check_counts(json.inline.len(), inline_bytes, &json.mirrors)?;
        if rest.len() - json_bytes != inline_bytes {
            return Err(malformed(
                WHAT,
                format!("{inline_bytes} inline bytes listed, {} there", rest.len() - json_bytes),
            ));
        }
        let mut offset = HEADER_BYTES + json_bytes;
        let mut inline = Vec::with_capacity(json.inline.len());
        for row in &json.inline {
            let end = offset + row.bytes as usize;
            inline.push(InlineObject { digest: row.digest, bytes: payload.slice(offset..end) });
            offset = end;
        }
        Ok(Self { manifest: json.manifest, inline, mirrors: json.mirrors })
    }
}

fn check_counts(inline: usize, inline_bytes: usize, mirrors: &[String]) -> Result<(), ProtocolError> {
    if inline > OFFER_INLINE_MAX {
        return Err(malformed(WHAT, format!("{inline} inline objects, at most {OFFER_INLINE_MAX} are allowed")));
    }
    check_size("an offer's inline objects", inline_bytes, OFFER_INLINE_BYTES_MAX)?;
    if mirrors.len() > OFFER_MIRRORS_MAX {
        return Err(malformed(WHAT, format!("{} mirrors, at most {OFFER_MIRRORS_MAX} are allowed", mirrors.len())));
    }
    for mirror in mirrors {
        check_size("a mirror's URL", mirror.len(), MIRROR_BYTES_MAX)?;
    }
    Ok(())
}
