//! A `.cask` written by hand after the documentation, so that it can lie.

use runtime_trust::{Digest, SigningKey};

use crate::fixture::{envelope, release};

/// One file as an attacker describes it.
#[derive(Clone)]
pub struct RawFile {
    pub bytes: u64,
    pub digest: Digest,
    pub parts: Vec<Vec<u8>>,
    pub chunks: Vec<Vec<u8>>,
}

/// A chunk: encoding, stored bytes, plain length and digest.
#[derive(Clone)]
pub struct RawChunk {
    pub encoding: u8,
    pub stored: Vec<u8>,
    pub plain_bytes: u32,
    pub plain_digest: Digest,
}

pub fn plain_chunk(plain: &[u8]) -> RawChunk {
    RawChunk { encoding: 0, stored: plain.to_vec(), plain_bytes: plain.len() as u32, plain_digest: Digest::of(plain) }
}

/// One part of an index, byte by byte.
pub fn part(encodings: &[&str], chunks: &[RawChunk]) -> Vec<u8> {
    let mut bytes = b"CIDX\x01\0".to_vec();
    bytes.extend([encodings.len() as u8, 0]);
    bytes.extend((chunks.len() as u32).to_le_bytes());
    for name in encodings {
        bytes.push(name.len() as u8);
        bytes.extend(name.as_bytes());
    }
    for chunk in chunks {
        bytes.extend((chunk.stored.len() as u32).to_le_bytes());
        bytes.extend(chunk.plain_bytes.to_le_bytes());
        bytes.extend([chunk.encoding, 0, 0, 0]);
        bytes.extend(Digest::of(&chunk.stored).as_bytes());
        bytes.extend(chunk.plain_digest.as_bytes());
    }
    bytes
}

/// A file of these chunks, in one index part.
pub fn file(encodings: &[&str], plain: &[u8], chunks: &[RawChunk]) -> RawFile {
    RawFile {
        bytes: plain.len() as u64,
        digest: Digest::of(plain),
        parts: vec![part(encodings, chunks)],
        chunks: chunks.iter().map(|chunk| chunk.stored.clone()).collect(),
    }
}

/// An honest file of two chunks.
pub fn honest(plain: &[u8]) -> RawFile {
    let (first, second) = plain.split_at(plain.len() / 2);
    file(&["none"], plain, &[plain_chunk(first), plain_chunk(second)])
}

impl RawFile {
    fn entry(&self) -> String {
        let part = |part: &Vec<u8>| format!(r#"{{"bytes":{},"digest":"{}"}}"#, part.len(), Digest::of(part));
        let parts: Vec<String> = self.parts.iter().map(part).collect();
        format!(r#"{{"bytes":{},"digest":"{}","index":[{}]}}"#, self.bytes, self.digest, parts.join(","))
    }

    pub fn objects(&self) -> Vec<u8> {
        [self.parts.concat(), self.chunks.concat()].concat()
    }
}

/// Golden set and model of one variant; the manifest's text can be changed before it is signed.
pub struct RawCask {
    pub golden: RawFile,
    pub model: RawFile,
    pub manifest: Box<dyn Fn(String) -> String>,
    /// Changes everything after the envelope.
    pub content: Box<dyn Fn(Vec<u8>) -> Vec<u8>>,
    pub keys: Vec<SigningKey>,
}

impl Default for RawCask {
    fn default() -> Self {
        Self {
            golden: honest(&crate::fixture::golden().encode().unwrap()),
            model: honest(&crate::fixture::model()),
            manifest: Box::new(|text| text),
            content: Box::new(|bytes| bytes),
            keys: vec![release()],
        }
    }
}

impl RawCask {
    pub fn manifest_text(&self) -> String {
        let text = format!(
            r#"{{"format":1,"name":"digits","version":"1.0.0","number":1,"variants":[{{"id":"int8","kind":"onnx","precision":"int8","numerics":"exact","requires":{{"cpu_features":[],"memory_bytes":0}},"files":{{"golden":{},"model":{}}},"quality":[],"limits":{{"p95_us":900,"memory_bytes":1048576}}}}],"contract":{{"inputs":[{{"name":"x","element":"u8","shape":["batch",4]}}],"outputs":[{{"name":"y","element":"f32","shape":["batch",2]}}]}},"provenance":{{"tool":"by hand"}}}}"#,
            self.golden.entry(),
            self.model.entry()
        );
        (self.manifest)(text)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let keys: Vec<&SigningKey> = self.keys.iter().collect();
        let content = (self.content)([self.golden.objects(), self.model.objects()].concat());
        join(&envelope(self.manifest_text().as_bytes(), &keys), &content)
    }
}

/// Header, envelope, content, with lengths that agree.
pub fn join(envelope: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x89CASK\r\n\x1a\x01\0\0\0".to_vec();
    bytes.extend((envelope.len() as u32).to_le_bytes());
    bytes.extend(((32 + envelope.len() + content.len()) as u64).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend_from_slice(envelope);
    bytes.extend_from_slice(content);
    bytes
}
