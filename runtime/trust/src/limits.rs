//! A limit on everything that comes from outside, in one place.

/// One KiB in bytes.
const KIB: u64 = 1024;

/// `root.json`: a handful of keys and signatures.
pub const ROOT_BYTES_MAX: u64 = 48 * KIB;
/// `timestamp.json`: one entry.
pub const TIMESTAMP_BYTES_MAX: u64 = 8 * KIB;
/// `snapshot.json`: one entry per artifact name.
pub const SNAPSHOT_BYTES_MAX: u64 = 48 * KIB;
/// `targets.json` and each `<name>.json`: what still fits into one MQTT payload with room to spare.
pub const TARGETS_BYTES_MAX: u64 = 48 * KIB;
/// A manifest, the payload of its envelope.
pub const MANIFEST_BYTES_MAX: u64 = 40 * KIB;
/// A deployment, the payload of its envelope.
pub const DEPLOYMENT_BYTES_MAX: u64 = 16 * KIB;
/// An envelope: a manifest in base64 and its signatures; also the limit of one MQTT payload.
pub const ENVELOPE_BYTES_MAX: u64 = 60 * KIB;

/// Signatures on one document: each may cost a verification.
pub const SIGNATURES_MAX: usize = 32;
/// Keys in one document.
pub const KEYS_MAX: usize = 64;
/// Roots that one refresh climbs, from the trusted one to the newest.
pub const ROOT_ROTATIONS_MAX: u32 = 1024;
/// Artifact names whose targets files a device keeps.
pub const NAMES_MAX: usize = 32;
/// Channels whose last sequence a device keeps.
pub const CHANNELS_MAX: usize = 32;
/// Models that one deployment activates together.
pub const MODELS_MAX: usize = 32;
/// Characters in the version of a manifest, as targets state it.
pub const VERSION_CHARACTERS_MAX: usize = 64;
/// Characters in a name (artifact, fleet, channel).
pub const NAME_CHARACTERS_MAX: usize = 63;

/// A stored trust state: all its documents at their largest, and some KiB for the rest.
pub const STATE_BYTES_MAX: u64 =
    ROOT_BYTES_MAX + TIMESTAMP_BYTES_MAX + SNAPSHOT_BYTES_MAX + TARGETS_BYTES_MAX * (1 + NAMES_MAX as u64) + 8 * KIB;
