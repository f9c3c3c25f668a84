//! Everything that can stop a `fleet` command, with its exit code and what to do next.

use cloud_sync_link::LinkError;
use cloud_sync_protocol::{ModelName, ProtocolError};
use runtime_artifact::{ArtifactError, ErrorClass};
use runtime_console::{Classified, ExitCode};
use runtime_disk::DiskError;
use runtime_trust::Refusal;

use crate::admin::AdminError;
use crate::certificates::CertificateError;
use crate::decide::Refused;
use crate::event::EventError;
use crate::keyring::KeyringError;
use crate::log::LogError;
use crate::objects::ObjectsError;
use crate::remembered::RememberedError;
use crate::settings::SettingsError;
use crate::state::FoldError;

/// An error of the fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A file or folder.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The folder holds no fleet.
    #[error("find a fleet in {folder}: there is no {missing}")]
    NoFleet {
        /// The folder.
        folder: String,
        /// The file that is missing.
        missing: &'static str,
    },
    /// The folder holds one already.
    #[error("make keys in {folder}: there is already {found}")]
    FleetExists {
        /// The folder.
        folder: String,
        /// What is there.
        found: String,
    },
    /// `fleet.toml`.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// `broker.json`.
    #[error(transparent)]
    Remembered(#[from] RememberedError),
    /// A key file.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A key that this process did not open.
    #[error("sign with the {role} key: it is not open")]
    Locked {
        /// The role.
        role: &'static str,
    },
    /// The artifact store.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The event log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The event log contradicts itself.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The state does not allow the command.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A signature, version, expiry or size that a device would refuse.
    #[error("{what}: {source}")]
    NotTrusted {
        /// What was checked.
        what: String,
        /// What a device would say.
        source: Refusal,
    },
    /// Signed files that do not say what was planned.
    #[error("take the signed targets of {name}: they do not say what was planned ({what})")]
    OtherThanPlanned {
        /// The artifact's name.
        name: ModelName,
        /// The difference.
        what: &'static str,
    },
    /// The targets of a name would be longer than devices read.
    #[error(
        "sign the targets of {name}: with {versions} allowed versions they have {found} bytes, \
         at most {max} are allowed"
    )]
    TargetsTooLarge {
        /// The artifact's name.
        name: ModelName,
        /// Allowed versions in them.
        versions: usize,
        /// Their length.
        found: u64,
        /// The limit.
        max: u64,
        /// Retiring everything below this number makes room.
        retire_below: u64,
    },
    /// A file that describes all names would be longer than devices read.
    #[error("sign the {what}: with {names} artifact names it has {found} bytes, at most {max} are allowed")]
    TooManyNames {
        /// The file.
        what: &'static str,
        /// Artifact names in it.
        names: usize,
        /// Its length.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// A `.cask` file.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A name or message of the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The embedded broker.
    #[cfg(feature = "embedded-broker")]
    #[error(transparent)]
    Broker(#[from] crate::broker::BrokerError),
    /// The connection to the broker.
    #[error("connect to the broker {url}: {source}")]
    Link {
        /// Where it should be.
        url: String,
        /// What happened.
        source: LinkError,
    },
    /// The admin socket.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Anything else about usage.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do instead.
        hint: String,
    },
}

impl FleetError {
    /// A refusal with what it was about.
    pub(crate) fn not_trusted(what: impl Into<String>) -> impl FnOnce(Refusal) -> FleetError {
        let what = what.into();
        move |source| FleetError::NotTrusted { what, source }
    }
}

impl Classified for FleetError {
    fn exit_code(&self) -> ExitCode {
        match self {
            FleetError::Disk(error) => disk_code(error),
            FleetError::Objects(error) => objects_code(error),
            FleetError::Log(LogError::Objects(error)) => objects_code(error),
            FleetError::Log(LogError::Raced { .. }) => ExitCode::NoRoom,
            FleetError::Log(LogError::Event { source: EventError::Newer { .. }, .. }) => ExitCode::Unsupported,
            FleetError::Log(_) | FleetError::Fold(_) => ExitCode::DamagedStore,
            FleetError::Keyring(KeyringError::Disk(error)) => disk_code(error),
            FleetError::Remembered(RememberedError::Disk(error)) => disk_code(error),
            FleetError::Remembered(_) => ExitCode::DamagedStore,
            FleetError::NoFleet { .. }
            | FleetError::FleetExists { .. }
            | FleetError::Settings(_)
            | FleetError::Keyring(_)
            | FleetError::Locked { .. }
            | FleetError::Refused(_)
            | FleetError::TargetsTooLarge { .. }
            | FleetError::TooManyNames { .. }
            | FleetError::Protocol(_)
            | FleetError::Usage { .. } => ExitCode::Usage,
            FleetError::NotTrusted { .. } | FleetError::OtherThanPlanned { .. } => ExitCode::NotTrusted,
            FleetError::Artifact(ArtifactError::Disk(error)) => disk_code(error),
            FleetError::Artifact(error) => match error.class() {
                ErrorClass::NotTrusted => ExitCode::NotTrusted,
                ErrorClass::Unsupported => ExitCode::Unsupported,
                ErrorClass::Disk => ExitCode::DamagedStore,
            },
            FleetError::Certificate(CertificateError::Authority(_)) => ExitCode::DamagedStore,
            FleetError::Certificate(_) => ExitCode::Usage,
            #[cfg(feature = "embedded-broker")]
            FleetError::Broker(crate::broker::BrokerError::Listen { .. }) => ExitCode::NoRoom,
            #[cfg(feature = "embedded-broker")]
            FleetError::Broker(_) => ExitCode::Unreachable,
            FleetError::Link { .. } => ExitCode::Unreachable,
            FleetError::Admin(error) => error.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            FleetError::Refused(refused) => return refused.hint(),
            FleetError::NoFleet { .. } => "`fleet keys new` makes a fleet; --dir names another folder".to_owned(),
            FleetError::FleetExists { .. } => "keys are never overwritten; name another folder with --dir".to_owned(),
            FleetError::Locked { .. } => "start again with the passphrase of that key".to_owned(),
            FleetError::Log(LogError::Raced { .. }) => "stop the other controller".to_owned(),
            FleetError::TargetsTooLarge { retire_below, .. } => {
                format!("push again with --retire-below {retire_below}, which takes older versions off the list")
            }
            FleetError::NotTrusted { source, .. } if source.reason() == "signature-threshold" => {
                "the root demands more signatures than there are keys at hand; --key names further key files".to_owned()
            }
            #[cfg(feature = "embedded-broker")]
            FleetError::Broker(crate::broker::BrokerError::Listen { .. }) => {
                "enrolled devices look for the broker at this port: end what uses it, or remove broker.json \
                 from the fleet folder and enroll the devices again"
                    .to_owned()
            }
            FleetError::Link { .. } => "check that the broker runs and trusts tls/device-ca.pem".to_owned(),
            FleetError::Admin(error) => return error.hint(),
            FleetError::Usage { hint, .. } if !hint.is_empty() => hint.clone(),
            _ => return None,
        })
    }
}

fn disk_code(error: &DiskError) -> ExitCode {
    match error {
        DiskError::NoSpace { .. } | DiskError::InUse { .. } => ExitCode::NoRoom,
        DiskError::NotFound { .. } | DiskError::AlreadyExists { .. } => ExitCode::Usage,
        _ => ExitCode::DamagedStore,
    }
}

fn objects_code(error: &ObjectsError) -> ExitCode {
    match error {
        ObjectsError::Folder(error) => disk_code(error),
        ObjectsError::Unsupported { .. } => ExitCode::Unsupported,
        // A service by URL can be away; a folder can only be damaged.
        ObjectsError::Store { place, .. } if place.contains("://") => ExitCode::Unreachable,
        _ => ExitCode::DamagedStore,
    }
}
