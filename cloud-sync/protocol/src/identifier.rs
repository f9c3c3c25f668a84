//! Names that become topic levels and folder names: validated once, then a type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{ProtocolError, excerpt};
use crate::limits::IDENTIFIER_BYTES_MAX;

/// The rule for every name: `[a-z0-9][a-z0-9._-]{0,62}`. It can hold no topic separator, wildcard or `..`.
fn broken_rule(text: &str) -> Option<&'static str> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    match text.as_bytes() {
        [] => Some("it is empty"),
        bytes if bytes.len() > IDENTIFIER_BYTES_MAX => Some("it is longer than 63 characters"),
        [first, ..] if !first.is_ascii_lowercase() && !first.is_ascii_digit() => {
            Some("it does not begin with a lowercase letter or a digit")
        }
        bytes if !bytes.iter().copied().all(inner) => Some("it has a character that names do not have"),
        _ => None,
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes `text` when it is a name.
            pub fn parse(text: &str) -> Result<Self, ProtocolError> {
                match broken_rule(text) {
                    None => Ok(Self(text.to_owned())),
                    Some(rule) => Err(ProtocolError::Identifier { kind: $kind, found: excerpt(text), rule }),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ProtocolError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier!(
    /// The name of a fleet: all devices under one root of trust.
    FleetId,
    "fleet name"
);
identifier!(
    /// The name of a device inside its fleet; also its MQTT client id and its certificate's common name.
    DeviceId,
    "device name"
);
identifier!(
    /// The name of a channel: the devices that follow one deployment.
    ChannelId,
    "channel name"
);
identifier!(
    /// The name of a model, which is the name of its artifact.
    ModelName,
    "model name"
);
