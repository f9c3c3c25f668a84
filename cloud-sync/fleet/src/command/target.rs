//! How a command line names an artifact: `NAME`, or `NAME@` and a version, number or digest.

use std::str::FromStr;

use cloud_sync_protocol::ModelName;

use crate::decide::VersionChoice;

/// A name and which of its versions is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The artifact's name.
    pub(super) name: ModelName,
    /// Which version.
    pub(super) version: VersionChoice,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, version.parse()?),
            None => (text, VersionChoice::Newest),
        };
        let name = ModelName::parse(name).map_err(|error| error.to_string())?;
        Ok(Target { name, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime_trust::Digest;

    #[test]
    fn every_way_to_name_a_version() {
        let digest = Digest::of(b"manifest");
        let rows = [
            ("digits", VersionChoice::Newest),
            ("digits@7", VersionChoice::Number(7)),
            ("digits@1.2.0", VersionChoice::Text("1.2.0".to_owned())),
            ("digits@2.0.0-rc.1+build", VersionChoice::Text("2.0.0-rc.1+build".to_owned())),
            (&format!("digits@{digest}"), VersionChoice::Digest(digest)),
        ];
        for (text, version) in rows {
            let name = ModelName::parse("digits").expect("a name");
            assert_eq!(text.parse(), Ok(Target { name, version }), "{text}");
        }
        for text in ["", "@1", "Digits", "digits@", "a/b@1"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
