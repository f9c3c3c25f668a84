//! Compressed bodies in both directions.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use runtime_serving::ServingLimits;
use serde_json::json;

use crate::client::{connect, post};
use crate::host::Host;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn rows_json(rows: usize) -> String {
    json!({ "inputs": [{ "name": "x", "shape": [rows, 4], "datatype": "FP32", "data": vec![1.25; 4 * rows] }] })
        .to_string()
}

#[test]
fn packed_requests_are_read() {
    let host = Host::start();
    let mut client = connect(host.address);
    let json = rows_json(3);
    for (name, body) in [("gzip", gzip(json.as_bytes())), ("deflate", deflate(json.as_bytes()))] {
        let more = format!("content-encoding: {name}\r\n");
        let answer = post(&mut client, "/v2/models/rows/infer", &more, &body);
        assert_eq!(answer.json()["outputs"][0]["data"], json!([5.0, 5.0, 5.0]), "{name}");
        assert_eq!(answer.header("content-encoding"), None);
    }
    let answer = post(&mut client, "/v2/models/rows/infer", "content-encoding: br\r\n", json.as_bytes());
    assert_eq!(answer.status, 415);
    assert!(answer.error().contains("\"br\" is not known"));
    let answer = post(&mut client, "/v2/models/rows/infer", "content-encoding: gzip\r\n", json.as_bytes());
    assert_eq!(answer.status, 400);
}

#[test]
fn replies_are_packed_when_asked_and_worth_it() {
    let host = Host::start();
    let mut client = connect(host.address);
    let json = rows_json(1000);
    let plain = post(&mut client, "/v2/models/rows/infer", "", json.as_bytes());
    for name in ["gzip", "deflate"] {
        let more = format!("accept-encoding: {name}\r\n");
        let packed = post(&mut client, "/v2/models/rows/infer", &more, json.as_bytes());
        assert_eq!(packed.header("content-encoding"), Some(name));
        assert!(packed.body.len() < plain.body.len() / 10);
        let mut unpacked = Vec::new();
        match name {
            "gzip" => GzDecoder::new(packed.body.as_slice()).read_to_end(&mut unpacked).unwrap(),
            _ => ZlibDecoder::new(packed.body.as_slice()).read_to_end(&mut unpacked).unwrap(),
        };
        assert_eq!(unpacked, plain.body);
        let small = post(&mut client, "/v2/models/rows/infer", &more, rows_json(1).as_bytes());
        assert_eq!(small.header("content-encoding"), None);
    }
}

#[test]
fn a_bomb_is_refused_and_the_connection_goes_on() {
    let host = Host::with(ServingLimits { body_bytes_max: 1 << 20, ..ServingLimits::default() });
    let mut client = connect(host.address);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let answer = post(&mut client, "/v2/models/rows/infer", "content-encoding: gzip\r\n", &bomb);
    assert_eq!(answer.status, 413);
    let answer = post(&mut client, "/v2/models/rows/infer", "", rows_json(1).as_bytes());
    assert_eq!(answer.status, 200);
}
