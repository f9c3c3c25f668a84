//! The device CA: certificates for devices, for the controller and for a broker.
//!
//! Everything is ECDSA P-256, which every TLS library and cloud broker takes. Certificates are backdated by a
//! day, so that a device whose clock is a little behind accepts them. A subject has a common name only: rumqttd
//! reads an organisation as a tenant and prefixes its topics.

use std::time::Duration;

use cloud_sync_protocol::{DeviceId, FleetId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use runtime_trust::Digest;
use zeroize::Zeroizing;

/// How far certificates are backdated, in seconds.
pub const BACKDATED_S: u64 = DAY_S;
const DAY_S: u64 = 24 * 60 * 60;
/// The CA outlives the devices that it signs: 20 years.
const CA_DAYS: u64 = 7305;
/// A device is enrolled again after at most five years.
const DEVICE_DAYS: u64 = 1826;
/// The longest that common TLS libraries take for a server.
const SERVER_DAYS: u64 = 397;
/// The last moment that a certificate can name without care: the year 9999 would overflow arithmetic on the way.
const LATEST_UNIX: u64 = 32_503_680_000;
const SERIAL_BYTES: usize = 16;
/// The common name of the controller. It begins with a character that no device name has.
pub const CONTROLLER_NAME: &str = "_fleet";

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate library refused.
    #[error("make a certificate for {subject}: {reason}")]
    Refused {
        /// Whom it was for.
        subject: String,
        /// What the library said.
        reason: String,
    },
    /// The stored CA is not usable.
    #[error("read the device CA: {0}")]
    Authority(String),
    /// No random serial number.
    #[error("make a serial number: {0}")]
    NoRandomness(String),
}

/// A new device CA.
#[derive(Debug)]
pub struct NewAuthority {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The private key, PKCS #8 DER.
    pub key_der: Zeroizing<Vec<u8>>,
    /// The public key's raw bytes.
    pub public: Vec<u8>,
}

/// A certificate with its private key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The private key, PEM.
    pub key_pem: Zeroizing<String>,
    /// SHA-256 of the certificate's DER: what a broker's log or revocation list names.
    pub fingerprint: Digest,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

/// The CA with its key.
pub struct DeviceAuthority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    expires: u64,
}

impl std::fmt::Debug for DeviceAuthority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key never reaches a log.
        formatter.debug_struct("DeviceAuthority").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Makes the device CA of `fleet` at the time `now`, in seconds since 1970.
pub fn new_authority(fleet: &FleetId, now: u64) -> Result<NewAuthority, CertificateError> {
    let subject = format!("cask {fleet} device CA");
    let refused = refused(&subject);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(&refused)?;
    let mut parameters = parameters(&subject, &[], now, now.saturating_add(CA_DAYS * DAY_S))?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key).map_err(&refused)?;
    Ok(NewAuthority {
        certificate_pem: certificate.pem(),
        public: key.public_key_raw().to_vec(),
        key_der: Zeroizing::new(key.serialize_der()),
    })
}

impl DeviceAuthority {
    /// The CA from its certificate and its opened key.
    pub fn open(certificate_pem: &str, key_der: &[u8]) -> Result<Self, CertificateError> {
        let authority = |reason: &dyn std::fmt::Display| CertificateError::Authority(reason.to_string());
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()).map_err(|error| authority(&error))?;
        let certificate = pem.parse_x509().map_err(|error| authority(&error))?;
        let expires = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key_der.into(), &PKCS_ECDSA_P256_SHA256)
            .map_err(|error| authority(&error))?;
        if certificate.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(CertificateError::Authority("the certificate does not belong to the key".to_owned()));
        }
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(|error| authority(&error))?;
        Ok(DeviceAuthority { certificate_pem: certificate_pem.to_owned(), issuer, expires })
    }

    /// The CA's certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A client certificate whose common name is the device's name.
    pub fn device(&self, device: &DeviceId, now: u64) -> Result<Identity, CertificateError> {
        self.issue(device.as_str(), &[], ExtendedKeyUsagePurpose::ClientAuth, DEVICE_DAYS, now)
    }

    /// A client certificate for the fleet's controller.
    pub fn controller(&self, now: u64) -> Result<Identity, CertificateError> {
        self.issue(CONTROLLER_NAME, &[], ExtendedKeyUsagePurpose::ClientAuth, SERVER_DAYS, now)
    }

    /// A server certificate for host names and addresses; at least one.
    pub fn server(&self, hosts: &[String], now: u64) -> Result<Identity, CertificateError> {
        let Some(first) = hosts.first() else {
            return Err(CertificateError::Refused { subject: "a broker".into(), reason: "no host is named".into() });
        };
        self.issue(first, hosts, ExtendedKeyUsagePurpose::ServerAuth, SERVER_DAYS, now)
    }

    fn issue(
        &self,
        subject: &str,
        hosts: &[String],
        purpose: ExtendedKeyUsagePurpose,
        days: u64,
        now: u64,
    ) -> Result<Identity, CertificateError> {
        let refused = refused(subject);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(&refused)?;
        let expires = now.saturating_add(days * DAY_S).min(self.expires);
        let mut parameters = parameters(subject, hosts, now, expires)?;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![purpose];
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(&refused)?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
            fingerprint: Digest::of(certificate.der()),
            expires,
        })
    }
}

fn refused(subject: &str) -> impl Fn(rcgen::Error) -> CertificateError {
    move |error| CertificateError::Refused { subject: subject.to_owned(), reason: error.to_string() }
}

fn parameters(subject: &str, hosts: &[String], now: u64, expires: u64) -> Result<CertificateParams, CertificateError> {
    let mut parameters = CertificateParams::new(hosts).map_err(refused(subject))?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |unix: u64| epoch + Duration::from_secs(unix.min(LATEST_UNIX));
    parameters.not_before = at(now.saturating_sub(BACKDATED_S));
    parameters.not_after = at(expires);
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, subject);
    let mut serial = [0; SERIAL_BYTES];
    getrandom::fill(&mut serial).map_err(|error| CertificateError::NoRandomness(error.to_string()))?;
    // A serial number is positive and has no leading zero byte (RFC 5280, 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn authority() -> DeviceAuthority {
        let fleet = FleetId::parse("kiosks").expect("a name");
        let new = new_authority(&fleet, NOW).expect("a CA");
        DeviceAuthority::open(&new.certificate_pem, &new.key_der).expect("the CA opens")
    }

    fn parsed<T>(pem: &str, look: impl FnOnce(&x509_parser::certificate::X509Certificate<'_>) -> T) -> T {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM");
        look(&pem.parse_x509().expect("a certificate"))
    }

    #[test]
    fn certificates_are_backdated_and_bounded() {
        let authority = authority();
        let device = DeviceId::parse("camera-1").expect("a name");
        let identities = [
            ("device", authority.device(&device, NOW).expect("device"), DEVICE_DAYS),
            ("controller", authority.controller(NOW).expect("controller"), SERVER_DAYS),
            ("server", authority.server(&["127.0.0.1".to_owned()], NOW).expect("server"), SERVER_DAYS),
        ];
        for (name, identity, days) in identities {
            assert_eq!(identity.expires, NOW + days * DAY_S, "{name}");
            parsed(&identity.certificate_pem, |certificate| {
                assert_eq!(certificate.validity().not_before.timestamp() as u64, NOW - BACKDATED_S, "{name}");
                assert_eq!(certificate.validity().not_after.timestamp() as u64, identity.expires, "{name}");
                assert!(certificate.subject().iter_organization().next().is_none(), "{name}: an organisation");
                assert!(!certificate.is_ca(), "{name}: a CA");
            });
        }
        let late = authority.device(&device, NOW + (CA_DAYS - 10) * DAY_S).expect("device");
        assert_eq!(late.expires, NOW + CA_DAYS * DAY_S, "a device never outlives its CA");
    }

    #[test]
    fn the_common_name_is_the_device() {
        let identity = authority().device(&DeviceId::parse("camera-1").expect("a name"), NOW).expect("device");
        parsed(&identity.certificate_pem, |certificate| {
            let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
            assert_eq!(name, Some("camera-1"));
        });
        assert!(DeviceId::parse(CONTROLLER_NAME).is_err(), "no device can take the controller's name");
    }

    #[test]
    fn a_ca_with_another_key_is_refused() {
        let fleet = FleetId::parse("kiosks").expect("a name");
        let one = new_authority(&fleet, NOW).expect("a CA");
        let other = new_authority(&fleet, NOW).expect("a CA");
        let error = DeviceAuthority::open(&one.certificate_pem, &other.key_der).expect_err("another key").to_string();
        assert_eq!(error, "read the device CA: the certificate does not belong to the key");
        for (pem, key) in [("", &one.key_der[..]), (&one.certificate_pem[..], b"x")] {
            assert!(DeviceAuthority::open(pem, key).is_err());
        }
    }

    #[test]
    fn a_clock_far_off_makes_no_panic() {
        let fleet = FleetId::parse("kiosks").expect("a name");
        for now in [0, u64::MAX] {
            new_authority(&fleet, now).expect("a CA");
        }
    }
}
