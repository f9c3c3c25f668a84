//! What fleet and device say to each other over MQTT: topics, payloads, versions, size limits.
//!
//! Every payload is read by a function that checks its size first, then its version, then its content; a version
//! newer than the reader's is refused by name. Nothing here is trusted: signatures are checked on the device by
//! `runtime-trust`, chunks by their digests. This crate never opens a connection, a file or a clock.

mod broker_url;
mod enrolment;
mod error;
mod identifier;
pub mod limits;
mod offer;
mod reply;
mod request;
mod status;
mod topic;

pub use broker_url::BrokerUrl;
pub use enrolment::{ENROLMENT_SCHEMA, Enrolment};
pub use error::ProtocolError;
pub use identifier::{ChannelId, DeviceId, FleetId, ModelName};
pub use offer::{InlineObject, OFFER_VERSION, Offer};
pub use reply::{Declined, REPLY_VERSION, Reply, ReplyBody, WhyDeclined};
pub use request::{REQUEST_SCHEMA, Request};
pub use status::{
    ModelRef, ModelState, ModelStatus, ProfileSummary, Progress, RefusalReport, STATUS_SCHEMA, SelfTestReport, Status,
};
pub use topic::{Filter, Topic};
