//! `fleet.toml`: what this fleet is called, where its objects lie, which broker it uses, how long signatures last.
//!
//! Written once by `fleet keys new` and never changed by a program after that. An unknown key is an error that
//! names its line.

use cloud_sync_protocol::{BrokerUrl, FleetId};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The version of `fleet.toml`.
pub const SETTINGS_SCHEMA: u32 = 1;
/// The longest `fleet.toml` that is read, in bytes.
pub(crate) const SETTINGS_BYTES_MAX: u64 = 64 * 1024;
/// The longest lifetime of a signed file, in days: ten years.
const DAYS_MAX: u64 = 3653;
/// The name of a fleet when none is given.
pub const FLEET_DEFAULT: &str = "cask";
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// The content of `fleet.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Version of this format.
    pub schema: u32,
    /// The name of the fleet; it is in every topic and every deployment.
    pub fleet: FleetId,
    /// Where objects and the event log lie: a folder (relative to the fleet folder) or `s3://bucket/prefix`.
    #[serde(default = "default_store")]
    pub store: String,
    /// The broker; absent means the embedded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerSettings>,
    /// How long signed files are good.
    #[serde(default)]
    pub expiry: ExpiryDays,
}

/// A broker that somebody else runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerSettings {
    /// Where it listens.
    pub url: BrokerUrl,
    /// PEM file with the authority that signed the broker's certificate; absent: the fleet's own device CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with the controller's certificate; absent: one is made by the device CA at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the controller's private key; goes with `certificate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// How many days each kind of signed file is good after it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpiryDays {
    /// Targets: signed by a person with the release key.
    pub targets_days: u64,
    /// The snapshot: renewed by `fleet serve`.
    pub snapshot_days: u64,
    /// The timestamp: renewed by `fleet serve`; how long a device may be kept from learning news.
    pub timestamp_days: u64,
    /// Deployments: renewed by `fleet serve`.
    pub deployment_days: u64,
}

impl Default for ExpiryDays {
    fn default() -> Self {
        ExpiryDays { targets_days: 365, snapshot_days: 30, timestamp_days: 7, deployment_days: 365 }
    }
}

impl ExpiryDays {
    /// The lifetimes in seconds, in the order targets, snapshot, timestamp, deployment.
    pub fn seconds(self) -> Lifetimes {
        Lifetimes {
            targets_s: self.targets_days * SECONDS_PER_DAY,
            snapshot_s: self.snapshot_days * SECONDS_PER_DAY,
            timestamp_s: self.timestamp_days * SECONDS_PER_DAY,
            deployment_s: self.deployment_days * SECONDS_PER_DAY,
        }
    }
}

/// [`ExpiryDays`] in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of targets files.
    pub targets_s: u64,
    /// Of the snapshot.
    pub snapshot_s: u64,
    /// Of the timestamp.
    pub timestamp_s: u64,
    /// Of deployments.
    pub deployment_s: u64,
}

fn default_store() -> String {
    "objects".to_owned()
}

/// Why `fleet.toml` is not usable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// Not TOML, or a key or value that this program does not know.
    #[error("read fleet.toml: {0}")]
    Malformed(String),
    /// The version is not this program's.
    #[error("read fleet.toml: schema {found}, this build reads {SETTINGS_SCHEMA}")]
    UnknownSchema {
        /// The number in the file.
        found: u32,
    },
    /// A lifetime of zero or of more than ten years.
    #[error("read fleet.toml: expiry.{key} = {found}, expected 1 to {DAYS_MAX}")]
    Lifetime {
        /// The key.
        key: &'static str,
        /// The value.
        found: u64,
    },
}

impl Settings {
    /// The settings of a new fleet.
    pub fn new(fleet: FleetId) -> Self {
        Settings { schema: SETTINGS_SCHEMA, fleet, store: default_store(), broker: None, expiry: ExpiryDays::default() }
    }

    /// Reads the text of `fleet.toml`.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        #[derive(Deserialize)]
        struct OnlySchema {
            schema: u32,
        }
        let malformed = |error: toml::de::Error| SettingsError::Malformed(error.to_string().trim_end().to_owned());
        let OnlySchema { schema } = toml::from_str(text).map_err(malformed)?;
        if schema != SETTINGS_SCHEMA {
            return Err(SettingsError::UnknownSchema { found: schema });
        }
        let settings: Settings = toml::from_str(text).map_err(malformed)?;
        let expiry = settings.expiry;
        let rows = [
            ("targets_days", expiry.targets_days),
            ("snapshot_days", expiry.snapshot_days),
            ("timestamp_days", expiry.timestamp_days),
            ("deployment_days", expiry.deployment_days),
        ];
        match rows.into_iter().find(|(_, days)| !(1..=DAYS_MAX).contains(days)) {
            Some((key, found)) => Err(SettingsError::Lifetime { key, found }),
            None => Ok(settings),
        }
    }

    /// The text that `fleet keys new` writes, with what may be added as comments.
    pub fn to_text(&self) -> String {
        let expiry = self.expiry;
        format!(
            "# Settings of this fleet. `fleet` reads this file at each start and never changes it.\n\
             schema = {SETTINGS_SCHEMA}\n\
             fleet = \"{}\"\n\
             # Objects and the event log: a folder beside this file, or s3://bucket/prefix (cargo feature s3).\n\
             store = \"{}\"\n\n\
             # Without this section `fleet serve` starts an embedded broker on loopback: for trying out only.\n\
             # [broker]\n\
             # url = \"mqtts://broker.example:8883\"\n\
             # ca = \"broker-ca.pem\"         # who signed the broker's certificate; default: the device CA\n\
             # certificate = \"fleet.pem\"    # default: made by the device CA at each start\n\
             # key = \"fleet.key\"\n\n\
             # How many days signed files are good. `fleet serve` renews all but the targets.\n\
             [expiry]\n\
             targets_days = {}\n\
             snapshot_days = {}\n\
             timestamp_days = {}\n\
             deployment_days = {}\n",
            self.fleet,
            self.store,
            expiry.targets_days,
            expiry.snapshot_days,
            expiry.timestamp_days,
            expiry.deployment_days,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let settings = Settings::new(FleetId::parse("kiosks").expect("a name"));
        assert_eq!(Settings::parse(&settings.to_text()), Ok(settings));
    }

    #[test]
    fn a_broker_section_is_read() {
        let text = "schema = 1\nfleet = \"kiosks\"\n[broker]\nurl = \"mqtts://broker.example\"\nca = \"ca.pem\"\n";
        let broker = Settings::parse(text).expect("settings").broker.expect("a broker");
        assert_eq!(broker.url.to_string(), "mqtts://broker.example:8883");
        assert_eq!(broker.ca, Some(PathBuf::from("ca.pem")));
    }

    #[test]
    fn wrong_settings_are_named() {
        let rows = [
            ("fleet = \"x\"", "missing field `schema`"),
            ("schema = 2\nfleet = \"x\"", "schema 2, this build reads 1"),
            ("schema = 1\nfleet = \"No\"", "fleet name"),
            ("schema = 1\nfleet = \"x\"\nstroe = \"o\"", "line 3"),
            ("schema = 1\nfleet = \"x\"\n[expiry]\ntimestamp_days = 0", "expiry.timestamp_days = 0"),
            ("schema = 1\nfleet = \"x\"\n[expiry]\ntargets_days = 4000", "expiry.targets_days = 4000"),
        ];
        for (text, expected) in rows {
            let error = Settings::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
