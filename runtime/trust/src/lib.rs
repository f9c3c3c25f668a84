//! Keys, signatures, DSSE envelopes and the TUF client workflow, without I/O or a clock.
//!
//! Steps 1 to 5 of the order of checks on a device:
//!
//! | step | what | by |
//! |---|---|---|
//! | 1 | size caps | every reader here, before it parses |
//! | 2 | root N to N+1 | [`Refresh`] |
//! | 3 | timestamp, snapshot, targets | [`Refresh`] |
//! | 4 | the deployment | [`TrustState::check_deployment`] |
//! | 5 | the manifest | [`TrustState::check_manifest`], then [`TrustState::check_facts`] |
//!
//! Invariants: one function counts signatures; each key counts once; nothing signed as one kind is
//! accepted as another; a [`TrustState`] never goes back. Every refusal is a [`Refusal`]: step, code, sentence.
//!
//! Never here: files, sockets, clocks, environment. `now` is an argument; bytes are fed in.

#[cfg(feature = "signing")]
pub mod author;
mod calendar;
mod check;
mod deployment;
mod digest;
mod document;
mod envelope;
mod json;
mod key;
#[cfg(feature = "signing")]
pub mod keyfile;
pub mod limits;
mod listing;
mod name;
mod refresh;
mod refusal;
mod root;
mod signature;
#[cfg(feature = "signing")]
mod signing;
mod state;
mod state_bytes;
mod targets;

pub use check::{CheckedManifest, ManifestFacts};
pub use deployment::{DEPLOYMENT_SCHEMA, DeployedModel, Deployment};
pub use digest::{DIGEST_BYTES, Digest, DigestError, DigestStream};
pub use envelope::{Envelope, PayloadType};
pub use key::{KeyError, KeyId, PublicKey, RoleKeys, Scheme};
pub use name::{NameError, check_name, is_plain_name};
pub use refresh::{FileName, Refresh, Wanted};
pub use refusal::{Reason, Refusal};
pub use root::{Role, Root};
#[cfg(feature = "signing")]
pub use signing::{SEED_BYTES, SigningKey};
pub use state::TrustState;
pub use state_bytes::{STATE_VERSION, StateError};
pub use targets::AllowedManifest;
