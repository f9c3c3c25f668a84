//! How a person names one version.

use std::fmt;
use std::str::FromStr;

use runtime_trust::Digest;
use serde::{Deserialize, Serialize};

/// The longest text that names a version, in bytes.
const VERSION_BYTES_MAX: usize = 64;

/// How a person names one version of an artifact: its number, its semantic version or its manifest's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum VersionChoice {
    /// The newest that is allowed.
    Newest,
    /// The growing integer.
    Number(u64),
    /// SHA-256 of the manifest.
    Digest(Digest),
    /// The semantic version.
    Text(String),
}

impl FromStr for VersionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > VERSION_BYTES_MAX {
            return Err(format!("{text:?} is no version; use a number or a version such as 1.2.0"));
        }
        if let Ok(digest) = text.parse() {
            return Ok(VersionChoice::Digest(digest));
        }
        Ok(text.parse().map_or_else(|_| VersionChoice::Text(text.to_owned()), VersionChoice::Number))
    }
}

impl TryFrom<String> for VersionChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "newest" { Ok(VersionChoice::Newest) } else { text.parse() }
    }
}

impl From<VersionChoice> for String {
    fn from(choice: VersionChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for VersionChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionChoice::Newest => formatter.write_str("newest"),
            VersionChoice::Number(number) => write!(formatter, "{number}"),
            VersionChoice::Digest(digest) => write!(formatter, "{digest}"),
            VersionChoice::Text(text) => formatter.write_str(text),
        }
    }
}
