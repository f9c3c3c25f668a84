//! Why a connection could not be made or kept, in kinds that a person can act on.

use std::time::Duration;

/// A failure of the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The settings cannot describe a connection.
    #[error("connect to the broker: {reason}")]
    Settings {
        /// What is wrong and what was expected.
        reason: String,
    },
    /// Nothing answers at the address.
    #[error("reach the broker at {broker}: {reason}; check the address, the network and that the broker runs")]
    Unreachable {
        /// URL of the broker.
        broker: String,
        /// The operating system's answer.
        reason: String,
    },
    /// The broker's certificate was signed by an authority that this machine was not given.
    #[error(
        "trust the broker at {broker}: its certificate was signed by an unknown authority ({reason}); \
         compare it with the CA in the enrolment file"
    )]
    UnknownAuthority {
        /// URL of the broker.
        broker: String,
        /// The TLS library's answer.
        reason: String,
    },
    /// The broker's certificate does not fit its name or the time.
    #[error("trust the broker at {broker}: its certificate does not fit ({reason})")]
    WrongCertificate {
        /// URL of the broker.
        broker: String,
        /// The TLS library's answer.
        reason: String,
    },
    /// The broker does not accept this client's certificate, or wants one.
    #[error("identify to the broker at {broker}: it refuses this client's certificate ({reason}); enrol again")]
    IdentityRefused {
        /// URL of the broker.
        broker: String,
        /// The TLS alert.
        reason: String,
    },
    /// The broker answered the MQTT connect with a refusal.
    #[error("log in to the broker at {broker}: it refuses ({reason})")]
    Refused {
        /// URL of the broker.
        broker: String,
        /// The MQTT reason code by name.
        reason: String,
    },
    /// The other side does not speak MQTT 5 or TLS as expected.
    #[error("speak MQTT 5 with the broker at {broker}: {reason}")]
    Protocol {
        /// URL of the broker.
        broker: String,
        /// What was received.
        reason: String,
    },
    /// The connection stood and ended.
    #[error("keep the connection to the broker at {broker}: {reason}")]
    Lost {
        /// URL of the broker.
        broker: String,
        /// How it ended.
        reason: String,
    },
    /// A message is larger than the protocol or the broker takes.
    #[error("send to {topic}: {found_bytes} bytes, at most {max_bytes} are allowed")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Bytes of the message.
        found_bytes: usize,
        /// Bytes allowed.
        max_bytes: usize,
    },
    /// A topic or filter that MQTT does not allow.
    #[error("use the topic {topic:?}: {reason}")]
    Topic {
        /// The topic.
        topic: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// Something did not happen in time.
    #[error("{what} within {waited:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The link was closed.
    #[error("use a link that was closed")]
    Closed,
}

impl LinkError {
    /// Whether trying again unchanged cannot help, so that a person should be told at once.
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::Settings { .. }
                | Self::UnknownAuthority { .. }
                | Self::WrongCertificate { .. }
                | Self::IdentityRefused { .. }
                | Self::Refused { .. }
        )
    }
}
