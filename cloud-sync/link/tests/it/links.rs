//! What a link promises whatever is beneath it.

use std::time::Duration;

use bytes::Bytes;
use cloud_sync_link::memory::{Faults, MemoryBroker};
use cloud_sync_link::{LinkError, LinkEvent, OutboxLimits, Publish, Will, retained, retained_many};
use cloud_sync_protocol::Topic;

use crate::setup::{PATIENCE, event, fleet, message, up};

#[tokio::test(start_paused = true)]
async fn messages_reach_subscribers_in_order() {
    let broker = MemoryBroker::new(1);
    let (sender, mut sender_events) = broker.connect("a", None);
    let (receiver, mut events) = broker.connect("b", None);
    receiver.subscribe("t/+").unwrap();
    assert!(up(&mut events).await && up(&mut sender_events).await);
    receiver.flush(PATIENCE).await.unwrap();
    for index in 0..50_u8 {
        let options = Publish { correlation: Some(Bytes::from(vec![index])), ..Publish::default() };
        sender.publish("t/x", vec![index], options).unwrap();
        sender.publish("other/x", vec![index], Publish::default()).unwrap();
    }
    for index in 0..50_u8 {
        let message = message(&mut events).await;
        assert_eq!(message.payload.as_ref(), [index]);
        assert_eq!(message.correlation.as_deref(), Some([index].as_slice()));
        assert_eq!((message.topic.as_str(), message.retained), ("t/x", false));
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_subscribed_again_and_what_waited_is_sent() {
    let broker = MemoryBroker::new(1);
    let (device, mut events) = broker.connect("device", None);
    let (fleet, _fleet_events) = broker.connect("fleet", None);
    device.subscribe("down").unwrap();
    device.subscribe("gone").unwrap();
    fleet.subscribe("up").unwrap();
    assert!(up(&mut events).await);
    device.unsubscribe("gone").unwrap();
    device.flush(PATIENCE).await.unwrap();
    broker.partition("device");
    assert!(matches!(event(&mut events).await, LinkEvent::Down { why: LinkError::Lost { .. } }));
    assert!(!device.is_up());
    device.subscribe("new").unwrap();
    device.publish("up", "while down", Publish::default()).unwrap();
    assert!(matches!(event(&mut events).await, LinkEvent::Down { why: LinkError::Unreachable { .. } }));
    broker.heal("device");
    assert!(!up(&mut events).await, "it is not the first connection");
    device.flush(PATIENCE).await.unwrap();
    for topic in ["down", "gone", "new"] {
        fleet.publish(topic, topic, Publish::default()).unwrap();
    }
    assert_eq!(message(&mut events).await.topic, "down");
    assert_eq!(message(&mut events).await.topic, "new");
    assert_eq!(device.statistics().connects, 2);
}

#[tokio::test(start_paused = true)]
async fn the_outbox_keeps_the_newest() {
    let broker = MemoryBroker::new(1);
    broker.stop();
    let limits = OutboxLimits { messages_max: 3, bytes_max: 1000 };
    let (device, _events) = broker.connect_with("device", None, limits);
    let (fleet, mut events) = broker.connect("fleet", None);
    fleet.subscribe("status").unwrap();
    for index in 0..10_u8 {
        device.publish("status", vec![index], Publish::default()).unwrap();
    }
    assert_eq!(device.statistics().evicted, 7);
    // The fleet connects first, so that it hears everything.
    broker.partition("device");
    broker.start();
    up(&mut events).await;
    broker.heal("device");
    for index in 7..10_u8 {
        assert_eq!(message(&mut events).await.payload.as_ref(), [index]);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_room_evicts_nothing() {
    let broker = MemoryBroker::new(1);
    broker.stop();
    let limits = OutboxLimits { messages_max: 2, bytes_max: 1000 };
    let (link, _events) = broker.connect_with("a", None, limits);
    for index in 0..2_u8 {
        link.publish_when_room("t", vec![index], Publish::default()).await.unwrap();
    }
    let third = link.publish_when_room("t", vec![2], Publish::default());
    tokio::pin!(third);
    assert!(tokio::time::timeout(Duration::from_secs(60), third.as_mut()).await.is_err());
    broker.start();
    third.await.unwrap();
    assert_eq!(link.statistics().evicted, 0);
    link.close().await;
    assert_eq!(link.publish_when_room("t", vec![3], Publish::default()).await, Err(LinkError::Closed));
}

#[tokio::test(start_paused = true)]
async fn the_last_will_comes_with_a_lost_connection_and_not_with_a_goodbye() {
    let broker = MemoryBroker::new(1);
    let will = || Some(Will { topic: "status".into(), payload: Bytes::from_static(b"offline") });
    let (fleet, mut events) = broker.connect("fleet", None);
    fleet.subscribe("#").unwrap();
    up(&mut events).await;
    let (device, mut device_events) = broker.connect("device", will());
    up(&mut device_events).await;
    broker.kick("device");
    assert_eq!(message(&mut events).await.payload.as_ref(), b"offline");
    assert!(!up(&mut device_events).await);
    device.close().await;
    device.close().await;
    assert_eq!(device.publish("t", "x", Publish::default()), Err(LinkError::Closed));
    let (device, mut device_events) = broker.connect("device", will());
    up(&mut device_events).await;
    drop(device);
    assert_eq!(message(&mut events).await.payload.as_ref(), b"offline", "dropping a link is no goodbye");
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_of_one_client_ends_the_first() {
    let broker = MemoryBroker::new(1);
    let (_first, mut first_events) = broker.connect("device", None);
    up(&mut first_events).await;
    let (_second, mut second_events) = broker.connect("device", None);
    up(&mut second_events).await;
    assert!(matches!(event(&mut first_events).await, LinkEvent::Down { why: LinkError::Lost { .. } }));
}

#[tokio::test(start_paused = true)]
async fn retained_messages_are_found_or_not() {
    let broker = MemoryBroker::new(1);
    let (link, mut events) = broker.connect("device", None);
    up(&mut events).await;
    let [root, snapshot, targets] = [Topic::Root, Topic::Snapshot, Topic::Targets].map(|topic| topic(fleet()));
    broker.inject(&root.to_string(), "root", true);
    broker.inject(&snapshot.to_string(), "snapshot", true);
    let second = Duration::from_secs(1);
    assert_eq!(retained(&link, &root, second).await.unwrap().as_deref(), Some(b"root".as_slice()));
    assert_eq!(retained(&link, &targets, second).await.unwrap(), None);
    let all = [targets.clone(), root.clone(), snapshot.clone()];
    let found = retained_many(&link, &all, second).await.unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), [&root, &snapshot]);
    broker.inject(&root.to_string(), "", true);
    assert_eq!(retained(&link, &root, second).await.unwrap(), None);
    // The questions left no subscription behind.
    broker.inject(&snapshot.to_string(), "newer", true);
    link.subscribe("mark").unwrap();
    link.flush(PATIENCE).await.unwrap();
    broker.inject("mark", "x", false);
    assert_eq!(message(&mut events).await.topic, "mark");
    // A subscription that was there stays, and the events hear of it, too.
    link.subscribe(&snapshot).unwrap();
    assert_eq!(message(&mut events).await.payload.as_ref(), b"newer");
    assert_eq!(retained(&link, &snapshot, second).await.unwrap().as_deref(), Some(b"newer".as_slice()));
    assert_eq!(message(&mut events).await.payload.as_ref(), b"newer");
    broker.inject(&snapshot.to_string(), "newest", true);
    assert_eq!(message(&mut events).await.payload.as_ref(), b"newest");
}

#[tokio::test(start_paused = true)]
async fn diverted_messages_do_not_reach_the_events() {
    let broker = MemoryBroker::new(1);
    let (link, mut events) = broker.connect("device", None);
    let mut diverted = link.divert("chunk/+", 2).unwrap();
    link.subscribe("#").unwrap();
    up(&mut events).await;
    link.flush(PATIENCE).await.unwrap();
    for index in 0..4_u8 {
        broker.inject("chunk/a", vec![index], false);
    }
    broker.inject("mark", "x", false);
    assert_eq!(message(&mut events).await.topic, "mark");
    assert_eq!(diverted.recv().await.unwrap().payload.as_ref(), [0]);
    assert_eq!(diverted.try_recv().unwrap().payload.as_ref(), [1]);
    assert!(diverted.try_recv().is_none());
    assert_eq!(link.statistics().overrun, 2, "two were more than the receiver holds");
    drop(diverted);
    broker.inject("chunk/a", "x", false);
    assert_eq!(message(&mut events).await.topic, "chunk/a");
    let mut diverted = link.divert("chunk/+", 2).unwrap();
    link.close().await;
    assert!(diverted.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn messages_that_no_broker_takes_are_refused_at_once() {
    let broker = MemoryBroker::new(1);
    let (link, _events) = broker.connect("device", None);
    let long = vec![0; 60 * 1024 + 1];
    assert!(matches!(link.publish("t", long, Publish::default()), Err(LinkError::TooLarge { .. })));
    let options = Publish { correlation: Some(Bytes::from(vec![0; 65])), ..Publish::default() };
    assert!(matches!(link.publish("t", "x", options), Err(LinkError::TooLarge { .. })));
    assert!(matches!(link.publish("t/+", "x", Publish::default()), Err(LinkError::Topic { .. })));
    assert!(matches!(link.subscribe("t/#/u"), Err(LinkError::Topic { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_reads_no_events_can_still_close() {
    let broker = MemoryBroker::new(1);
    let (link, _unread) = broker.connect("device", None);
    link.subscribe("#").unwrap();
    link.wait_until_up(PATIENCE).await.unwrap();
    link.flush(PATIENCE).await.unwrap();
    for _ in 0..1000 {
        broker.inject("t", "x", false);
    }
    tokio::time::timeout(PATIENCE, link.close()).await.expect("closing does not wait for a reader");
}

#[tokio::test(start_paused = true)]
async fn faults_repeat_with_their_seed() {
    async fn run(seed: u64) -> Vec<u8> {
        let broker = MemoryBroker::new(seed);
        let (link, mut events) = broker.connect("device", None);
        link.subscribe("#").unwrap();
        up(&mut events).await;
        link.flush(PATIENCE).await.unwrap();
        let delay_max = Duration::from_millis(100);
        broker.set_faults(Faults { loss_per_mille: 200, duplication_per_mille: 200, quota_per_mille: 0, delay_max });
        for index in 0..100_u8 {
            broker.inject("t", vec![index], false);
        }
        tokio::time::sleep(delay_max).await;
        broker.set_faults(Faults::default());
        broker.inject("t", "end", false);
        let mut received = Vec::new();
        loop {
            match message(&mut events).await.payload.as_ref() {
                b"end" => return received,
                payload => received.push(payload[0]),
            }
        }
    }
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    let mut sorted = first.clone();
    sorted.sort_unstable();
    assert_ne!(first, sorted, "delays reorder");
    sorted.dedup();
    assert!(sorted.len() < 95 && sorted.len() < first.len(), "some are lost, some come twice");
}
