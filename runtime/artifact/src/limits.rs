//! Every limit of the format, with its unit. A reader refuses what lies above one before it takes memory for it.

/// The format of `.cask` files and manifests that this version writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// A manifest's JSON text, in bytes: with signatures, in base64, it fits one MQTT message.
pub const MANIFEST_BYTES_MAX: usize = 40 * 1024;

/// A signed envelope around a manifest, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 60 * 1024;

/// One part of an index, in bytes: it travels like a chunk.
pub const INDEX_PART_BYTES_MAX: usize = 56 * 1024;

/// A chunk as it is stored and sent, in bytes.
pub const CHUNK_STORED_BYTES_MAX: usize = 56 * 1024;

/// A chunk after decompression, in bytes.
pub const CHUNK_PLAIN_BYTES_MAX: usize = 1024 * 1024;

/// The largest zstd window, as a power of two: no decompression needs more than 1 MiB of history.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 20;

/// Variants in one manifest.
pub const VARIANTS_MAX: usize = 16;

/// Files in one variant.
pub const FILES_MAX: usize = 16;

/// An encoded golden set, in bytes.
pub const GOLDEN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Cases in one golden set.
pub const GOLDEN_CASES_MAX: usize = 4096;

/// Tensors on either side of a golden case, inputs or outputs of a contract.
pub const TENSORS_MAX: usize = 256;

/// A tensor's name, in bytes.
pub const TENSOR_NAME_BYTES_MAX: usize = 1024;

/// A name of an artifact, a variant, a role, a kind, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Characters of hostile text that an error message repeats.
pub(crate) const SHOWN_CHARACTERS_MAX: usize = 80;
