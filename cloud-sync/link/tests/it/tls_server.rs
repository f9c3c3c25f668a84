//! A server of a few lines: TLS with client certificates, then one canned answer to whatever comes first.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, Stream};

/// MQTT 5 CONNACK: no session, success, no properties.
pub(crate) const ACCEPTED: &[u8] = &[0x20, 3, 0, 0, 0];
/// MQTT 5 CONNACK: not authorized.
pub(crate) const NOT_AUTHORIZED: &[u8] = &[0x20, 3, 0, 0x87, 0];

/// Seconds since 1970 at which the test certificates begin and end: the year 2026.
pub(crate) const BEGINS: u64 = 1_767_225_600;
pub(crate) const ENDS: u64 = 1_798_761_600;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

pub(crate) struct Identity {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

fn dated(mut params: CertificateParams) -> CertificateParams {
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = dated(CertificateParams::default());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, name: &str) -> Identity {
        let mut params = dated(CertificateParams::new(vec![name.to_owned()]).unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Identity { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }
}

/// Answers every connection's first bytes with `answer`, over TLS that only takes clients of `authority`.
pub(crate) fn start(authority: &Authority, identity: &Identity, answer: &'static [u8]) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_details(provider, Arc::new(In2026))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(identity.certificate.pem().as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(identity.key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    accept(move |mut socket| {
        let mut connection = ServerConnection::new(config.clone()).unwrap();
        converse(&mut Stream::new(&mut connection, &mut socket), answer);
    })
}

/// The same without TLS.
pub(crate) fn start_plain(answer: &'static [u8]) -> SocketAddr {
    accept(move |mut socket| converse(&mut socket, answer))
}

fn accept(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The thread ends with the test process.
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

/// Answers the first bytes, then reads until the client goes away.
fn converse(stream: &mut (impl Read + Write), answer: &[u8]) {
    let mut buffer = [0; 1024];
    let mut answered = false;
    while let Ok(1..) = stream.read(&mut buffer) {
        if !answered && stream.write_all(answer).and_then(|()| stream.flush()).is_err() {
            return;
        }
        answered = true;
        // Whoever is no broker hangs up after the answer.
        if !answer.starts_with(&ACCEPTED[..1]) {
            return;
        }
    }
}

#[derive(Debug)]
struct In2026;

impl rustls::time_provider::TimeProvider for In2026 {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let seconds = std::time::Duration::from_secs(BEGINS + 1000);
        Some(rustls::pki_types::UnixTime::since_unix_epoch(seconds))
    }
}
