//! The admin socket: how other `fleet` commands talk to a running `fleet serve`.
//!
//! One connection carries one request and one reply, each a line of JSON:
//!
//! ```text
//! > {"schema":1,"request":{"do":"device-list"}}
//! < {"schema":1,"reply":{...}}                                     or
//! < {"schema":1,"error":{"code":2,"message":"...","hint":"..."}}
//! ```
//!
//! The socket lies in the fleet folder with mode 0600, and only the same user (or root) is answered. Both sides
//! bound what they read. Private keys of roles never travel over it; an enrolment does, with the key of its device.

mod socket;

use std::path::PathBuf;

use cloud_sync_protocol::{BrokerUrl, ChannelId, DeviceId, ModelName};
use runtime_console::{Classified, ExitCode, Failure};
use runtime_disk::DiskError;
use serde::{Deserialize, Serialize};

use crate::decide::{ReleaseChange, VersionChoice};
use crate::trust_files::SignedRelease;

pub use socket::{AdminCall, AdminSocket, call, connect};

/// The version of the socket's lines.
pub const ADMIN_SCHEMA: u32 = 1;
/// What can be asked of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// [`crate::report::ArtifactList`].
    ArtifactList {
        /// Only this name.
        name: Option<ModelName>,
    },
    /// [`crate::report::ArtifactDetails`].
    ArtifactShow {
        /// The name.
        name: ModelName,
        /// Which version.
        version: VersionChoice,
    },
    /// [`crate::decide::ReleasePlan`]: what a person is to sign.
    ReleasePlan {
        /// The name.
        name: ModelName,
        /// What shall change.
        change: ReleaseChange,
    },
    /// [`crate::report::Pushed`]: takes signed targets and makes them current.
    ReleaseCommit {
        /// What was signed.
        release: Box<SignedRelease>,
    },
    /// [`crate::report::Deployed`].
    RolloutStart {
        /// The channel.
        channel: ChannelId,
        /// The artifact's name.
        name: ModelName,
        /// Which version.
        version: VersionChoice,
        /// The sequence is at least this.
        sequence_min: u64,
    },
    /// [`crate::report::Deployed`].
    RolloutRollback {
        /// The channel.
        channel: ChannelId,
        /// The artifact's name; absent: what changed last.
        name: Option<ModelName>,
        /// The sequence is at least this.
        sequence_min: u64,
    },
    /// [`crate::report::RolloutStatus`].
    RolloutStatus {
        /// The channel.
        channel: ChannelId,
    },
    /// [`crate::report::DeviceList`].
    DeviceList {},
    /// [`crate::report::DeviceDetails`].
    DeviceShow {
        /// The device.
        device: DeviceId,
    },
    /// [`crate::report::Enrolled`].
    DeviceEnroll {
        /// The device.
        device: DeviceId,
        /// The channel that it will follow.
        channel: ChannelId,
        /// A device of that name may exist already.
        again: bool,
        /// The broker; absent: the one that serve uses or used last.
        broker: Option<BrokerUrl>,
        /// Who signed the broker's certificate, PEM; absent: as for the broker.
        ca_pem: Option<String>,
    },
}

/// Which opened keys a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// None.
    Nothing,
    /// The deploy key.
    Deploy,
    /// The device CA's key.
    DeviceCa,
}

impl Request {
    /// Which opened keys it needs.
    pub fn needs(&self) -> Needs {
        match self {
            Request::ReleaseCommit { .. } | Request::RolloutStart { .. } | Request::RolloutRollback { .. } => {
                Needs::Deploy
            }
            Request::DeviceEnroll { .. } => Needs::DeviceCa,
            _ => Needs::Nothing,
        }
    }
}

/// A failed reply, with its row of the exit code table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    code: u8,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl From<&Failure> for ErrorReply {
    fn from(failure: &Failure) -> Self {
        ErrorReply {
            code: failure.code().number(),
            message: failure.message().to_owned(),
            hint: failure.hint().map(str::to_owned),
        }
    }
}

impl From<ErrorReply> for Failure {
    fn from(reply: ErrorReply) -> Self {
        let code = ExitCode::ALL.into_iter().find(|code| code.number() == reply.code).unwrap_or(ExitCode::Bug);
        let failure = Failure::new(code, reply.message);
        match reply.hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// Why the socket did not work.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The folder or socket could not be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Socket {
        /// What was tried.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The other side sent too much, too late, or something else than a line of this protocol.
    #[error("talk over the admin socket: {0}")]
    Line(String),
}

impl Classified for AdminError {
    fn exit_code(&self) -> ExitCode {
        match self {
            AdminError::Disk(DiskError::InUse { .. }) => ExitCode::NoRoom,
            _ => ExitCode::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            AdminError::Line(_) => Some("use the same version of fleet as the running `fleet serve`".to_owned()),
            _ => None,
        }
    }
}
