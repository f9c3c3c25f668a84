//! The file that travels: manifest, index, chunks, pack and open.
//!
//! A `.cask` is a small header, release's signed envelope around the manifest, and then everything that the
//! manifest names by length and SHA-256. `FORMAT.md` beside this crate describes every byte; in short, integers
//! little-endian:
//!
//! ```text
//!   offset  bytes
//!        0      8  89 43 41 53 4B 0D 0A 1A ("\x89CASK\r\n\x1a": text mode transfers break it visibly)
//!        8      4  format: 1
//!       12      4  length of the envelope E, 1 to 61440
//!       16      8  length of the whole file
//!       24      8  reserved, zero
//!       32      E  DSSE envelope, application/vnd.cask.manifest.v1+json
//!     32+E      .  for each variant of the manifest in its order, for each of its files in the order of the roles,
//!                  unless an equal entry (length, digest, index) came before:
//!                      the parts of its index in order, then its chunks in the order of the rows
//! ```
//!
//! **Invariant**: a [`VerifiedArtifact`] has one constructor, [`UnverifiedArtifact::verify`]; no byte of its file lies
//! outside a digest or a strict check, and checking takes the same few MiB whatever the file claims.
//!
//! Never here: the network, a clock, a decision about what to install, a decoder without a cap.

mod cut;
mod encode;
mod encoding;
mod error;
mod golden;
mod header;
mod index;
pub mod limits;
mod manifest;
mod name;
mod open;
mod pack;
mod source;
mod strict_json;
mod verified;

pub use encoding::{Encoding, check_stored, decode_chunk};
pub use error::{ArtifactError, ErrorClass, Reason};
pub use golden::{GoldenCase, GoldenSet};
pub use index::{ChunkRow, Index, parse_index_part};
pub use manifest::{
    Budget, Contract, FileEntry, IndexPart, KINDS, Limits, Manifest, Numerics, Postprocessing, Preprocessing,
    Provenance, Quality, ROLE_GOLDEN, ROLE_MODEL, StatePair, TensorContract, Variant,
};
pub use name::is_name;
pub use open::{UnverifiedArtifact, open, open_bytes};
pub use pack::{PackError, Packer, Unsigned};
pub use verified::VerifiedArtifact;
