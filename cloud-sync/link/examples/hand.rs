#[path = "../tests/it/tls_server.rs"]
#[allow(dead_code)]
mod tls_server;
use bytes::Bytes;
use cloud_sync_link::*;
use cloud_sync_protocol::*;
use runtime_trust::Digest;
use std::sync::Arc;
use std::time::{Duration, Instant};
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dir = "/tmp/mq";
    let ca = tls_server::Authority::new("fleet");
    let server = ca.issue("localhost");
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(format!("{dir}/ca.pem"), ca.pem()).unwrap();
    std::fs::write(format!("{dir}/server.pem"), server.certificate.pem()).unwrap();
    std::fs::write(format!("{dir}/server.key"), server.key.serialize_pem()).unwrap();
    std::fs::write(format!("{dir}/acl"), "user fleet\ntopic readwrite cask/shops/#\nuser kiosk-7\ntopic read cask/shops/trust/#\npattern write cask/shops/device/%u/request\npattern write cask/shops/device/%u/status\npattern read cask/shops/device/%u/chunk\n").unwrap();
    std::fs::write(format!("{dir}/conf"), format!("listener 18883 127.0.0.1\ncafile {dir}/ca.pem\ncertfile {dir}/server.pem\nkeyfile {dir}/server.key\nrequire_certificate true\nuse_identity_as_username true\nset_tcp_nodelay true\nacl_file {dir}/acl\nlog_dest file {dir}/log\n")).unwrap();
    let mut child = std::process::Command::new("mosquitto").args(["-c", &format!("{dir}/conf")]).spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let settings = |name: &str| {
        let id = ca.issue(name);
        let mut s = MqttSettings::new(
            BrokerUrl::parse("mqtts://localhost:18883").unwrap(),
            name,
            Arc::new(|| tls_server::BEGINS + 1000),
            1,
        );
        s.ca_pem = ca.pem();
        s.certificate_pem = id.certificate.pem();
        s.key_pem = id.key.serialize_pem();
        s.backoff.first = Duration::from_millis(100);
        s.outbox = OutboxLimits { messages_max: 4096, bytes_max: 64 << 20 };
        s
    };
    let (flink, mut fev) = connect(settings("fleet")).unwrap();
    tokio::spawn(async move {
        while let Some(e) = fev.recv().await {
            if !matches!(e, LinkEvent::Message(_)) {
                println!("fleet: {e:?}");
            }
        }
    });
    let count: usize = 1000;
    let objects: Arc<std::collections::BTreeMap<Digest, Bytes>> = Arc::new(
        (0..count)
            .map(|i| {
                let b = Bytes::from((0..55 * 1024usize).map(|j| (i * 31 + j * 7) as u8).collect::<Vec<u8>>());
                (Digest::of(&b), b)
            })
            .collect(),
    );
    let fleet = FleetId::parse("shops").unwrap();
    let device = DeviceId::parse("kiosk-7").unwrap();
    let o = objects.clone();
    let server = ChunkServer::start(
        flink.clone(),
        ChunkServerSettings::new(fleet.clone(), Some(FleetId::parse("g").unwrap())),
        move |_, r: Request| {
            let b = o.get(&r.subject()).cloned();
            async move { ReplyBody::Object(b.unwrap()) }
        },
    )
    .unwrap();
    flink.wait_until_up(Duration::from_secs(5)).await.unwrap();
    flink.flush(Duration::from_secs(5)).await.unwrap();
    flink.publish(Topic::Root(fleet.clone()), "root", Publish::retained()).unwrap();
    let mut s = settings("kiosk-7");
    s.will = Some(Will {
        topic: Topic::Status(fleet.clone(), device.clone()).into(),
        payload: Bytes::from_static(b"offline"),
    });
    let (dlink, mut dev) = connect(s).unwrap();
    tokio::spawn(async move {
        while let Some(e) = dev.recv().await {
            println!("device: {e:?}");
        }
    });
    dlink.wait_until_up(Duration::from_secs(5)).await.unwrap();
    println!("retained {:?}", retained(&dlink, &Topic::Root(fleet.clone()), Duration::from_secs(1)).await);
    let t = Instant::now();
    println!(
        "retained missing {:?} {:?}",
        retained(&dlink, &Topic::Targets(fleet.clone()), Duration::from_secs(1)).await,
        t.elapsed()
    );
    // forbidden
    dlink.subscribe("cask/shops/#").unwrap();
    dlink.publish("cask/shops/trust/root", "evil", Publish::retained()).unwrap();
    dlink.flush(Duration::from_secs(2)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    for window in [1usize, 4, 16, 64] {
        let mut f =
            ChunkFetcher::new(&dlink, &fleet, &device, FetchSettings { window_max: window, ..Default::default() })
                .unwrap();
        let wanted: Vec<Digest> = objects.keys().copied().take(if window == 1 { 200 } else { count }).collect();
        let t = Instant::now();
        let check = args.len() < 2;
        let r = f
            .fetch(
                &wanted,
                &mut |d: &Digest, b: Bytes| {
                    if !check || Digest::of(&b) == *d { Verdict::Taken } else { Verdict::Wrong("x".into()) }
                },
                tokio::sync::watch::channel(false).1,
            )
            .await
            .unwrap();
        let e = t.elapsed();
        println!(
            "window {window}: {:.1} MB/s {:?} {}",
            r.taken_bytes as f64 / 1e6 / e.as_secs_f64(),
            r,
            r.not_fetched.len()
        );
    }
    println!("{:?} {:?} {:?}", server.statistics(), flink.statistics(), dlink.statistics());
    // kill the broker in the middle
    let mut f = ChunkFetcher::new(&dlink, &fleet, &device, FetchSettings::default()).unwrap();
    let wanted: Vec<Digest> = objects.keys().copied().collect();
    let mut n = 0;
    let pid = child.id();
    let t = Instant::now();
    let r = f
        .fetch(
            &wanted,
            &mut |_: &Digest, _: Bytes| {
                n += 1;
                if n == 300 {
                    std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_secs(1));
                        std::process::Command::new("mosquitto").args(["-c", "/tmp/mq/conf", "-d"]).spawn().unwrap();
                    });
                }
                Verdict::Taken
            },
            tokio::sync::watch::channel(false).1,
        )
        .await;
    println!("killed broker: {r:?} {:?}", t.elapsed());
    let _ = child.wait();
    dlink.close().await;
    flink.close().await;
    std::process::Command::new("sh")
        .args(["-c", "kill $(ss -ltnp | grep 18883 | sed 's/.*pid=//;s/,.*//')"])
        .status()
        .unwrap();
}
