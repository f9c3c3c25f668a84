//! Fetching objects by digest, whatever the broker and the servers do.

use std::time::Duration;

use bytes::Bytes;
use cloud_sync_link::memory::Faults;
use cloud_sync_link::{FetchError, FetchReport, FetchSettings, NotFetched, ObjectCarrier, Verdict};
use cloud_sync_protocol::{Filter, Reply, Request, Topic};
use runtime_trust::Digest;
use tokio::sync::watch;

use crate::setup::{PATIENCE, Store, Taken, device, fleet, never};

async fn fetch(store: &Store, settings: FetchSettings) -> (FetchReport, Taken) {
    let taken = Taken::default();
    let mut take = taken.taker();
    let report = store.fetcher(settings).fetch(&store.wanted(), &mut take, never()).await.unwrap();
    (report, taken)
}

#[tokio::test(start_paused = true)]
async fn everything_arrives_once() {
    let store = Store::new(1, 200, 1).await;
    let (report, taken) = fetch(&store, FetchSettings::default()).await;
    assert!(taken.is_exactly(&store.objects));
    let bytes: usize = store.objects.values().map(Bytes::len).sum();
    let expected =
        FetchReport { taken: 200, taken_bytes: bytes as u64, requests: 200, window_min: 16, ..FetchReport::default() };
    assert_eq!(report, expected);
}

#[tokio::test(start_paused = true)]
async fn several_servers_share_the_work() {
    let store = Store::new(1, 90, 3).await;
    let (_, taken) = fetch(&store, FetchSettings::default()).await;
    assert!(taken.is_exactly(&store.objects));
    let answered: Vec<u64> = store.servers.iter().map(|(_, server)| server.statistics().answered).collect();
    assert_eq!(answered, [30, 30, 30], "each request reaches one server");
}

#[tokio::test(start_paused = true)]
async fn loss_duplication_and_reordering_cost_time_only() {
    for seed in 0..20 {
        let store = Store::new(seed, 100, 2).await;
        store.broker.set_faults(Faults {
            loss_per_mille: 150,
            duplication_per_mille: 150,
            quota_per_mille: 30,
            delay_max: Duration::from_millis(400),
        });
        let settings = FetchSettings { attempts_max: 30, seed, ..FetchSettings::default() };
        let (report, taken) = fetch(&store, settings).await;
        assert!(taken.is_exactly(&store.objects), "seed {seed}: {report:?}");
        assert!(report.requests > 100 && report.duplicates > 0, "seed {seed}: {report:?}");
        assert!(report.window_min < 16, "seed {seed}: {report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_in_the_middle_is_waited_out() {
    let store = Store::new(3, 100, 1).await;
    let taken = Taken::default();
    let mut inner = taken.taker();
    let broker = store.broker.clone();
    let mut count = 0;
    let mut take = |digest: &Digest, bytes: Bytes| {
        count += 1;
        if count == 30 {
            broker.partition("kiosk-7");
            let broker = broker.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(30)).await;
                broker.heal("kiosk-7");
            });
        }
        inner(digest, bytes)
    };
    let report = store.fetcher(FetchSettings::default()).fetch(&store.wanted(), &mut take, never()).await.unwrap();
    assert!(taken.is_exactly(&store.objects), "{report:?}");
    assert!(report.requests <= 100 + 16, "only what was on the way is asked for again: {report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_stays_down_ends_the_fetch() {
    let store = Store::new(3, 10, 1).await;
    store.broker.stop();
    let settings = FetchSettings { offline_patience: Duration::from_secs(5), ..FetchSettings::default() };
    let mut take = |_: &Digest, _: Bytes| Verdict::Taken;
    let error = store.fetcher(settings).fetch(&store.wanted(), &mut take, never()).await.unwrap_err();
    assert!(matches!(error, FetchError::Offline { waited } if waited >= Duration::from_secs(5)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_servers_end_is_survived_by_the_next_one() {
    let mut store = Store::new(3, 60, 1).await;
    let taken = Taken::default();
    let mut take = taken.taker();
    let half: Vec<Digest> = store.wanted()[..30].to_vec();
    let mut fetcher = store.fetcher(FetchSettings::default());
    fetcher.fetch(&half, &mut take, never()).await.unwrap();
    store.servers.clear();
    let wanted = store.wanted();
    let rest = fetcher.fetch(&wanted[30..], &mut take, never());
    tokio::pin!(rest);
    // Nobody answers for ten seconds; then there is a server again.
    assert!(tokio::time::timeout(Duration::from_secs(10), rest.as_mut()).await.is_err());
    store.add_server("server-1").await;
    let report = rest.await.unwrap();
    assert_eq!((report.taken, report.not_fetched.len()), (30, 0), "{report:?}");
    assert!(taken.is_exactly(&store.objects));
}

#[tokio::test(start_paused = true)]
async fn without_any_server_every_object_is_given_up() {
    let store = Store::new(3, 20, 0).await;
    let settings = FetchSettings { attempts_max: 3, ..FetchSettings::default() };
    let (report, _) = fetch(&store, settings).await;
    assert_eq!((report.taken, report.requests, report.window_min), (0, 60, 1));
    assert_eq!(report.not_fetched.len(), 20);
    assert!(report.not_fetched.iter().all(|(_, why)| *why == NotFetched::NoAnswer));
}

#[tokio::test(start_paused = true)]
async fn what_the_fleet_does_not_have_is_named_and_the_rest_arrives() {
    let store = Store::new(3, 20, 2).await;
    let missing = Digest::of(b"nobody has this");
    let mut wanted = store.wanted();
    wanted.insert(3, missing);
    wanted.push(wanted[0]);
    let taken = Taken::default();
    let mut take = taken.taker();
    let report = store.fetcher(FetchSettings::default()).fetch(&wanted, &mut take, never()).await.unwrap();
    assert!(taken.is_exactly(&store.objects), "an object that is named twice is fetched once");
    assert_eq!(report.not_fetched, [(missing, NotFetched::NotFound)]);
    assert_eq!(report.requests, 22, "two servers were asked for the missing one");
}

/// A server that answers as `answer` says.
fn strange_server(
    store: &Store,
    answer: impl Fn(&Request, u64) -> Vec<Bytes> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let (link, mut events) = store.broker.connect("strange", None);
    link.subscribe(Filter::Requests(fleet())).unwrap();
    let broker_link = link.clone();
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(event) = events.recv().await {
            let cloud_sync_link::LinkEvent::Message(message) = event else { continue };
            let request = Request::decode(&message.payload).unwrap();
            for payload in answer(&request, count) {
                let options =
                    cloud_sync_link::Publish { correlation: message.correlation.clone(), ..Default::default() };
                broker_link.publish(Topic::Chunk(fleet(), device()), payload, options).unwrap();
            }
            count += 1;
        }
    })
}

#[tokio::test(start_paused = true)]
async fn wrong_copies_are_asked_for_again_a_few_times() {
    let store = Store::new(3, 5, 0).await;
    let objects = store.objects.clone();
    let bad = store.wanted()[2];
    // One object is always flipped; each other one is wrong the first time.
    let _server = strange_server(&store, move |request, count| {
        let mut bytes = objects[&request.subject()].to_vec();
        if request.subject() == bad || count < 5 {
            bytes[0] ^= 1;
        }
        vec![Reply::object(request.subject(), bytes.into()).encode().unwrap()]
    });
    let (report, taken) = fetch(&store, FetchSettings::default()).await;
    assert_eq!(report.taken, 4);
    assert_eq!(report.not_fetched, [(bad, NotFetched::Wrong("its digest differs".to_owned()))]);
    assert_eq!(report.requests, 4 * 2 + 3);
    assert_eq!(taken.0.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_copies_or_garbage_change_nothing() {
    let store = Store::new(3, 30, 0).await;
    let objects = store.objects.clone();
    let _server = strange_server(&store, move |request, count| {
        let good = Reply::object(request.subject(), objects[&request.subject()].clone()).encode().unwrap();
        match count % 3 {
            0 => vec![good.clone(), good.clone(), good],
            1 => vec![good, Bytes::from_static(b"garbage")],
            _ => vec![good],
        }
    });
    let (report, taken) = fetch(&store, FetchSettings::default()).await;
    assert!(taken.is_exactly(&store.objects));
    assert_eq!((report.requests, report.not_fetched.len()), (30, 0), "{report:?}");
    assert!(report.duplicates > 0);
}

#[tokio::test(start_paused = true)]
async fn answers_that_somebody_made_up_do_not_count() {
    let store = Store::new(3, 1, 0).await;
    let digest = store.wanted()[0];
    let topic = Topic::Chunk(fleet(), device()).to_string();
    let forged = Reply::object(digest, Bytes::from_static(b"forged")).encode().unwrap();
    let objects = store.objects.clone();
    let broker = store.broker.clone();
    let _server = strange_server(&store, move |request, _| {
        // Without the request's correlation data, more often than wrong copies are forgiven.
        for _ in 0..10 {
            broker.inject(&topic, forged.clone(), false);
        }
        vec![Reply::object(request.subject(), objects[&request.subject()].clone()).encode().unwrap()]
    });
    let (report, taken) = fetch(&store, FetchSettings::default()).await;
    assert!(taken.is_exactly(&store.objects), "{report:?}");
    assert_eq!((report.requests, report.duplicates), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn an_abort_ends_the_fetch_in_the_middle_and_the_fetcher_goes_on_later() {
    let store = Store::new(3, 100, 1).await;
    let taken = Taken::default();
    let (abort, aborted) = watch::channel(false);
    let mut inner = taken.taker();
    let mut count = 0;
    let mut take = |digest: &Digest, bytes: Bytes| {
        count += 1;
        if count == 10 {
            abort.send_replace(true);
        }
        inner(digest, bytes)
    };
    let mut fetcher = store.fetcher(FetchSettings::default());
    assert_eq!(fetcher.fetch(&store.wanted(), &mut take, aborted).await, Err(FetchError::Aborted));
    assert_eq!(count, 10, "nothing is taken after the abort");
    let rest: Vec<Digest> =
        store.wanted().into_iter().filter(|digest| !taken.0.lock().unwrap().contains_key(digest)).collect();
    let mut take = taken.taker();
    let report = fetcher.fetch(&rest, &mut take, never()).await.unwrap();
    assert_eq!(report.taken, 90);
    assert!(taken.is_exactly(&store.objects));
}

#[tokio::test(start_paused = true)]
async fn a_taker_that_can_take_no_more_ends_the_fetch() {
    let store = Store::new(3, 10, 1).await;
    let mut take = |_: &Digest, _: Bytes| Verdict::Stop("the disk is full".to_owned());
    let error = store.fetcher(FetchSettings::default()).fetch(&store.wanted(), &mut take, never()).await;
    assert_eq!(error, Err(FetchError::Stopped("the disk is full".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_fetcher_is_a_carrier_and_leaves_no_subscription() {
    let store = Store::new(3, 10, 1).await;
    let mut carrier: Box<dyn ObjectCarrier> = Box::new(store.fetcher(FetchSettings::default()));
    assert_eq!(carrier.name(), "mqtt");
    let taken = Taken::default();
    let mut take = taken.taker();
    let wanted = store.wanted();
    carrier.fetch(&wanted, &mut take, never()).await.unwrap();
    assert!(taken.is_exactly(&store.objects));
    drop(take);
    drop(carrier);
    store.device.flush(PATIENCE).await.unwrap();
    let before = store.device.statistics().received;
    store.broker.inject(&Topic::Chunk(fleet(), device()).to_string(), "x", false);
    store.device.publish("mark", "x", cloud_sync_link::Publish::default()).unwrap();
    store.device.flush(PATIENCE).await.unwrap();
    assert_eq!(store.device.statistics().received, before);
}
