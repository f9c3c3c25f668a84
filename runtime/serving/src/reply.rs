//! Replies: JSON, JSON followed by raw tensors, or an error; compressed when the client asks.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use runtime_inference::InferReply;
use serde::Serialize;

use crate::error::ApiError;
use crate::limits::COMPRESS_BYTES_MIN;
use crate::request::{Asked, JSON_LENGTH_HEADER};
use crate::tensor_json::{Flat, unwritable};

pub(crate) type ApiResponse = Response<Full<Bytes>>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const RAW: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// Seconds after which a client that met a full queue may try again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// A reply with a JSON value.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> ApiResponse {
    let bytes = serde_json::to_vec(value).expect("replies have string keys and no failing parts");
    let mut response = Response::new(Full::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// A reply with an error.
pub(crate) fn error(error: &ApiError) -> ApiResponse {
    let mut response = Response::new(Full::from(error.json()));
    *response.status_mut() = error.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    if error.close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if error.code == "busy" {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_S);
    }
    if error.status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = if error.message.contains("takes POST") { "POST" } else { "GET, HEAD" };
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

#[derive(Serialize)]
struct InferJson<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: Parameters<'a>,
    outputs: Vec<OutputJson<'a>>,
}

/// Which artifact, engine and rung gave the answer: on every reply, so that no fallback is silent.
#[derive(Serialize)]
struct Parameters<'a> {
    artifact: &'a str,
    version: &'a str,
    digest: &'a str,
    engine: &'a str,
    rung: u8,
}

#[derive(Serialize)]
struct OutputJson<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<OutputParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Flat<'a>>,
}

#[derive(Serialize)]
struct OutputParameters {
    binary_data_size: usize,
}

/// The packing that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Deflate,
}

/// What the client's `Accept-Encoding` asks for; nothing asks for nothing.
pub(crate) fn packing(headers: &HeaderMap) -> Packing {
    let values = headers.get_all(header::ACCEPT_ENCODING);
    let named = |wanted: &str| {
        values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|part| {
            let mut pieces = part.split(';').map(str::trim);
            let refused = |piece: &str| piece.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
            pieces.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted)) && !pieces.any(refused)
        })
    };
    match (named("gzip"), named("deflate")) {
        (true, _) => Packing::Gzip,
        (false, true) => Packing::Deflate,
        _ => Packing::Plain,
    }
}

/// An inference's reply. May take a while for large outputs.
pub(crate) fn inferred(
    model: &str,
    asked: &Asked,
    reply: &InferReply,
    packing: Packing,
) -> Result<ApiResponse, ApiError> {
    let mut outputs = Vec::with_capacity(reply.outputs.len());
    let mut raw = Vec::new();
    for (name, tensor) in &reply.outputs {
        let wanted_raw = asked.outputs.iter().find(|(wanted, _)| wanted == name).map_or(asked.all_raw, |(_, raw)| *raw);
        if !wanted_raw && let Some(reason) = unwritable(tensor) {
            return Err(ApiError::bad(format!("output {name:?}: {reason}")));
        }
        if wanted_raw {
            raw.push(tensor.bytes());
        }
        outputs.push(OutputJson {
            name,
            datatype: tensor.element().oip(),
            shape: tensor.shape(),
            parameters: wanted_raw.then(|| OutputParameters { binary_data_size: tensor.bytes().len() }),
            data: (!wanted_raw).then_some(Flat(tensor)),
        });
    }
    let identity = &reply.identity;
    let json = InferJson {
        model_name: model,
        model_version: identity.number.to_string(),
        id: asked.id.as_deref(),
        parameters: Parameters {
            artifact: &identity.artifact,
            version: &identity.version,
            digest: &identity.digest,
            engine: &reply.engine,
            rung: reply.rung,
        },
        outputs,
    };
    let mut body = serde_json::to_vec(&json).expect("unwritable() was asked about every output");
    let json_length = body.len();
    let has_raw = !raw.is_empty();
    for bytes in raw {
        body.extend_from_slice(bytes);
    }
    let (body, encoding) = pack(body, packing);
    let mut response = Response::new(Full::from(body));
    let headers = response.headers_mut();
    if has_raw {
        headers.insert(JSON_LENGTH_HEADER, HeaderValue::from(json_length));
    }
    headers.insert(header::CONTENT_TYPE, if has_raw { RAW } else { JSON });
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Ok(response)
}

fn pack(body: Vec<u8>, packing: Packing) -> (Vec<u8>, Option<&'static str>) {
    if body.len() < COMPRESS_BYTES_MIN {
        return (body, None);
    }
    // Writing into memory does not fail; if it did, the plain body would be right, too.
    let (packed, name) = match packing {
        Packing::Plain => return (body, None),
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            (encoder.write_all(&body).and_then(|()| encoder.finish()), "gzip")
        }
        Packing::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            (encoder.write_all(&body).and_then(|()| encoder.finish()), "deflate")
        }
    };
    match packed {
        Ok(packed) => (packed, Some(name)),
        Err(_) => (body, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_packed_only_when_asked() {
        for (value, expected) in [
            (None, Packing::Plain),
            (Some(""), Packing::Plain),
            (Some("gzip"), Packing::Gzip),
            (Some("br, GZIP;q=0.5"), Packing::Gzip),
            (Some("deflate, gzip;q=0"), Packing::Deflate),
            (Some("gzip; q=0.000"), Packing::Plain),
            (Some("deflate"), Packing::Deflate),
            (Some("*"), Packing::Plain),
            (Some("identity"), Packing::Plain),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(packing(&headers), expected, "{value:?}");
        }
    }
}
