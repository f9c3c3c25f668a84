//! Reads a request's body within limits of size and time, and unpacks it within the same limit of size.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::{GzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::ApiError;
use crate::limits::ServingLimits;

/// Bytes that one permit of the budget stands for.
const UNIT_BYTES: u64 = 1 << 10;
/// Time in which a refused body is still taken and thrown away, so that a client that writes before it reads gets
/// the refusal and not a reset connection.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);
/// Bytes unpacked at a time.
const STEP_BYTES: usize = 64 << 10;

/// The memory that all bodies together may take.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new(limits: &ServingLimits) -> Self {
        let units = (limits.bodies_bytes_max / UNIT_BYTES).clamp(1, u32::MAX.into());
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS as u64) as usize)))
    }
}

/// A body in memory, with its part of the budget.
#[derive(Debug)]
pub(crate) struct HeldBody {
    pub(crate) bytes: Vec<u8>,
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
    permit_bytes: u64,
}

impl HeldBody {
    fn new(budget: &Budget) -> Self {
        Self { bytes: Vec::new(), budget: budget.clone(), permit: None, permit_bytes: 0 }
    }

    fn push(&mut self, piece: &[u8], bytes_max: u64) -> Result<(), ApiError> {
        let length = self.bytes.len() as u64 + piece.len() as u64;
        if length > bytes_max {
            return Err(ApiError::too_large(None, bytes_max));
        }
        if length > self.permit_bytes {
            let units = (length - self.permit_bytes).div_ceil(UNIT_BYTES);
            let more = self.budget.0.clone().try_acquire_many_owned(units as u32).map_err(|_| {
                let message = "too many large requests at the same time; try again later";
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).closing()
            })?;
            self.permit_bytes += units * UNIT_BYTES;
            match &mut self.permit {
                Some(permit) => permit.merge(more),
                None => self.permit = Some(more),
            }
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

/// Reads a body. A length that is announced and too large is refused before anything is read.
pub(crate) async fn read(mut body: Incoming, limits: &ServingLimits, budget: &Budget) -> Result<HeldBody, ApiError> {
    let announced = body.size_hint().exact();
    let mut held = HeldBody::new(budget);
    let refusal = if announced.is_some_and(|bytes| bytes > limits.body_bytes_max) {
        ApiError::too_large(announced, limits.body_bytes_max)
    } else {
        match read_pieces(&mut body, limits, &mut held).await {
            Ok(()) => return Ok(held),
            Err(refusal) => refusal,
        }
    };
    if refusal.close {
        discard(body);
    }
    Err(refusal)
}

async fn read_pieces(body: &mut Incoming, limits: &ServingLimits, held: &mut HeldBody) -> Result<(), ApiError> {
    let by = Instant::now() + limits.body_time_max;
    loop {
        let pause_by = by.min(Instant::now() + limits.body_pause_max);
        let frame = match tokio::time::timeout_at(pause_by, body.frame()).await {
            Err(_) => {
                let message = format!("the request's body took too long; {} bytes came", held.bytes.len());
                return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message).closing());
            }
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => {
                return Err(ApiError::bad(format!("the request's body broke off: {error}")).closing());
            }
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(piece) = frame.into_data() {
            held.push(&piece, limits.body_bytes_max)?;
        }
    }
}

/// Takes the rest of a refused body for a short while and throws it away.
pub(crate) fn discard(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move {
        // The end of the time and the end of the body are the same here: the connection closes.
        let _ = tokio::time::timeout(DRAIN_TIME_MAX, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    });
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
    Deflate,
}

/// The packing that a request names.
pub(crate) fn encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(Encoding::Plain) };
    let name = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
    match (name.as_str(), values.next()) {
        ("" | "identity", None) => Ok(Encoding::Plain),
        ("gzip" | "x-gzip", None) => Ok(Encoding::Gzip),
        ("deflate", None) => Ok(Encoding::Deflate),
        _ => {
            let name: String = name.chars().take(40).collect();
            let message = format!("the content encoding {name:?} is not known here; use gzip, deflate or none");
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", message))
        }
    }
}

/// Unpacks a body; one that unpacks to more than the limit is refused as soon as it does. May take a while.
pub(crate) fn unpack(packed: HeldBody, encoding: Encoding, bytes_max: u64) -> Result<HeldBody, ApiError> {
    match encoding {
        Encoding::Plain => Ok(packed),
        Encoding::Gzip => unpack_from(GzDecoder::new(packed.bytes.as_slice()), "gzip", &packed.budget, bytes_max),
        Encoding::Deflate => {
            unpack_from(ZlibDecoder::new(packed.bytes.as_slice()), "deflate", &packed.budget, bytes_max)
        }
    }
}

fn unpack_from(
    mut decoder: impl Read,
    name: &'static str,
    budget: &Budget,
    bytes_max: u64,
) -> Result<HeldBody, ApiError> {
    let mut plain = HeldBody::new(budget);
    let mut step = vec![0; STEP_BYTES];
    loop {
        match decoder.read(&mut step) {
            Ok(0) => return Ok(plain),
            Ok(count) => plain.push(&step[..count], bytes_max).map_err(|error| ApiError { close: false, ..error })?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ApiError::bad(format!("the request's body is no {name}: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::io::Write;

    fn held(bytes: Vec<u8>, limits: &ServingLimits) -> HeldBody {
        let mut held = HeldBody::new(&Budget::new(limits));
        held.push(&bytes, u64::MAX).unwrap();
        held
    }

    #[test]
    fn packed_bodies_come_back() {
        let limits = ServingLimits::default();
        let plain = b"hello ".repeat(1000);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&plain).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&plain).unwrap();
        for (encoding, packed) in [
            (Encoding::Plain, plain.clone()),
            (Encoding::Gzip, gzip.finish().unwrap()),
            (Encoding::Deflate, zlib.finish().unwrap()),
        ] {
            let body = unpack(held(packed, &limits), encoding, limits.body_bytes_max).unwrap();
            assert_eq!(body.bytes, plain, "{encoding:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit_and_gives_its_budget_back() {
        let limits = ServingLimits { body_bytes_max: 1 << 20, bodies_bytes_max: 2 << 20, ..ServingLimits::default() };
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..100 {
            bomb.write_all(&vec![0; 1 << 20]).unwrap();
        }
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 200_000);
        let packed = held(bomb, &limits);
        let budget = packed.budget.clone();
        let error = unpack(packed, Encoding::Gzip, limits.body_bytes_max).unwrap_err();
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(budget.0.available_permits(), 2048);
    }

    #[test]
    fn garbage_and_truncation_are_errors() {
        let limits = ServingLimits::default();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&[7; 1000]).unwrap();
        let mut cut = gzip.finish().unwrap();
        cut.truncate(cut.len() - 9);
        for (encoding, bytes) in
            [(Encoding::Gzip, b"no gzip".to_vec()), (Encoding::Deflate, b"no deflate".to_vec()), (Encoding::Gzip, cut)]
        {
            let error = unpack(held(bytes, &limits), encoding, limits.body_bytes_max).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_REQUEST, "{encoding:?}");
        }
    }

    #[test]
    fn bodies_share_one_budget() {
        let limits = ServingLimits { bodies_bytes_max: 10 << 10, ..ServingLimits::default() };
        let budget = Budget::new(&limits);
        let mut first = HeldBody::new(&budget);
        let mut second = HeldBody::new(&budget);
        first.push(&[0; 8 << 10], limits.body_bytes_max).unwrap();
        let error = second.push(&[0; 4 << 10], limits.body_bytes_max).unwrap_err();
        assert_eq!((error.status, error.code), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
        drop(first);
        second.push(&[0; 4 << 10], limits.body_bytes_max).unwrap();
    }
}
