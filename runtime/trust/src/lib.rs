//! Keys, signatures, DSSE envelopes and the TUF client workflow, without I/O or a clock.

mod digest;

pub use digest::{DIGEST_BYTES, Digest, DigestError, DigestStream};
