//! `broker.json`: what outlives a `fleet serve` about brokers. Enrolled devices look for the embedded broker at the
//! port where it was, and a new device is sent to the broker that was used last.

use cloud_sync_protocol::BrokerUrl;
use runtime_disk::DiskError;
use serde::{Deserialize, Serialize};

use crate::folder::FleetFolder;

const SCHEMA: u32 = 1;
const BYTES_MAX: u64 = 256 * 1024;

/// The content of `broker.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RememberedBroker {
    /// Version of this format.
    pub schema: u32,
    /// The embedded broker's port, once it was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded_port: Option<u16>,
    /// The broker that `fleet serve` used last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<BrokerAddress>,
}

/// What a device needs to reach a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerAddress {
    /// Where it listens.
    pub url: BrokerUrl,
    /// Who signed its certificate, PEM.
    pub ca_pem: String,
}

/// Why `broker.json` is not usable.
#[derive(Debug, thiserror::Error)]
pub enum RememberedError {
    /// The file could not be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not what this program wrote.
    #[error("read broker.json: {0}; remove it to begin anew")]
    Malformed(String),
}

impl Default for RememberedBroker {
    fn default() -> Self {
        RememberedBroker { schema: SCHEMA, embedded_port: None, last: None }
    }
}

impl RememberedBroker {
    /// Reads the file; a missing one remembers nothing.
    pub fn read(folder: &FleetFolder) -> Result<Self, RememberedError> {
        let bytes = match runtime_disk::read_bounded(&folder.broker(), BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(Self::default()),
            Err(error) => return Err(error.into()),
        };
        let found: Self =
            serde_json::from_slice(&bytes).map_err(|error| RememberedError::Malformed(error.to_string()))?;
        if found.schema != SCHEMA {
            return Err(RememberedError::Malformed(format!("schema {}, this build reads {SCHEMA}", found.schema)));
        }
        Ok(found)
    }

    /// Writes the file.
    pub fn write(&self, folder: &FleetFolder) -> Result<(), DiskError> {
        let bytes = serde_json::to_vec_pretty(self).expect("numbers and texts serialize to JSON");
        runtime_disk::write_atomic(&folder.broker(), &bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    #[test]
    fn what_is_written_is_read_and_strangers_are_refused() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = FleetFolder::new(temporary.path());
        assert_eq!(RememberedBroker::read(&folder).expect("nothing yet"), RememberedBroker::default());
        let url = BrokerUrl::encrypted("127.0.0.1", 4000).expect("a URL");
        let remembered = RememberedBroker {
            embedded_port: Some(4000),
            last: Some(BrokerAddress { url, ca_pem: "pem".to_owned() }),
            ..RememberedBroker::default()
        };
        remembered.write(&folder).expect("written");
        assert_eq!(RememberedBroker::read(&folder).expect("read"), remembered);
        for (text, expected) in [("{\"schema\":2}", "schema 2"), ("[]", "invalid"), ("{\"schema\":1,\"x\":1}", "`x`")] {
            std::fs::write(folder.broker(), text).expect("written");
            let error = RememberedBroker::read(&folder).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
