//! What each step of the order does. Called by [`super::install`] alone, in its order.

mod content;
mod trust;

use cloud_sync_store::Candidate;
use runtime_artifact::{Manifest, Variant};
use runtime_trust::{Deployment, Digest};

use super::{Desk, Stop};
use crate::machine::Installed;

pub(super) use content::{activate, fetch, finish, prove, reserve};
pub(super) use trust::{check_size, deployment, manifests, refresh};

/// What is to become active, once a deployment or a person said so.
pub(crate) struct Order {
    /// The deployment; `None` for a sideload.
    deployment: Option<Deployment>,
    /// Name and manifest digest of each model.
    models: Vec<(String, Digest)>,
}

impl Order {
    fn sequence(&self) -> Option<u64> {
        self.deployment.as_ref().map(|deployment| deployment.sequence)
    }
}

/// A model of the order whose manifest passed step 5.
pub(crate) struct Wish {
    name: String,
    digest: Digest,
    envelope: Vec<u8>,
    manifest: Manifest,
    /// The variant for this device.
    variant: String,
    /// The version is active already: nothing is fetched or proven.
    active: Option<Installed>,
}

impl Wish {
    fn variant(&self) -> Result<&Variant, Stop> {
        self.manifest
            .variant(&self.variant)
            .ok_or_else(|| Stop::refused(5, "no-such-file", format!("the manifest lost its variant {}", self.variant)))
    }
}

/// One model on its way into a slot.
pub(crate) struct Fetching {
    name: String,
    digest: Digest,
    candidate: Candidate,
}

/// Where a job that was told to stop does.
fn abort_point(desk: &mut dyn Desk) -> Result<(), Stop> {
    if desk.is_aborted() { Err(Stop::Aborted) } else { Ok(()) }
}
