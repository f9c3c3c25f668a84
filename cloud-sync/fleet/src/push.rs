//! Bringing an artifact into the store: everything that devices may ask for by digest.
//!
//! It needs neither the folder's lock nor a running `fleet serve`: objects are named by their digest, storing one
//! twice changes nothing, and nobody asks for objects before signed targets name their manifest.

use std::path::Path;

use bytes::Bytes;
use cloud_sync_protocol::ModelName;
use runtime_artifact::{ArtifactError, VerifiedArtifact};
use runtime_trust::{Digest, Root};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::FleetError;
use crate::event::ArtifactRecord;
use crate::objects::{Kind, Objects};

/// Objects that are written at the same time; each waits for the disk or the network.
const WRITES_AT_ONCE: usize = 8;

/// A verified `.cask`, ready to be stored.
#[derive(Debug)]
pub struct Package {
    artifact: VerifiedArtifact,
    name: ModelName,
}

impl Package {
    /// Opens a `.cask` and checks every byte of it with the root of the fleet.
    pub fn open(file: &Path, root: &Root) -> Result<Self, FleetError> {
        let artifact = runtime_artifact::open(file)?.verify(root)?;
        let name = ModelName::parse(&artifact.manifest().name)?;
        Ok(Package { artifact, name })
    }

    /// The artifact's name.
    pub fn name(&self) -> &ModelName {
        &self.name
    }

    /// Objects that will be stored.
    pub fn object_count(&self) -> u64 {
        self.artifact.object_count()
    }

    /// Stores the manifest and every object. `stored` hears of each (true: it was new). Returns the record for the
    /// log and how many were new.
    pub async fn store(
        self,
        objects: &Objects,
        mut stored: impl FnMut(bool),
    ) -> Result<(ArtifactRecord, u64), FleetError> {
        let manifest = self.artifact.manifest();
        let envelope = self.artifact.envelope_bytes().to_vec();
        let mut record = ArtifactRecord {
            number: manifest.number,
            version: manifest.version.to_string(),
            digest: self.artifact.digest(),
            // Set below, from the bytes that were checked.
            manifest_bytes: 0,
            chunks: self.artifact.object_count(),
            stored_bytes: 0,
        };
        record.manifest_bytes = manifest_bytes(&envelope)?;
        let (sender, mut receiver) = mpsc::channel::<(Digest, Bytes)>(WRITES_AT_ONCE);
        // Reading and hashing the file blocks.
        let reading = tokio::task::spawn_blocking(move || {
            self.artifact.for_each_object::<ArtifactError>(|digest, bytes| {
                // The receiver goes first only when storing failed, which is the error that is told.
                let _ = sender.blocking_send((digest, Bytes::copy_from_slice(bytes)));
                Ok(())
            })
        });
        let mut writes = JoinSet::new();
        let mut new = 0;
        loop {
            let next = tokio::select! {
                object = receiver.recv(), if writes.len() < WRITES_AT_ONCE => object,
                Some(done) = writes.join_next() => {
                    let is_new: bool = done.expect("a write does not panic")?;
                    new += u64::from(is_new);
                    stored(is_new);
                    continue;
                }
                else => None,
            };
            let Some((digest, bytes)) = next else { break };
            record.stored_bytes += bytes.len() as u64;
            let objects = objects.clone();
            writes.spawn(async move { objects.put(Kind::Chunk, &digest, bytes).await });
        }
        while let Some(done) = writes.join_next().await {
            let is_new = done.expect("a write does not panic")?;
            new += u64::from(is_new);
            stored(is_new);
        }
        reading.await.expect("reading an artifact does not panic")?;
        // Last: a manifest in the store means that its objects are there.
        objects.put(Kind::Manifest, &record.digest, envelope.into()).await?;
        Ok((record, new))
    }
}

fn manifest_bytes(envelope: &[u8]) -> Result<u64, FleetError> {
    let envelope = runtime_trust::Envelope::parse(envelope).map_err(FleetError::not_trusted("read the manifest"))?;
    Ok(envelope.payload().len() as u64)
}
