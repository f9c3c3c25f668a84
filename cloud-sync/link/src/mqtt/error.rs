//! Sorts the MQTT client's errors into kinds that a person can act on.

use std::io;

use rumqttc::TlsError;
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::{ConnectionError, StateError};
use rustls::{AlertDescription, CertificateError};

use crate::error::LinkError;

/// Names the failure of an attempt to connect, or (`was_up`) the end of a connection that stood.
pub(crate) fn classify(error: &ConnectionError, broker: &str, was_up: bool) -> LinkError {
    let broker = broker.to_owned();
    if let Some(tls) = tls_cause(error) {
        return classify_tls(tls, broker);
    }
    if was_up {
        return LinkError::Lost { broker, reason: end_of_connection(error) };
    }
    match error {
        ConnectionError::Timeout(_) => LinkError::Unreachable { broker, reason: "no answer in time".to_owned() },
        ConnectionError::ConnectionRefused(code) => LinkError::Refused { broker, reason: format!("{code:?}") },
        ConnectionError::NotConnAck(packet) => {
            let reason = format!("the answer to connect was no CONNACK but {packet:?}");
            LinkError::Protocol { broker, reason: reason.chars().take(200).collect() }
        }
        error => match io_cause(error) {
            // Something took the connection and then did not behave like a broker.
            Some(io) if is_protocol(io) || matches!(error, ConnectionError::MqttState(_)) => {
                LinkError::Protocol { broker, reason: io.to_string() }
            }
            Some(io) => LinkError::Unreachable { broker, reason: io.to_string() },
            None => LinkError::Protocol { broker, reason: end_of_connection(error) },
        },
    }
}

fn end_of_connection(error: &ConnectionError) -> String {
    match error {
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "the other side closed it before it answered".to_owned()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => "no answer to a ping".to_owned(),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let text = reason_string.as_deref().unwrap_or_default();
            format!("the broker said goodbye: {reason_code:?} {text}").trim_end().to_owned()
        }
        ConnectionError::MqttState(StateError::Deserialization(PacketError::PayloadSizeLimitExceeded {
            pkt_size,
            max,
        })) => {
            format!("a packet of {pkt_size} bytes, at most {max} are taken")
        }
        error => io_cause(error).map_or_else(|| error.to_string(), ToString::to_string),
    }
}

fn io_cause(error: &ConnectionError) -> Option<&io::Error> {
    match error {
        ConnectionError::Io(io)
        | ConnectionError::Tls(TlsError::Io(io))
        | ConnectionError::MqttState(StateError::Io(io) | StateError::Deserialization(PacketError::Io(io))) => Some(io),
        _ => None,
    }
}

/// The TLS library reports through `io::Error` with itself inside.
fn tls_cause(error: &ConnectionError) -> Option<&rustls::Error> {
    if let ConnectionError::Tls(TlsError::TLS(error)) = error {
        return Some(error);
    }
    io_cause(error)?.get_ref()?.downcast_ref()
}

fn is_protocol(io: &io::Error) -> bool {
    matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn classify_tls(error: &rustls::Error, broker: String) -> LinkError {
    let reason = error.to_string();
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            LinkError::UnknownAuthority { broker, reason }
        }
        rustls::Error::InvalidCertificate(_) => LinkError::WrongCertificate { broker, reason },
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError,
        ) => LinkError::IdentityRefused { broker, reason },
        _ => LinkError::Protocol { broker, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::ConnectReturnCode;

    fn over_io(error: rustls::Error) -> ConnectionError {
        ConnectionError::Tls(TlsError::Io(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    #[test]
    fn every_kind_of_failure_has_its_own_name() {
        let refused = ConnectionError::Io(io::Error::from(io::ErrorKind::ConnectionRefused));
        let late_alert = ConnectionError::MqttState(StateError::Deserialization(PacketError::Io(io::Error::new(
            io::ErrorKind::InvalidData,
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
        ))));
        let kind = |error: &ConnectionError, was_up| match classify(error, "mqtts://b:8883", was_up) {
            LinkError::Unreachable { .. } => "unreachable",
            LinkError::UnknownAuthority { .. } => "authority",
            LinkError::WrongCertificate { .. } => "certificate",
            LinkError::IdentityRefused { .. } => "identity",
            LinkError::Refused { .. } => "refused",
            LinkError::Protocol { .. } => "protocol",
            LinkError::Lost { .. } => "lost",
            other => panic!("{other:?}"),
        };
        let certificate = |error| over_io(rustls::Error::InvalidCertificate(error));
        for (error, was_up, expected) in [
            (&refused, false, "unreachable"),
            (&refused, true, "lost"),
            (&certificate(CertificateError::UnknownIssuer), false, "authority"),
            (&certificate(CertificateError::NotValidForName), false, "certificate"),
            (&certificate(CertificateError::Expired), false, "certificate"),
            (&late_alert, false, "identity"),
            (&ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized), false, "refused"),
            (&ConnectionError::MqttState(StateError::ConnectionAborted), false, "protocol"),
            (&ConnectionError::MqttState(StateError::AwaitPingResp), true, "lost"),
        ] {
            assert_eq!(kind(error, was_up), expected, "{error:?}");
        }
    }
}
