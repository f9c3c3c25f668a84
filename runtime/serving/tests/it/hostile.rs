//! Requests that are wrong, and clients that are slow: each gets a 4xx with a message, and a client that was there
//! before and does everything right notices nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use runtime_serving::ServingLimits;
use serde_json::{Value, json};

use crate::answers::affine_json;
use crate::client::{Answer, connect, get, post, post_head, post_raw, read_answer, try_read_answer};
use crate::host::Host;

const AFFINE: &str = "/v2/models/affine/infer";

fn good(client: &mut TcpStream) {
    let answer = post(client, AFFINE, "", affine_json().to_string().as_bytes());
    assert_eq!(answer.json()["outputs"][0]["data"], json!([3.0, 5.0, 7.0, 10.0]), "the other client is affected");
}

fn input(shape: Value, datatype: &str, data: Value) -> Value {
    json!({ "inputs": [{ "name": "x", "shape": shape, "datatype": datatype, "data": data }] })
}

#[test]
fn wrong_requests_get_4xx_with_a_message() {
    let host = Host::start();
    let mut other = connect(host.address);
    let four = || json!([1, 2, 3, 4]);
    let raw = |size: usize| {
        json!({ "inputs": [{
            "name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": { "binary_data_size": size },
        }] })
    };
    let send = |path: &'static str, body: Vec<u8>| move |client: &mut TcpStream| post(client, path, "", &body);
    let send_json = |path: &'static str, value: Value| send(path, value.to_string().into_bytes());
    let send_raw = |value: Value, raw: Vec<u8>| move |client: &mut TcpStream| post_raw(client, AFFINE, &value, &raw);
    type Send = Box<dyn FnOnce(&mut TcpStream) -> Answer>;
    let rows: Vec<(&str, Send, u16, &str)> = vec![
        ("shape", Box::new(send_json(AFFINE, input(json!([1, 5]), "FP32", json!([1, 2, 3, 4, 5])))), 400, "\"x\""),
        ("rank", Box::new(send_json(AFFINE, input(json!([4]), "FP32", four()))), 400, "\"x\""),
        ("type", Box::new(send_json(AFFINE, input(json!([1, 4]), "INT32", four()))), 400, "i32"),
        ("unknown type", Box::new(send_json(AFFINE, input(json!([1, 4]), "FP8", four()))), 400, "FP8"),
        ("elements", Box::new(send_json(AFFINE, input(json!([1, 4]), "FP32", json!([1, 2, 3])))), 400, "3 elements"),
        ("byte count", Box::new(send_raw(raw(15), vec![0; 15])), 400, "needs 16 bytes"),
        ("bytes missing", Box::new(send_raw(raw(16), vec![0; 12])), 400, "12 more bytes"),
        ("bytes left", Box::new(send_raw(raw(16), vec![0; 20])), 400, "4 bytes are left"),
        (
            "unknown input",
            Box::new(send_json(
                AFFINE,
                json!({ "inputs": [
            { "name": "z", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4] } ] }),
            )),
            400,
            "\"z\"",
        ),
        ("no input", Box::new(send_json(AFFINE, json!({ "inputs": [] }))), 400, "no such tensor"),
        (
            "unknown output",
            Box::new(send_json(
                AFFINE,
                json!({
            "inputs": affine_json()["inputs"], "outputs": [{ "name": "w" }] }),
            )),
            400,
            "\"w\"",
        ),
        (
            "unknown model",
            Box::new(send_json("/v2/models/other/infer", affine_json())),
            404,
            "affine, echo, pair, rows",
        ),
        ("unknown version", Box::new(send_json("/v2/models/affine/versions/8/infer", affine_json())), 404, "version 8"),
        ("version", Box::new(send_json("/v2/models/affine/versions/x/infer", affine_json())), 400, "no integer"),
        ("path", Box::new(|client: &mut TcpStream| get(client, "/v3")), 404, "/v3"),
        ("method", Box::new(|client: &mut TcpStream| get(client, AFFINE)), 405, "takes POST"),
        ("not UTF-8", Box::new(send(AFFINE, b"{\"inputs\":[\"\xff\xfe\"]}".to_vec())), 400, "not UTF-8"),
        ("no JSON", Box::new(send(AFFINE, b"hello".to_vec())), 400, "cannot be read"),
        ("empty", Box::new(send(AFFINE, Vec::new())), 400, "cannot be read"),
        (
            "NaN",
            Box::new(send(
                AFFINE,
                br#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,NaN]}]}"#.to_vec(),
            )),
            400,
            "no NaN",
        ),
        ("deep", Box::new(send(AFFINE, b"[".repeat(100_000))), 400, "cannot be read"),
        (
            "header length",
            Box::new(|client: &mut TcpStream| post(client, AFFINE, "inference-header-content-length: 9\r\n", b"{}")),
            400,
            "says 9 bytes",
        ),
        (
            "header no number",
            Box::new(|client: &mut TcpStream| post(client, AFFINE, "inference-header-content-length: -1\r\n", b"{}")),
            400,
            "no single number",
        ),
    ];
    let mut failed = Vec::new();
    for (row, send, status, part) in rows {
        let answer = send(&mut connect(host.address));
        if answer.status != status || !answer.error().contains(part) {
            failed.push(format!("{row}: found {} {}, expected {status} {part:?}", answer.status, answer.text()));
        }
        good(&mut other);
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_body_of_1_gib_is_refused_before_it_is_read() {
    let host = Host::start();
    let mut other = connect(host.address);
    let mut client = connect(host.address);
    client.write_all(post_head(AFFINE, "", 1 << 30).as_bytes()).unwrap();
    let answer = read_answer(&mut client);
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert!(answer.error().contains("1073741824 bytes, at most 67108864"), "{}", answer.error());
    good(&mut other);
}

#[test]
fn a_client_that_writes_its_large_body_before_it_reads_gets_the_refusal() {
    let host = Host::with(ServingLimits { body_bytes_max: 1 << 20, ..ServingLimits::default() });
    let mut client = connect(host.address);
    let body = vec![b' '; 16 << 20];
    client.write_all(post_head(AFFINE, "", body.len()).as_bytes()).unwrap();
    client.write_all(&body).unwrap();
    assert_eq!(read_answer(&mut client).status, 413);
}

#[test]
fn a_body_of_unstated_length_is_refused_at_the_limit() {
    let host = Host::with(ServingLimits { body_bytes_max: 1 << 20, ..ServingLimits::default() });
    let mut other = connect(host.address);
    let mut client = connect(host.address);
    let head = format!("POST {AFFINE} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 1 << 16], b"\r\n"].concat();
    for _ in 0..17 {
        client.write_all(&chunk).unwrap();
    }
    let answer = read_answer(&mut client);
    assert_eq!(answer.status, 413);
    good(&mut other);
}

#[test]
fn large_bodies_at_the_same_time_share_a_budget() {
    let limits = ServingLimits { bodies_bytes_max: 1 << 20, ..ServingLimits::default() };
    let host = Host::with(limits);
    let body = vec![b' '; 700 << 10];
    let mut first = connect(host.address);
    first.write_all(post_head(AFFINE, "", body.len() + 1).as_bytes()).unwrap();
    first.write_all(&body).unwrap();
    // Both do not fit together. Which of the two is refused depends on whose bytes the server reads last.
    let refused_first = |first: &TcpStream| {
        first.set_nonblocking(true).unwrap();
        let has_answer = first.peek(&mut [0]).is_ok();
        first.set_nonblocking(false).unwrap();
        has_answer
    };
    let refused = (0..1000).find_map(|_| {
        let second = post(&mut connect(host.address), AFFINE, "", &body);
        match (second.status, refused_first(&first)) {
            (503, _) => Some(second),
            (400, true) => Some(read_answer(&mut first)),
            (400, false) => None,
            (status, _) => panic!("{status}: {}", second.text()),
        }
    });
    let refused = refused.expect("one of the two is refused");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    drop(first);
    // The server notices the end of the first request in its own time.
    assert!((0..1000).any(|_| post(&mut connect(host.address), AFFINE, "", &body).status == 400), "the budget is back");
}

fn impatient() -> ServingLimits {
    let short = Duration::from_millis(150);
    ServingLimits { head_time_max: short, body_pause_max: short, idle_time_max: short, ..ServingLimits::default() }
}

#[test]
fn slow_clients_are_cut_with_a_message() {
    let host = Host::with(impatient());
    let mut in_body = connect(host.address);
    let mut in_head = connect(host.address);
    let mut silent = connect(host.address);
    in_body.write_all(post_head(AFFINE, "", 100).as_bytes()).unwrap();
    in_body.write_all(b"{\"inputs\"").unwrap();
    in_head.write_all(b"POST /v2/mod").unwrap();
    good(&mut connect(host.address));
    let answer = read_answer(&mut in_body);
    assert_eq!(answer.status, 408);
    assert!(answer.error().contains("9 bytes came"), "{}", answer.error());
    let answer = read_answer(&mut in_head);
    assert_eq!(answer.status, 408);
    assert!(answer.error().contains("head took too long"));
    assert!(try_read_answer(&mut silent).is_none(), "a client that sends nothing is closed");
    good(&mut connect(host.address));
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let host = Host::with(impatient());
    let mut client = connect(host.address);
    good(&mut client);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_body_that_trickles_is_cut_by_the_whole_time() {
    let limits = ServingLimits { body_time_max: Duration::from_millis(300), ..ServingLimits::default() };
    let host = Host::with(limits);
    let mut client = connect(host.address);
    client.write_all(post_head(AFFINE, "", 1 << 20).as_bytes()).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let answer = (0..3000).find_map(|_| {
        let _ = client.write(b" ");
        try_read_answer(&mut client)
    });
    assert_eq!(answer.expect("the server cuts it").status, 408);
}

#[test]
fn a_client_that_does_not_take_its_reply_is_closed() {
    let limits =
        ServingLimits { write_pause_max: Duration::from_millis(150), connections_max: 1, ..ServingLimits::default() };
    let host = Host::with(limits);
    let mut client = connect(host.address);
    let rows = 2 << 20;
    let json = json!({ "parameters": { "binary_data_output": true }, "inputs": [
        { "name": "x", "shape": [rows, 4], "datatype": "FP32", "parameters": { "binary_data_size": rows * 16 } } ] });
    let json = json.to_string();
    let more = format!("inference-header-content-length: {}\r\n", json.len());
    client.write_all(post_head("/v2/models/rows/infer", &more, json.len() + rows * 16).as_bytes()).unwrap();
    client.write_all(json.as_bytes()).unwrap();
    client.write_all(&vec![0; rows * 16]).unwrap();
    // 8 MiB of reply are more than the sockets hold, and nobody reads them. The only place for a connection becomes
    // free when the server gives up.
    let given_up = (0..1_000_000).any(|_| {
        let mut other = connect(host.address);
        let _ = other.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n");
        try_read_answer(&mut other).is_some_and(|answer| answer.status == 200)
    });
    assert!(given_up && host.inference.statistics("rows").unwrap().answered == 1);
    let mut received = 0_usize;
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        received += count;
    }
    assert!(received < rows * 4, "all {received} bytes came although nobody read for longer than the pause");
}

#[test]
fn a_foreign_host_is_refused_on_tcp() {
    let host = Host::start();
    let mut failed = Vec::new();
    for (request, status) in [
        ("GET /v2 HTTP/1.1\r\nhost: example.org\r\n\r\n", 403),
        ("GET /v2 HTTP/1.1\r\nhost: 127.0.0.1.example.org:8000\r\n\r\n", 403),
        ("GET /v2 HTTP/1.1\r\nhost: localhost\r\nhost: example.org\r\n\r\n", 403),
        ("GET http://example.org/v2 HTTP/1.1\r\nhost: localhost\r\n\r\n", 403),
        ("GET /v2 HTTP/1.1\r\n\r\n", 400),
        ("GET /v2 HTTP/1.1\r\nhost: \r\n\r\n", 403),
        ("GET http://127.0.0.1/v2 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 200),
        ("GET /v2 HTTP/1.1\r\nhost: [::1]:8000\r\n\r\n", 200),
        ("GET /v2 HTTP/1.1\r\nhost: LocalHost:1\r\n\r\n", 200),
    ] {
        let mut client = connect(host.address);
        client.write_all(request.as_bytes()).unwrap();
        let found = read_answer(&mut client).status;
        if found != status {
            failed.push(format!("{request:?}: found {found}, expected {status}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn bytes_that_are_no_http_end_their_connection_only() {
    let host = Host::start();
    let mut other = connect(host.address);
    let long_header = format!("GET /v2 HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many_headers = format!("GET /v2 HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v2/models/affine/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST /v2/models/affine/infer HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ] {
        let mut client = connect(host.address);
        // The server may close before it took everything.
        let _ = client.write_all(bytes);
        if let Some(answer) = try_read_status(&mut client) {
            assert!(
                (400..500).contains(&answer),
                "{answer} for {:?}",
                String::from_utf8_lossy(&bytes[..20.min(bytes.len())])
            );
        }
        good(&mut other);
    }
}

fn try_read_status(client: &mut TcpStream) -> Option<u16> {
    let mut start = [0; 12];
    client.read_exact(&mut start).ok()?;
    std::str::from_utf8(&start[9..]).ok()?.parse().ok()
}

#[test]
fn a_connection_too_many_is_told_to_come_back() {
    let host = Host::with(ServingLimits { connections_max: 2, ..ServingLimits::default() });
    let mut first = connect(host.address);
    let mut second = connect(host.address);
    good(&mut first);
    good(&mut second);
    let mut third = connect(host.address);
    let answer = read_answer(&mut third);
    assert_eq!((answer.status, answer.error().as_str()), (503, "too many connections"));
    good(&mut first);
    drop(second);
    // The server notices the end of the second connection in its own time.
    assert!((0..1000).any(|_| {
        let mut client = connect(host.address);
        let _ = client.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n");
        try_read_answer(&mut client).is_some_and(|answer| answer.status == 200)
    }));
}
