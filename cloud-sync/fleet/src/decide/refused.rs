//! Commands that the state does not allow.

use cloud_sync_protocol::{ChannelId, DeviceId, ModelName};

/// A command that the state does not allow, with what to do instead.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum Refused {
    /// No artifact has the name.
    #[error("find an artifact called {name}")]
    UnknownName {
        /// The name.
        name: ModelName,
    },
    /// No artifact of the name has the version.
    #[error("find version {version} of {name}")]
    UnknownVersion {
        /// The name.
        name: ModelName,
        /// What was asked for.
        version: String,
    },
    /// The number is taken by another manifest, or lower than an existing one.
    #[error("push {name} number {number}: {reason}")]
    Number {
        /// The name.
        name: ModelName,
        /// The number.
        number: u64,
        /// Which rule it breaks.
        reason: String,
    },
    /// The artifact may not run.
    #[error("deploy {name} {version}: {reason}")]
    NotAllowed {
        /// The name.
        name: ModelName,
        /// The version.
        version: String,
        /// Retired, denied or under the floor.
        reason: &'static str,
    },
    /// A channel still runs what would no longer be allowed.
    #[error("retire {name} number {number}: channel {channel} runs it")]
    StillDeployed {
        /// The name.
        name: ModelName,
        /// The number.
        number: u64,
        /// The channel.
        channel: ChannelId,
    },
    /// The floor would fall.
    #[error("set the floor of {name} to {found}: it is {floor} already, and a floor never falls")]
    FloorFalls {
        /// The name.
        name: ModelName,
        /// The wish.
        found: u64,
        /// The present floor.
        floor: u64,
    },
    /// Nothing was ever deployed in the channel.
    #[error("find a deployment of channel {channel}")]
    NoDeployment {
        /// The channel.
        channel: ChannelId,
    },
    /// There is nothing older to go back to.
    #[error("roll back {name} in channel {channel}: it ran nothing before that is still allowed")]
    NothingOlder {
        /// The name.
        name: ModelName,
        /// The channel.
        channel: ChannelId,
    },
    /// A sequence outside the controller's term.
    #[error("use sequence {found}: this controller's sequences end at {max}")]
    SequenceTooHigh {
        /// The sequence.
        found: u64,
        /// The last one.
        max: u64,
    },
    /// A deployment or fleet would become too large.
    #[error("add {what}: there are {found}, at most {max} are allowed")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The device has a certificate already.
    #[error("enroll {device}: it is enrolled already, in channel {channel}")]
    AlreadyEnrolled {
        /// The device.
        device: DeviceId,
        /// Its channel.
        channel: ChannelId,
    },
    /// No device has the name.
    #[error("find a device called {device}")]
    UnknownDevice {
        /// The name.
        device: DeviceId,
    },
    /// Nothing was ever pushed.
    #[error("find any signed targets: nothing was pushed yet")]
    NothingPushed,
}

impl Refused {
    /// What to do instead.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Refused::UnknownName { .. } => "`fleet artifact list` shows the names".to_owned(),
            Refused::UnknownVersion { name, .. } => format!("`fleet artifact list {name}` shows the versions"),
            Refused::Number { .. } => "seal the artifact again with a higher number".to_owned(),
            Refused::StillDeployed { .. } => "roll out another version in that channel first".to_owned(),
            Refused::NoDeployment { channel } => format!("`fleet rollout start NAME --channel {channel}` makes one"),
            Refused::NothingOlder { name, .. } => {
                format!("`fleet rollout start {name}@VERSION` deploys a version by name")
            }
            Refused::AlreadyEnrolled { .. } => "--again makes a new certificate for the same device".to_owned(),
            Refused::UnknownDevice { .. } => "`fleet device list` shows the devices".to_owned(),
            Refused::NothingPushed => "`fleet artifact push FILE.cask` is the first step".to_owned(),
            _ => return None,
        })
    }
}
