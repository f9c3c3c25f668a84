//! The real client: what it refuses to connect to, and how it names what goes wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cloud_sync_link::{BackoffSettings, LinkError, LinkEvent, MqttSettings, Plaintext, connect};
use cloud_sync_protocol::BrokerUrl;

use crate::setup::event;
use crate::tls_server::{ACCEPTED, Authority, BEGINS, ENDS, Identity, NOT_AUTHORIZED, start, start_plain};

fn settings(url: &str) -> MqttSettings {
    let backoff = BackoffSettings {
        first: Duration::from_millis(10),
        longest: Duration::from_millis(50),
        stable_after: Duration::from_secs(60),
    };
    let url = BrokerUrl::parse(url).unwrap();
    MqttSettings { backoff, ..MqttSettings::new(url, "kiosk-7", Arc::new(|| BEGINS + 1000), 1) }
}

fn with_tls(address: SocketAddr, authority: &Authority, identity: Option<&Identity>) -> MqttSettings {
    let mut settings = settings(&format!("mqtts://localhost:{}", address.port()));
    settings.ca_pem = authority.pem();
    if let Some(identity) = identity {
        settings.certificate_pem = identity.certificate.pem();
        settings.key_pem = identity.key.serialize_pem();
    }
    settings
}

/// The first thing that happens.
async fn outcome(settings: MqttSettings) -> LinkEvent {
    let (_link, mut events) = connect(settings).unwrap();
    event(&mut events).await
}

async fn failure(settings: MqttSettings) -> LinkError {
    match outcome(settings).await {
        LinkEvent::Down { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_certificate_is_taken_even_when_the_machine_stands_at_1970() {
    let authority = Authority::new("fleet");
    let address = start(&authority, &authority.issue("localhost"), ACCEPTED);
    let device = authority.issue("kiosk-7");
    let mut settings = with_tls(address, &authority, Some(&device));
    assert_eq!(outcome(settings.clone()).await, LinkEvent::Up { first: true });
    // The caller's clock is the greater of the system's, here 1970, and the time last seen.
    let time_seen = BEGINS + 5;
    settings.clock = Arc::new(move || time_seen.max(12));
    assert_eq!(outcome(settings).await, LinkEvent::Up { first: true });
}

#[tokio::test]
async fn what_is_wrong_with_certificates_is_named() {
    let authority = Authority::new("fleet");
    let stranger = Authority::new("stranger");
    let address = start(&authority, &authority.issue("localhost"), ACCEPTED);
    let device = authority.issue("kiosk-7");
    let error = failure(with_tls(address, &stranger, Some(&device))).await;
    assert!(matches!(error, LinkError::UnknownAuthority { .. }), "{error}");
    let elsewhere = start(&authority, &authority.issue("broker.example.org"), ACCEPTED);
    let error = failure(with_tls(elsewhere, &authority, Some(&device))).await;
    assert!(matches!(error, LinkError::WrongCertificate { .. }), "{error}");
    for time in [12, ENDS + 1] {
        let mut settings = with_tls(address, &authority, Some(&device));
        settings.clock = Arc::new(move || time);
        let error = failure(settings).await;
        assert!(matches!(error, LinkError::WrongCertificate { .. }), "at {time}: {error}");
    }
    for identity in [None, Some(stranger.issue("kiosk-7"))] {
        let error = failure(with_tls(address, &authority, identity.as_ref())).await;
        assert!(matches!(error, LinkError::IdentityRefused { .. }), "{error}");
        assert!(error.needs_a_person());
    }
}

#[tokio::test]
async fn hosts_that_are_no_broker_are_named() {
    let authority = Authority::new("fleet");
    let device = authority.issue("kiosk-7");
    let server = authority.issue("localhost");
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let error = failure(with_tls(closed, &authority, Some(&device))).await;
    assert!(matches!(error, LinkError::Unreachable { .. }) && !error.needs_a_person(), "{error}");
    let error = failure(with_tls(start(&authority, &server, NOT_AUTHORIZED), &authority, Some(&device))).await;
    assert!(matches!(&error, LinkError::Refused { reason, .. } if reason == "NotAuthorized"), "{error}");
    for answer in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), b"", b"\x20\x03\x00\xfe\x00", b"\xf0\x00"] {
        let error = failure(with_tls(start(&authority, &server, answer), &authority, Some(&device))).await;
        assert!(matches!(error, LinkError::Protocol { .. }), "{answer:?}: {error}");
        let plain = start_plain(answer);
        let error = failure(settings(&format!("mqtt://127.0.0.1:{}", plain.port()))).await;
        assert!(matches!(error, LinkError::Protocol { .. }), "{answer:?}: {error}");
        // TLS against a server without it.
        let error = failure(with_tls(plain, &authority, Some(&device))).await;
        assert!(matches!(error, LinkError::Protocol { .. } | LinkError::Unreachable { .. }), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_broker_that_sends_garbage_after_the_connect_costs_the_connection_only() {
    // CONNACK, then a PUBLISH that says it is larger than the client takes.
    let address = start_plain(&[0x20, 3, 0, 0, 0, 0x30, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3]);
    let (link, mut events) = connect(settings(&format!("mqtt://127.0.0.1:{}", address.port()))).unwrap();
    for round in 0..3 {
        assert_eq!(event(&mut events).await, LinkEvent::Up { first: round == 0 });
        assert!(matches!(event(&mut events).await, LinkEvent::Down { why: LinkError::Lost { .. } }));
    }
    link.close().await;
}

#[tokio::test]
async fn waiting_ends_early_when_a_person_is_needed() {
    let authority = Authority::new("fleet");
    let stranger = Authority::new("stranger");
    let address = start(&authority, &authority.issue("localhost"), ACCEPTED);
    let (link, _events) = connect(with_tls(address, &stranger, None)).unwrap();
    let error = link.wait_until_up(Duration::from_secs(3600)).await.unwrap_err();
    assert!(matches!(error, LinkError::UnknownAuthority { .. }), "{error}");
    link.close().await;
}

#[tokio::test]
async fn settings_that_describe_no_connection_are_refused() {
    let authority = Authority::new("fleet");
    let identity = authority.issue("kiosk-7");
    let tls = || {
        let mut settings = settings("mqtts://broker.example.org");
        settings.ca_pem = authority.pem();
        settings.certificate_pem = identity.certificate.pem();
        settings.key_pem = identity.key.serialize_pem();
        settings
    };
    let other_key = authority.issue("other").key.serialize_pem();
    type Change = Box<dyn Fn(&mut MqttSettings)>;
    let rows: Vec<(&str, Change, &str)> = vec![
        ("no CA", Box::new(|settings| settings.ca_pem.clear()), "broker's CA"),
        ("no PEM", Box::new(|settings| settings.ca_pem = "hello".into()), "broker's CA"),
        ("a key as CA", Box::new(|settings| settings.ca_pem = settings.key_pem.clone()), "broker's CA"),
        ("no certificate", Box::new(|settings| settings.certificate_pem.clear()), "client's certificate"),
        ("no key", Box::new(|settings| settings.key_pem.clear()), "private key"),
        ("another key", Box::new(move |settings| settings.key_pem = other_key.clone()), "private key"),
        ("no client id", Box::new(|settings| settings.client_id.clear()), "client id"),
        ("keep-alive", Box::new(|settings| settings.keep_alive = Duration::from_secs(1)), "keep-alive"),
        ("plain", Box::new(|settings| settings.url = BrokerUrl::parse("mqtt://10.0.0.1").unwrap()), "not encrypted"),
    ];
    for (row, change, part) in rows {
        let mut settings = tls();
        change(&mut settings);
        let error = connect(settings).expect_err(row);
        assert!(matches!(error, LinkError::Settings { .. }) && error.to_string().contains(part), "{row}: {error}");
    }
    let mut plain = settings("mqtt://10.0.0.1");
    plain.plaintext = Plaintext::AnyHostWithoutEncryptionOrIdentity;
    let (link, _events) = connect(plain).unwrap();
    link.close().await;
    let debug = format!("{:?}", tls());
    assert!(!debug.contains("PRIVATE"), "{debug}");
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    assert!(matches!(connect(settings("mqtt://127.0.0.1")), Err(LinkError::Settings { .. })));
}
