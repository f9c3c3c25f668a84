//! Every topic and every filter of the protocol as a type. Nobody formats one by hand.
//!
//! ```text
//! cask/<fleet>/trust/root                        retained   the newest root
//! cask/<fleet>/trust/root/<N>                    retained   root version N
//! cask/<fleet>/trust/timestamp                   retained
//! cask/<fleet>/trust/snapshot                    retained
//! cask/<fleet>/trust/targets                     retained   the top level targets
//! cask/<fleet>/trust/targets/<name>              retained   the targets of one artifact name
//! cask/<fleet>/channel/<channel>/deployment      retained   what the channel should run
//! cask/<fleet>/manifest/<digest>                 retained   the signed envelope of one manifest
//! cask/<fleet>/device/<id>/request               device asks for an object or an offer
//! cask/<fleet>/device/<id>/chunk                 reply to a request
//! cask/<fleet>/device/<id>/status                device reports; its last will goes here, too
//! ```

use std::fmt;
use std::str::FromStr;

use runtime_trust::Digest;

use crate::error::{ProtocolError, excerpt};
use crate::identifier::{ChannelId, DeviceId, FleetId, ModelName};
use crate::limits::TOPIC_BYTES_MAX;

/// One topic of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// The newest root of trust, retained.
    Root(FleetId),
    /// One version of the root of trust, retained; versions begin at 1.
    RootVersion(FleetId, u64),
    /// The timestamp metadata, retained.
    Timestamp(FleetId),
    /// The snapshot metadata, retained.
    Snapshot(FleetId),
    /// The top level targets metadata, retained.
    Targets(FleetId),
    /// The targets metadata of one artifact name, retained.
    NamedTargets(FleetId, ModelName),
    /// The deployment of a channel, retained.
    Deployment(FleetId, ChannelId),
    /// The signed envelope of the manifest with this digest, retained.
    Manifest(FleetId, Digest),
    /// A device asks the fleet.
    Request(FleetId, DeviceId),
    /// The fleet answers a device.
    Chunk(FleetId, DeviceId),
    /// A device reports.
    Status(FleetId, DeviceId),
}

impl Topic {
    /// Reads a topic; anything that this protocol does not have is an error.
    pub fn parse(text: &str) -> Result<Self, ProtocolError> {
        let wrong = |reason: &str| ProtocolError::Topic { found: excerpt(text), reason: reason.to_owned() };
        let inside = |error: ProtocolError| ProtocolError::Topic { found: excerpt(text), reason: error.to_string() };
        if text.len() > TOPIC_BYTES_MAX {
            return Err(wrong("it is longer than any topic of the protocol"));
        }
        let levels: Vec<&str> = text.split('/').collect();
        let ["cask", fleet, rest @ ..] = levels.as_slice() else {
            return Err(wrong("expected it to begin with cask/<fleet>/"));
        };
        let fleet = FleetId::parse(fleet).map_err(inside)?;
        Ok(match rest {
            ["trust", "root"] => Self::Root(fleet),
            ["trust", "root", version] => Self::RootVersion(
                fleet,
                canonical_number(version).ok_or_else(|| wrong("expected a root version from 1 on"))?,
            ),
            ["trust", "timestamp"] => Self::Timestamp(fleet),
            ["trust", "snapshot"] => Self::Snapshot(fleet),
            ["trust", "targets"] => Self::Targets(fleet),
            ["trust", "targets", name] => Self::NamedTargets(fleet, ModelName::parse(name).map_err(inside)?),
            ["channel", channel, "deployment"] => Self::Deployment(fleet, ChannelId::parse(channel).map_err(inside)?),
            ["manifest", digest] => Self::Manifest(fleet, digest.parse().map_err(|_| wrong("expected a digest"))?),
            ["device", device, "request"] => Self::Request(fleet, DeviceId::parse(device).map_err(inside)?),
            ["device", device, "chunk"] => Self::Chunk(fleet, DeviceId::parse(device).map_err(inside)?),
            ["device", device, "status"] => Self::Status(fleet, DeviceId::parse(device).map_err(inside)?),
            _ => return Err(wrong("no topic of the protocol has these levels")),
        })
    }

    /// The fleet that the topic belongs to.
    pub fn fleet(&self) -> &FleetId {
        match self {
            Self::Root(fleet)
            | Self::RootVersion(fleet, _)
            | Self::Timestamp(fleet)
            | Self::Snapshot(fleet)
            | Self::Targets(fleet)
            | Self::NamedTargets(fleet, _)
            | Self::Deployment(fleet, _)
            | Self::Manifest(fleet, _)
            | Self::Request(fleet, _)
            | Self::Chunk(fleet, _)
            | Self::Status(fleet, _) => fleet,
        }
    }
}

/// A number with one spelling: no sign, no leading zero, not zero.
fn canonical_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number > 0 && number.to_string() == text).then_some(number)
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(fleet) => write!(formatter, "cask/{fleet}/trust/root"),
            Self::RootVersion(fleet, version) => write!(formatter, "cask/{fleet}/trust/root/{version}"),
            Self::Timestamp(fleet) => write!(formatter, "cask/{fleet}/trust/timestamp"),
            Self::Snapshot(fleet) => write!(formatter, "cask/{fleet}/trust/snapshot"),
            Self::Targets(fleet) => write!(formatter, "cask/{fleet}/trust/targets"),
            Self::NamedTargets(fleet, name) => write!(formatter, "cask/{fleet}/trust/targets/{name}"),
            Self::Deployment(fleet, channel) => write!(formatter, "cask/{fleet}/channel/{channel}/deployment"),
            Self::Manifest(fleet, digest) => write!(formatter, "cask/{fleet}/manifest/{digest}"),
            Self::Request(fleet, device) => write!(formatter, "cask/{fleet}/device/{device}/request"),
            Self::Chunk(fleet, device) => write!(formatter, "cask/{fleet}/device/{device}/chunk"),
            Self::Status(fleet, device) => write!(formatter, "cask/{fleet}/device/{device}/status"),
        }
    }
}

impl FromStr for Topic {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.to_string()
    }
}

impl From<&Topic> for String {
    fn from(topic: &Topic) -> Self {
        topic.to_string()
    }
}

/// What a client subscribes to: one topic, or one of the two patterns that the fleet's own servers need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter {
    /// Exactly one topic.
    Exactly(Topic),
    /// Every device's requests, shared among the servers of one group: each request reaches one of them.
    SharedRequests {
        /// The group of servers.
        group: FleetId,
        /// The fleet.
        fleet: FleetId,
    },
    /// Every device's requests, to each subscriber; for brokers without shared subscriptions.
    Requests(FleetId),
    /// Every device's status.
    Statuses(FleetId),
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(topic) => topic.fmt(formatter),
            Self::SharedRequests { group, fleet } => {
                write!(formatter, "$share/{group}/cask/{fleet}/device/+/request")
            }
            Self::Requests(fleet) => write!(formatter, "cask/{fleet}/device/+/request"),
            Self::Statuses(fleet) => write!(formatter, "cask/{fleet}/device/+/status"),
        }
    }
}

impl From<Topic> for Filter {
    fn from(topic: Topic) -> Self {
        Self::Exactly(topic)
    }
}

impl From<&Topic> for Filter {
    fn from(topic: &Topic) -> Self {
        Self::Exactly(topic.clone())
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.to_string()
    }
}

impl From<&Filter> for String {
    fn from(filter: &Filter) -> Self {
        filter.to_string()
    }
}
