//! Answers to devices' requests: objects from the store, and offers.
//!
//! Bytes are given as they lie in the store. A device checks every digest itself; a server that checked, too, would
//! only turn a damage that the device can name into silence.

use bytes::Bytes;
use cloud_sync_protocol::limits::{OBJECT_BYTES_MAX, OFFER_INLINE_BYTES_MAX, OFFER_INLINE_MAX};
use cloud_sync_protocol::{Declined, InlineObject, Offer, ReplyBody, Request, WhyDeclined};
use runtime_artifact::{Manifest, parse_index_part};
use runtime_trust::limits::ENVELOPE_BYTES_MAX;
use runtime_trust::{Digest, Envelope};

use crate::objects::{Kind, Objects, ObjectsError};

/// After how long a device may ask again when the store failed, in milliseconds.
const STORE_FAILED_RETRY_AFTER_MS: u32 = 1000;

/// The answer to one request.
pub(crate) async fn answer(objects: &Objects, request: Request) -> ReplyBody {
    let found = match request {
        Request::Chunk { digest } => {
            let object = objects.get(Kind::Chunk, &digest, OBJECT_BYTES_MAX as u64).await;
            object.map(|object| object.map(ReplyBody::Object))
        }
        Request::Offer { manifest } => offer(objects, manifest).await.map(|offer| offer.map(ReplyBody::Offer)),
    };
    match found {
        Ok(Some(body)) => body,
        Ok(None) => {
            ReplyBody::Declined(Declined::new(WhyDeclined::NotFound, 0, "the fleet's store has no such object"))
        }
        Err(error) => {
            tracing::error!(%error, "a device's request could not be answered");
            let why = WhyDeclined::Unavailable;
            ReplyBody::Declined(Declined::new(why, STORE_FAILED_RETRY_AFTER_MS, "the fleet's store failed"))
        }
    }
}

/// The offer of a manifest: index parts and chunks as far as they fit, in the order in which a device wants them.
/// What does not fit, or cannot be read, the device asks for by digest.
async fn offer(objects: &Objects, manifest: Digest) -> Result<Option<Bytes>, ObjectsError> {
    let Some(envelope) = objects.get(Kind::Manifest, &manifest, ENVELOPE_BYTES_MAX).await? else { return Ok(None) };
    let mut basket = Basket::default();
    if let Some(parsed) = Envelope::parse(&envelope).ok().and_then(|found| Manifest::parse(found.payload()).ok()) {
        fill(objects, &parsed, &mut basket).await?;
    }
    let offer = Offer { manifest, inline: basket.inline, mirrors: Vec::new() };
    // The basket keeps every limit of an offer.
    Ok(offer.encode().ok())
}

#[derive(Default)]
struct Basket {
    inline: Vec<InlineObject>,
    bytes: usize,
}

impl Basket {
    /// Takes the object if it has room for it, and gives back its bytes.
    async fn take(&mut self, objects: &Objects, digest: Digest, bytes: u64) -> Result<Option<Bytes>, ObjectsError> {
        let known = self.inline.iter().any(|object| object.digest == digest);
        let room = OFFER_INLINE_BYTES_MAX - self.bytes;
        if known || bytes > room as u64 || self.inline.len() >= OFFER_INLINE_MAX {
            return Ok(None);
        }
        let found = match objects.get(Kind::Chunk, &digest, bytes).await {
            Ok(found) => found,
            // Longer than the manifest says: the device finds out when it asks for it.
            Err(ObjectsError::TooLarge { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(object) = &found {
            self.bytes += object.len();
            self.inline.push(InlineObject { digest, bytes: object.clone() });
        }
        Ok(found)
    }
}

async fn fill(objects: &Objects, manifest: &Manifest, basket: &mut Basket) -> Result<(), ObjectsError> {
    let mut rows = Vec::new();
    for file in manifest.variants.iter().flat_map(|variant| variant.files.values()) {
        for part in &file.index {
            let part = basket.take(objects, part.digest, part.bytes).await?;
            rows.extend(part.and_then(|bytes| parse_index_part(&bytes).ok()).unwrap_or_default());
        }
    }
    for row in rows {
        basket.take(objects, row.stored_digest, row.stored_bytes).await?;
    }
    Ok(())
}
