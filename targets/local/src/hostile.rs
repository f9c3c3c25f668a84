//! An attacker inside the fleet's network: it has a device's certificate, and for some attacks stolen keys.
//!
//! It talks to the broker directly and writes into the operator's store directly; it uses nothing of the programs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Connection, Event, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::Value;

/// The largest packet that is read or written, in bytes.
const PACKET_BYTES_MAX: u32 = 64 * 1024;

/// The longest wait for one answer of the broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest enrolment file, in bytes.
const ENROLMENT_BYTES_MAX: u64 = 256 * 1024;

/// Where the broker is and what a client shows to it.
#[derive(Debug, Clone)]
pub struct Entry {
    host: String,
    port: u16,
    fleet: String,
    ca_pem: String,
    identity: Option<(String, String)>,
}

impl Entry {
    /// A stolen enrolment file.
    pub fn steal(enrolment: &Path) -> Result<Self> {
        let bytes = runtime_disk::read_bounded(enrolment, ENROLMENT_BYTES_MAX)?;
        let file: Value = serde_json::from_slice(&bytes)?;
        let text =
            |key: &str| file[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in the enrolment"));
        let url = text("broker")?;
        let (_, address) = url.split_once("://").context("the broker's URL has no scheme")?;
        let (host, port) = address.trim_end_matches('/').rsplit_once(':').context("the broker's URL has no port")?;
        Ok(Entry {
            host: host.to_owned(),
            port: port.parse()?,
            fleet: text("fleet")?,
            ca_pem: text("ca_pem")?,
            identity: Some((text("certificate_pem")?, text("key_pem")?)),
        })
    }

    /// The same without a certificate.
    pub fn anonymous(&self) -> Self {
        Entry { identity: None, ..self.clone() }
    }

    /// A topic of this fleet.
    pub fn topic(&self, rest: &str) -> String {
        format!("cask/{}/{rest}", self.fleet)
    }

    /// The name of the fleet.
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// Connects; fails when the broker refuses.
    pub fn connect(&self) -> Result<Intruder> {
        let mut options = MqttOptions::new(format!("intruder-{}", std::process::id()), &self.host, self.port);
        options.set_transport(Transport::tls_with_config(self.tls()?));
        options.set_max_packet_size(Some(PACKET_BYTES_MAX));
        options.set_connection_timeout(BROKER_TIMEOUT.as_secs());
        let (client, mut connection) = Client::new(options, 64);
        loop {
            match connection.recv_timeout(BROKER_TIMEOUT) {
                Ok(Ok(Event::Incoming(Packet::ConnAck(_)))) => return Ok(Intruder { client, connection }),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => bail!("the broker refused: {error}"),
                Err(_) => bail!("the broker did not answer"),
            }
        }
    }

    fn tls(&self) -> Result<TlsConfiguration> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
            }
        };
        Ok(TlsConfiguration::Rustls(Arc::new(config)))
    }
}

/// An open connection.
pub struct Intruder {
    client: Client,
    connection: Connection,
}

impl Intruder {
    /// Replaces what the broker retains under `topic`, and waits until the broker has it.
    pub fn plant(&mut self, topic: &str, payload: &[u8]) -> Result<()> {
        self.client.publish(topic, QoS::AtLeastOnce, true, payload.to_vec())?;
        self.wait(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))?;
        let retained = self.retained(topic)?;
        ensure!(retained == payload, "the broker did not keep what was planted under {topic}");
        Ok(())
    }

    /// What the broker retains under `topic`.
    pub fn retained(&mut self, topic: &str) -> Result<Vec<u8>> {
        self.client.subscribe(topic, QoS::AtLeastOnce)?;
        let wanted = topic.to_owned();
        let payload = self.wait(|packet| match packet {
            Packet::Publish(publish) if publish.topic == wanted.as_bytes() => Some(publish.payload.to_vec()),
            _ => None,
        })?;
        self.client.unsubscribe(topic)?;
        self.wait(|packet| matches!(packet, Packet::UnsubAck(_)).then_some(()))?;
        Ok(payload)
    }

    fn wait<T>(&mut self, mut wanted: impl FnMut(&Packet) -> Option<T>) -> Result<T> {
        loop {
            match self.connection.recv_timeout(BROKER_TIMEOUT) {
                Ok(Ok(Event::Incoming(packet))) => {
                    if let Some(value) = wanted(&packet) {
                        return Ok(value);
                    }
                }
                Ok(Ok(Event::Outgoing(_))) => {}
                Ok(Err(error)) => bail!("the broker hung up: {error}"),
                Err(_) => bail!("the broker did not answer"),
            }
        }
    }
}
