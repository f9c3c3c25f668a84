//! Objects fetched by digest over mosquitto, against a bare publish of the same bytes by rumqttc.
//!
//! The peer sends each payload once, QoS 1, from one client to another through the same broker, with no requests, no
//! digests and no window of its own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cloud_sync_link::{ChunkFetcher, ChunkServer, ChunkServerSettings, FetchSettings, Link, MqttSettings, Verdict};
use cloud_sync_protocol::{BrokerUrl, Declined, DeviceId, FleetId, ReplyBody, Request, WhyDeclined};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use runtime_trust::Digest;
use tokio::sync::watch;

use crate::measure::{Comparison, median};

/// Objects that are moved in one round.
const OBJECTS: usize = 512;

/// Bytes of each: the largest that a chunk is stored with.
const OBJECT_BYTES: usize = 56 * 1024;

/// The longest that connecting or one round may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Compares over a mosquitto of its own; `None` where mosquitto is not installed.
pub fn run(rounds: usize) -> Result<Option<Comparison>> {
    let Some(program) = mosquitto() else { return Ok(None) };
    let broker = Broker::start(&program)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let objects = Arc::new(objects());
    let mut pairs = Vec::new();
    for round in 0..=rounds {
        let own = runtime.block_on(fetch(broker.address, objects.clone()))?;
        let other = runtime.block_on(bare(broker.address, objects.clone()))?;
        // The first round warms up and is not counted.
        if round > 0 {
            pairs.push((own.as_secs_f64(), other.as_secs_f64()));
        }
    }
    let megabytes = (OBJECTS * OBJECT_BYTES) as f64 / 1e6;
    let mut ratios: Vec<f64> = pairs.iter().map(|(own, other)| other / own).collect();
    ratios.sort_by(f64::total_cmp);
    Ok(Some(Comparison {
        name: "transfer over mosquitto".to_owned(),
        ours_mb_s: megabytes / median(pairs.iter().map(|pair| pair.0).collect()),
        peer_mb_s: megabytes / median(pairs.iter().map(|pair| pair.1).collect()),
        ratio: median(ratios.clone()),
        ratio_range: (ratios[0], ratios[ratios.len() - 1]),
        rounds,
        peer: "rumqttc publish, QoS 1".to_owned(),
    }))
}

fn objects() -> HashMap<Digest, Bytes> {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    (0..OBJECTS)
        .map(|_| {
            let mut bytes = vec![0; OBJECT_BYTES];
            random.fill_bytes(&mut bytes);
            (Digest::of(&bytes), Bytes::from(bytes))
        })
        .collect()
}

async fn fetch(address: SocketAddr, objects: Arc<HashMap<Digest, Bytes>>) -> Result<Duration> {
    let fleet = FleetId::parse("bench")?;
    let device = DeviceId::parse("device-1")?;
    let (server_link, _server_events) = link(address, "server").await?;
    let (device_link, _device_events) = link(address, "device").await?;
    let store = objects.clone();
    let lookup = move |_: DeviceId, request: Request| {
        let found = store.get(&request.subject()).cloned();
        async move {
            match found {
                Some(bytes) => ReplyBody::Object(bytes),
                None => ReplyBody::Declined(Declined::new(WhyDeclined::NotFound, 0, "no such object")),
            }
        }
    };
    let _server = ChunkServer::start(server_link.clone(), ChunkServerSettings::new(fleet.clone(), None), lookup)?;
    let mut fetcher = ChunkFetcher::new(&device_link, &fleet, &device, FetchSettings::default())?;
    let wanted: Vec<Digest> = objects.keys().copied().collect();
    // The first object goes untimed: it waits until both sides' subscriptions stand.
    let (_keep, abort) = watch::channel(false);
    fetcher.fetch(&wanted[..1], &mut |_: &Digest, _: Bytes| Verdict::Taken, abort.clone()).await?;
    let mut taken = 0;
    let mut take = |digest: &Digest, bytes: Bytes| {
        if Digest::of(&bytes) != *digest {
            return Verdict::Wrong("other bytes".to_owned());
        }
        taken += 1;
        Verdict::Taken
    };
    let start = Instant::now();
    tokio::time::timeout(PATIENCE, fetcher.fetch(&wanted, &mut take, abort)).await??;
    let elapsed = start.elapsed();
    ensure!(taken == OBJECTS, "{taken} of {OBJECTS} objects came");
    Ok(elapsed)
}

async fn link(
    address: SocketAddr,
    id: &str,
) -> Result<(Link, tokio::sync::mpsc::Receiver<cloud_sync_link::LinkEvent>)> {
    let url = BrokerUrl::plain(&address.ip().to_string(), address.port())?;
    let (link, events) = cloud_sync_link::connect(MqttSettings::new(url, id, Arc::new(unix_now), 3))?;
    link.wait_until_up(PATIENCE).await?;
    Ok((link, events))
}

async fn bare(address: SocketAddr, objects: Arc<HashMap<Digest, Bytes>>) -> Result<Duration> {
    let client = |id: &str| {
        let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
        options.set_max_packet_size(Some(64 * 1024));
        AsyncClient::new(options, OBJECTS)
    };
    let (receiver, mut receiving) = client("receiver");
    receiver.subscribe("bench/bytes", QoS::AtLeastOnce).await?;
    while !matches!(receiving.poll().await?, Event::Incoming(Packet::SubAck(_))) {}
    let (sender, mut sending) = client("sender");
    while !matches!(sending.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
    let start = Instant::now();
    let driver = tokio::spawn(async move { while sending.poll().await.is_ok() {} });
    let publisher = tokio::spawn(async move {
        for bytes in objects.values() {
            sender.publish("bench/bytes", QoS::AtLeastOnce, false, bytes.clone()).await?;
        }
        // Dropping the client would end its connection before the last acknowledgement.
        anyhow::Ok(sender)
    });
    let mut received = 0;
    while received < OBJECTS {
        let event = tokio::time::timeout(PATIENCE, receiving.poll()).await.context("the bare publish stalled")??;
        received += usize::from(matches!(event, Event::Incoming(Packet::Publish(_))));
    }
    let elapsed = start.elapsed();
    publisher.await??;
    driver.abort();
    Ok(elapsed)
}

fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn mosquitto() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder: PathBuf| folder.join("mosquitto")).find(|file| file.is_file())
}

struct Broker {
    child: Child,
    address: SocketAddr,
}

impl Broker {
    fn start(program: &Path) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let child = Command::new(program)
            .args(["-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let broker = Broker { child, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if start.elapsed() > PATIENCE {
                bail!("mosquitto does not listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
