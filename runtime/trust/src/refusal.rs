//! Why something was not trusted: the step of the device's order of checks, a code, and a sentence.

use std::fmt;

/// Bytes were not trusted, and why.
///
/// The text reads after "failed to"; it says what was found, what was expected and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    step: u8,
    reason: Reason,
    message: String,
}

/// Every reason for which this crate refuses; [`Reason::code`] is its stable spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Longer than its limit; nothing was parsed.
    TooLarge,
    /// Not the form it must have.
    Malformed,
    /// A version of the format that this program does not know.
    UnsupportedVersion,
    /// Another kind of document than the one asked for.
    WrongType,
    /// Another DSSE payload type: signed, but as something else.
    WrongPayloadType,
    /// Too few different keys of the role signed.
    SignatureThreshold,
    /// A role whose threshold its keys cannot reach.
    UnreachableThreshold,
    /// A new root whose version is not the old one's plus one.
    WrongRootVersion,
    /// More root rotations than one refresh follows.
    TooManyRotations,
    /// A version lower than one already seen.
    VersionRollback,
    /// A file's version is not the one its listing names.
    VersionMismatch,
    /// A file's length is not the one its listing names.
    LengthMismatch,
    /// Bytes whose digest is not the one a signed statement names.
    DigestMismatch,
    /// A file that was listed before is no longer listed.
    ListingRollback,
    /// Past its expiry.
    Expired,
    /// A file of the metadata that could not be had.
    Unavailable,
    /// No (or no matching) timestamp, snapshot or targets: a refresh has to come first.
    NotCurrent,
    /// Top-level targets do not delegate this name.
    NotDelegated,
    /// The deployment is for another fleet.
    WrongFleet,
    /// The deployment is for another channel.
    WrongChannel,
    /// A deployment older than the last one.
    SequenceReplay,
    /// The sequence of the last deployment again.
    SequenceRepeated,
    /// More channels or names than are kept.
    TooMany,
    /// Release does not allow this manifest.
    NotAllowed,
    /// The manifest names another artifact.
    WrongName,
    /// The manifest's number is not the one release signed for it.
    NumberMismatch,
    /// A manifest in a format this program does not know.
    UnsupportedFormat,
    /// On release's deny-list.
    Denied,
    /// Under release's floor.
    UnderFloor,
    /// No variant fits this device.
    Unfit,
    /// A call out of order: a bug in the caller, never in the data.
    OutOfOrder,
}

impl Reason {
    /// The code in kebab-case, as telemetry and `--json` carry it.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::Malformed => "malformed",
            Self::UnsupportedVersion => "unsupported-version",
            Self::WrongType => "wrong-type",
            Self::WrongPayloadType => "wrong-payload-type",
            Self::SignatureThreshold => "signature-threshold",
            Self::UnreachableThreshold => "unreachable-threshold",
            Self::WrongRootVersion => "wrong-root-version",
            Self::TooManyRotations => "too-many-rotations",
            Self::VersionRollback => "version-rollback",
            Self::VersionMismatch => "version-mismatch",
            Self::LengthMismatch => "length-mismatch",
            Self::DigestMismatch => "digest-mismatch",
            Self::ListingRollback => "listing-rollback",
            Self::Expired => "expired",
            Self::Unavailable => "unavailable",
            Self::NotCurrent => "not-current",
            Self::NotDelegated => "not-delegated",
            Self::WrongFleet => "wrong-fleet",
            Self::WrongChannel => "wrong-channel",
            Self::SequenceReplay => "sequence-replay",
            Self::SequenceRepeated => "sequence-repeated",
            Self::TooMany => "too-many",
            Self::NotAllowed => "not-allowed",
            Self::WrongName => "wrong-name",
            Self::NumberMismatch => "number-mismatch",
            Self::UnsupportedFormat => "unsupported-format",
            Self::Denied => "denied",
            Self::UnderFloor => "under-floor",
            Self::Unfit => "unfit",
            Self::OutOfOrder => "out-of-order",
        }
    }
}

/// The step of the checks on the device that a [`Refusal`] belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    /// Size caps.
    Size = 1,
    /// Root N to N+1.
    Root = 2,
    /// Timestamp, snapshot, targets.
    Metadata = 3,
    /// The deployment.
    Deployment = 4,
    /// The manifest.
    Manifest = 5,
}

impl Refusal {
    pub(crate) fn new(step: Step, reason: Reason, message: impl Into<String>) -> Self {
        Self { step: step as u8, reason, message: message.into() }
    }

    /// The number of the check that failed: 1 size caps, 2 root, 3 timestamp, snapshot and targets,
    /// 4 deployment, 5 manifest.
    pub fn step(&self) -> u8 {
        self.step
    }

    /// The stable code, in kebab-case.
    pub fn reason(&self) -> &'static str {
        self.reason.code()
    }

    /// The reason as a value to match on.
    pub fn kind(&self) -> Reason {
        self.reason
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
