//! What stands retained at the broker, and putting it there.
//!
//! The order matters to a device that reads while it is published: what is named comes before what names it
//! (targets, snapshot, timestamp; manifests, deployment). At each connect everything is published again: a broker
//! may have lost it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cloud_sync_link::{Link, Publish};
use cloud_sync_protocol::Topic;
use runtime_trust::Digest;
use runtime_trust::limits::{DEPLOYMENT_BYTES_MAX, ENVELOPE_BYTES_MAX, ROOT_BYTES_MAX};
use tokio::sync::watch;

use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::objects::Kind;

/// One retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// Its topic.
    pub topic: Topic,
    /// Its payload; empty takes the topic's message away.
    pub payload: Bytes,
}

impl Fleet {
    /// Every message that should stand at the broker, in the order of publishing.
    pub async fn retained(&self) -> Result<Vec<Retained>, FleetError> {
        let fleet = &self.settings().fleet;
        let mut all = Vec::new();
        let mut add = |topic, payload: Bytes| all.push(Retained { topic, payload });
        for version in 1..=self.root().version() {
            match runtime_disk::read_bounded(&self.folder().root_version(version), ROOT_BYTES_MAX) {
                Ok(bytes) => add(Topic::RootVersion(fleet.clone(), version), bytes.into()),
                // A device that needs it says so; later versions are of use to others.
                Err(error) => tracing::error!(%error, "a version of the root is not published"),
            }
        }
        add(Topic::Root(fleet.clone()), Bytes::copy_from_slice(self.root().bytes()));
        if self.state().trust().is_some() {
            let files = self.files();
            for (name, bytes) in &files.names {
                add(Topic::NamedTargets(fleet.clone(), name.clone()), bytes.clone());
            }
            add(Topic::Targets(fleet.clone()), files.targets.clone());
            add(Topic::Snapshot(fleet.clone()), files.snapshot.clone());
            add(Topic::Timestamp(fleet.clone()), files.timestamp.clone());
        }
        let (mut manifests, mut deployments) = (BTreeSet::new(), Vec::new());
        for channel in self.state().channels() {
            let Some(deployment) = self.state().deployment(channel) else { continue };
            manifests.extend(deployment.models.values().copied());
            deployments.push((channel, deployment.envelope));
        }
        for digest in manifests {
            if let Some(bytes) = self.objects().get(Kind::Manifest, &digest, ENVELOPE_BYTES_MAX).await? {
                add(Topic::Manifest(fleet.clone(), digest), bytes);
            } else {
                tracing::error!(%digest, "the manifest of a deployed model is not in the store");
            }
        }
        for (channel, envelope) in deployments {
            let bytes = self.objects().expect(Kind::Deployment, &envelope, 2 * DEPLOYMENT_BYTES_MAX).await?;
            add(Topic::Deployment(fleet.clone(), channel.clone()), bytes);
        }
        Ok(all)
    }
}

/// What the publisher is told: the messages, and a number that grows with every connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publication {
    /// A new connect: everything goes out again.
    pub connect: u64,
    /// What should stand at the broker.
    pub messages: Vec<Retained>,
}

/// Publishes what changes, until the sender of `wanted` or the link ends. It waits for room in the link, so that a
/// large fleet's files do not push each other out of the outbox; a newer publication interrupts an older one.
pub(crate) async fn publisher(link: Link, mut wanted: watch::Receiver<Publication>) {
    let mut connect = 0;
    let mut standing: BTreeMap<String, Digest> = BTreeMap::new();
    loop {
        let publication = wanted.borrow_and_update().clone();
        if publication.connect != connect {
            connect = publication.connect;
            standing.clear();
        }
        let changed = tokio::select! {
            outcome = publish_all(&link, &publication.messages, &mut standing) => match outcome {
                Ok(()) => wanted.changed().await,
                // The link has ended for good.
                Err(()) => return,
            },
            changed = wanted.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn publish_all(link: &Link, messages: &[Retained], standing: &mut BTreeMap<String, Digest>) -> Result<(), ()> {
    let mut wanted = BTreeSet::new();
    for Retained { topic, payload } in messages {
        let (topic, digest) = (topic.to_string(), Digest::of(payload));
        wanted.insert(topic.clone());
        if standing.get(&topic) == Some(&digest) {
            continue;
        }
        match link.publish_when_room(topic.clone(), payload.clone(), Publish::retained()).await {
            Ok(()) => drop(standing.insert(topic, digest)),
            Err(cloud_sync_link::LinkError::Closed) => return Err(()),
            // Too large for the protocol: the others go on.
            Err(error) => tracing::error!(%error, %topic, "a message is not published"),
        }
    }
    // Manifests that no channel runs any more make room at the broker.
    let gone: Vec<String> = standing.keys().filter(|topic| !wanted.contains(*topic)).cloned().collect();
    for topic in gone {
        standing.remove(&topic);
        if link.publish_when_room(topic, Bytes::new(), Publish::retained()).await.is_err() {
            return Err(());
        }
    }
    Ok(())
}
