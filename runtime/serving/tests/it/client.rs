//! A client that writes exactly the bytes it is told to.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A wait that no working server needs; it turns a hanging test into a failing one.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The text under `error`.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().expect("an error has a text").to_owned()
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads one answer; its length must be stated.
pub(crate) fn read_answer(stream: &mut impl Read) -> Answer {
    try_read_answer(stream).expect("the server answers")
}

pub(crate) fn try_read_answer(stream: &mut impl Read) -> Option<Answer> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(Answer { status, headers, body })
}

pub(crate) fn get(stream: &mut (impl Read + Write), path: &str) -> Answer {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
    read_answer(stream)
}

/// The head of a POST with a body of `length` bytes; `more` are further header lines, each ending with CRLF.
pub(crate) fn post_head(path: &str, more: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{more}\r\n")
}

pub(crate) fn post(stream: &mut (impl Read + Write), path: &str, more: &str, body: &[u8]) -> Answer {
    stream.write_all(post_head(path, more, body.len()).as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    read_answer(stream)
}

/// A request with raw tensors behind the JSON.
pub(crate) fn post_raw(stream: &mut (impl Read + Write), path: &str, json: &Value, raw: &[u8]) -> Answer {
    let json = json.to_string();
    let more = format!("inference-header-content-length: {}\r\n", json.len());
    post(stream, path, &more, &[json.as_bytes(), raw].concat())
}

/// JSON and raw part of an answer with raw tensors.
pub(crate) fn split_raw(answer: &Answer) -> (Value, &[u8]) {
    let length: usize = answer.header("inference-header-content-length").expect("raw outputs").parse().unwrap();
    (serde_json::from_slice(&answer.body[..length]).unwrap(), &answer.body[length..])
}
