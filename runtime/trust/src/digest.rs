//! The digest type of the whole project: SHA-256 over exact bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Bytes in a [`Digest`].
pub const DIGEST_BYTES: usize = 32;

/// SHA-256 of exact bytes; written as 64 lowercase hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_BYTES]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Wraps a digest that was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }

    /// Starts a digest over bytes that arrive in pieces.
    pub fn stream() -> DigestStream {
        DigestStream { hasher: Sha256::new(), bytes: 0 }
    }

    /// The first 12 hexadecimal characters, for people; never for comparison.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

/// A [`Digest`] under way: feed it pieces, then [`finish`](DigestStream::finish).
#[derive(Clone, Debug)]
pub struct DigestStream {
    hasher: Sha256,
    bytes: u64,
}

impl DigestStream {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
    }

    /// Bytes taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all pieces in order.
    pub fn finish(self) -> Digest {
        Digest(self.hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({})", self.short())
    }
}

/// The text is not a digest: one digest has exactly one spelling.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read a SHA-256 digest: expected 64 lowercase hexadecimal characters, found {found}")]
pub struct DigestError {
    found: String,
}

/// Characters of a wrong digest that an error repeats.
const FOUND_CHARACTERS_MAX: usize = 80;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_lowercase_hex(text).map(Self).ok_or_else(|| DigestError {
            found: format!("{} bytes: {:?}", text.len(), text.chars().take(FOUND_CHARACTERS_MAX).collect::<String>()),
        })
    }
}

/// Exactly `2 * N` lowercase hexadecimal characters; uppercase would give one value two spellings.
pub(crate) fn parse_lowercase_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_known_text() {
        let digest = Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        let mut stream = Digest::stream();
        stream.update(b"a");
        stream.update(b"bc");
        assert_eq!(stream.bytes(), 3);
        assert_eq!(stream.finish(), digest);
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let good = Digest::of(b"abc").to_string();
        for wrong in [
            good.to_uppercase(),
            good[1..].to_owned(),
            format!("{good}0"),
            format!("0x{}", &good[2..]),
            String::new(),
            "é".repeat(32),
        ] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn digest_in_json_is_its_hexadecimal_text() {
        let digest = Digest::of(b"abc");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }
}
