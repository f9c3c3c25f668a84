//! TLS with a client certificate, checked against the caller's clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};

use crate::error::LinkError;
use crate::settings::{Clock, MqttSettings};

/// Certificates in one PEM text.
const CERTIFICATES_MAX: usize = 16;

struct ClockTime(Clock);

impl fmt::Debug for ClockTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClockTime({})", (self.0)())
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs((self.0)())))
    }
}

/// The TLS side of one connection. The cryptography is ring, named here and not taken from a process-wide default,
/// so that no other crate of the program can change it.
pub(crate) fn client_config(settings: &MqttSettings) -> Result<ClientConfig, LinkError> {
    let wrong = |what: &str, reason: String| LinkError::Settings { reason: format!("{what}: {reason}") };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the broker's CA", &settings.ca_pem)? {
        roots.add(certificate).map_err(|error| wrong("the broker's CA", error.to_string()))?;
    }
    let builder = ClientConfig::builder_with_details(
        Arc::new(ring::default_provider()),
        Arc::new(ClockTime(settings.clock.clone())),
    )
    .with_safe_default_protocol_versions()
    .map_err(|error| wrong("TLS versions", error.to_string()))?
    .with_root_certificates(roots);
    if settings.certificate_pem.is_empty() && settings.key_pem.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let chain = certificates("the client's certificate", &settings.certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(settings.key_pem.as_bytes())
        .map_err(|error| wrong("the client's private key", error.to_string()))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| wrong("the client's certificate and private key", error.to_string()))
}

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let wrong = |reason: String| LinkError::Settings { reason: format!("{what}: {reason}") };
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(CERTIFICATES_MAX + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    match certificates.len() {
        0 => Err(wrong("the PEM text holds no certificate".to_owned())),
        count if count > CERTIFICATES_MAX => Err(wrong(format!("more than {CERTIFICATES_MAX} certificates"))),
        _ => Ok(certificates),
    }
}
