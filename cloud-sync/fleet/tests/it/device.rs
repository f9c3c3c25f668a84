//! A device, as small as it can be and still check everything: it reads retained messages, plays the steps of trust,
//! and fetches objects by digest.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cloud_sync_link::{ChunkFetcher, FetchSettings, Link, Publish, Verdict, retained};
use cloud_sync_protocol::{
    DeviceId, FleetId, ModelRef, ModelState, ModelStatus, RefusalReport, STATUS_SCHEMA, Status, Topic,
};
use runtime_artifact::{Manifest, decode_chunk, parse_index_part};
use runtime_trust::{Digest, FileName, Refresh, Refusal, Root, TrustState};
use tokio::sync::watch;

use crate::fixture::{channel, model};

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) link: Link,
    fleet: FleetId,
    trust: TrustState,
    fetcher: ChunkFetcher,
}

impl Device {
    pub(crate) fn new(link: Link, id: DeviceId, root: Root, now: u64) -> Self {
        let fleet = FleetId::parse("kiosks").expect("a name");
        let fetcher = ChunkFetcher::new(&link, &fleet, &id, FetchSettings::default()).expect("a fetcher");
        Device { id, link, fleet, trust: TrustState::enrolled(root, now), fetcher }
    }

    /// A retained message, which must be there.
    pub(crate) async fn read(&self, topic: Topic) -> Bytes {
        let found = retained(&self.link, &topic, PATIENCE).await.expect("a link");
        found.unwrap_or_else(|| panic!("{topic} is not published"))
    }

    /// Steps 2 and 3 for the model `name`.
    pub(crate) async fn refresh(&mut self, name: &str, now: u64) -> Result<(), Refusal> {
        let mut refresh = Refresh::start(&self.trust, now, &[name.to_owned()]);
        while let Some(wanted) = refresh.wanted() {
            let fleet = self.fleet.clone();
            let bytes = match wanted.file {
                FileName::Root(_) => None,
                FileName::Timestamp => Some(self.read(Topic::Timestamp(fleet)).await),
                FileName::Snapshot => Some(self.read(Topic::Snapshot(fleet)).await),
                FileName::Targets => Some(self.read(Topic::Targets(fleet)).await),
                FileName::Named(name) => Some(self.read(Topic::NamedTargets(fleet, model(&name))).await),
            };
            refresh.feed(bytes.as_deref())?;
        }
        self.trust = refresh.finish()?;
        Ok(())
    }

    /// Steps 2 to 5: what the channel should run of `name`, as its manifest.
    pub(crate) async fn manifest(&mut self, name: &str, now: u64) -> Result<(Manifest, Digest, u64), Refusal> {
        self.refresh(name, now).await?;
        let envelope = self.read(Topic::Deployment(self.fleet.clone(), channel())).await;
        let deployment = self.trust.check_deployment(&envelope, self.fleet.as_str(), "stable", now)?;
        let digest = deployment.models.iter().find(|one| one.name == name).expect("the model is deployed").digest;
        let envelope = self.read(Topic::Manifest(self.fleet.clone(), digest)).await;
        let checked = self.trust.check_manifest(&envelope, &digest, name, now)?;
        let manifest = Manifest::parse(&checked.bytes).expect("a manifest");
        self.trust.accept_deployment(&deployment);
        Ok((manifest, digest, deployment.sequence))
    }

    /// Step 7 for a set of objects: their bytes, or the digests of those that never came right.
    pub(crate) async fn objects(&mut self, wanted: &[Digest]) -> Result<BTreeMap<Digest, Bytes>, Vec<Digest>> {
        let mut taken = BTreeMap::new();
        let mut take = |digest: &Digest, bytes: Bytes| {
            if Digest::of(&bytes) != *digest {
                return Verdict::Wrong("another digest".to_owned());
            }
            taken.insert(*digest, bytes);
            Verdict::Taken
        };
        let (_keep, abort) = watch::channel(false);
        let report = self.fetcher.fetch(wanted, &mut take, abort).await.expect("a fetch");
        match report.not_fetched.is_empty() {
            true => Ok(taken),
            false => Err(report.not_fetched.into_iter().map(|(digest, _)| digest).collect()),
        }
    }

    /// The offer of a manifest.
    pub(crate) async fn offer(&mut self, manifest: Digest) -> Option<cloud_sync_protocol::Offer> {
        let (_keep, abort) = watch::channel(false);
        self.fetcher.offer(manifest, abort).await.expect("a fetch")
    }

    /// Steps 7 and 8: the plain bytes of a file of the manifest.
    pub(crate) async fn file(&mut self, manifest: &Manifest, role: &str) -> Result<Vec<u8>, Vec<Digest>> {
        let entry = &manifest.variants[0].files[role];
        let parts: Vec<Digest> = entry.index.iter().map(|part| part.digest).collect();
        let found = self.objects(&parts).await?;
        let rows: Vec<_> = parts.iter().flat_map(|part| parse_index_part(&found[part]).expect("an index")).collect();
        let chunks: Vec<Digest> = rows.iter().map(|row| row.stored_digest).collect();
        let found = self.objects(&chunks).await?;
        let plain: Vec<u8> =
            rows.iter().flat_map(|row| decode_chunk(row, &found[&row.stored_digest]).expect("a chunk")).collect();
        assert_eq!(Digest::of(&plain), entry.digest, "step 8");
        Ok(plain)
    }

    /// Reports what it runs, or what it refused.
    pub(crate) fn report(&self, sequence: u64, active: Option<Digest>, refused: Option<(Digest, &str)>) {
        let reference = |digest| ModelRef { digest, number: 1, version: "1.0.1".to_owned() };
        let models = vec![ModelStatus {
            name: model("digits"),
            state: if refused.is_some() { ModelState::Refused } else { ModelState::Active },
            active: active.map(reference),
            last_good: None,
            candidate: None,
            progress: None,
            refusal: refused.map(|(digest, reason)| RefusalReport::new(9, reason, "as a test wants", Some(digest))),
            self_test: None,
        }];
        let status = Status {
            schema: STATUS_SCHEMA,
            device: self.id.clone(),
            online: true,
            boot: 1,
            sequence_seen: sequence,
            sent_unix: 0,
            agent_version: "0.1.0".to_owned(),
            profile: None,
            models,
        };
        let topic = Topic::Status(self.fleet.clone(), self.id.clone());
        self.link.publish(&topic, status.encode().expect("a status"), Publish::default()).expect("a link");
    }
}
