//! The manifest: what is signed, and what everything else hangs on by digest.
//!
//! Its exact bytes are signed; they are UTF-8 JSON without floats, duplicate keys, `null` or unknown fields, at
//! most [`MANIFEST_BYTES_MAX`] bytes. Quantities are integers with the unit in the field's name (`_e9` counts
//! billionths, `_e12` millionths of a millionth). [`Manifest::parse`] is the one way in: a manifest that exists
//! obeys every rule that can be checked without the files.

mod check;
mod contract;
mod variant;

use runtime_trust::Digest;
use semver::Version;
use serde::{Deserialize, Serialize};
use targets_profile::Profile;

pub use contract::{Contract, Postprocessing, Preprocessing, StatePair, TensorContract};
pub use variant::{Budget, FileEntry, IndexPart, Limits, Numerics, Quality, Variant};

use crate::error::shown;
use crate::limits::{FORMAT, MANIFEST_BYTES_MAX};
use crate::{ArtifactError, Reason, strict_json};

/// The kinds of variant that this version can run. The list is open: another kind may stand in a manifest, and a
/// device that does not know it chooses another variant or says that it can take none.
pub const KINDS: [&str; 1] = ["onnx"];

/// The role of the model file itself.
pub const ROLE_MODEL: &str = "model";

/// The role of the golden set: inputs with the outputs that this variant must give.
pub const ROLE_GOLDEN: &str = "golden";

const PLACE: &str = "the manifest";

/// What an artifact is: one model in one version, in one or more variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of manifest and file, [`FORMAT`].
    pub format: u32,
    /// Name of the artifact: `[a-z0-9][a-z0-9._-]{0,62}`. Never a file name.
    pub name: String,
    /// Version for people.
    pub version: Version,
    /// Version for machines: grows with every release, compared with the floor, the version of the local API.
    pub number: u64,
    /// The same model in different precisions or forms, the preferred one first.
    pub variants: Vec<Variant>,
    /// What goes in and comes out, the same for every variant.
    pub contract: Contract,
    /// What it was made from.
    pub provenance: Provenance,
}

/// What an artifact was made from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Program and version that packed it, such as `distill 0.1.0`.
    pub tool: String,
    /// Digest of the recipe as run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Digest>,
    /// Digest of the teacher's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Digest>,
    /// Digest of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Digest>,
}

/// The one field that every future manifest keeps, read first so that a newer one is refused by its number.
#[derive(Deserialize)]
struct Probe {
    format: u32,
}

impl Manifest {
    /// Reads a manifest and checks every rule that needs no file.
    ///
    /// A signature says nothing about these rules, so call it on verified bytes and still expect errors.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let refused = |reason, found: String, expected: &str| ArtifactError::refused(reason, PLACE, found, expected);
        if bytes.len() > MANIFEST_BYTES_MAX {
            let expected = format!("at most {MANIFEST_BYTES_MAX}");
            return Err(refused(Reason::TooLarge, format!("{} bytes", bytes.len()), &expected));
        }
        strict_json::check(bytes)
            .map_err(|(reason, message)| refused(reason, message, "JSON with each key once and integers only"))?;
        let probe: Probe = serde_json::from_slice(bytes).map_err(|error| from_serde(&error))?;
        if probe.format != FORMAT {
            return Err(refused(
                Reason::UnknownFormat,
                format!("format {}", probe.format),
                &format!("format {FORMAT}"),
            ));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| from_serde(&error))?;
        check::check(&manifest)?;
        Ok(manifest)
    }

    /// The bytes that are signed: compact JSON, fields in the order of the types. [`Manifest::parse`] reads them
    /// back to an equal manifest when this one obeys the rules.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, integers and maps with string keys always have a JSON form")
    }

    /// The variant with this id.
    pub fn variant(&self, id: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.id == id)
    }

    /// The first variant whose kind this version knows and whose requirements `profile` meets.
    ///
    /// The error says of every variant why it does not fit; its class is [`ErrorClass::Unsupported`].
    ///
    /// [`ErrorClass::Unsupported`]: crate::ErrorClass::Unsupported
    pub fn choose(&self, profile: &Profile) -> Result<&Variant, ArtifactError> {
        let mut obstacles = Vec::new();
        let mut reason = Reason::UnknownKind;
        for variant in &self.variants {
            if !variant.is_known_kind() {
                obstacles.push(format!("variant {} is of the unknown kind {}", variant.id, shown(&variant.kind)));
                continue;
            }
            reason = Reason::DoesNotFit;
            let unmet = profile.unmet(&variant.requires);
            if unmet.is_empty() {
                return Ok(variant);
            }
            obstacles.push(format!("for variant {} this device {}", variant.id, unmet.join(" and ")));
        }
        Err(ArtifactError::refused(
            reason,
            format!("artifact {} {}", self.name, self.version),
            obstacles.join("; "),
            format!("a variant of kind {} that fits this device", KINDS.join(" or ")),
        ))
    }

    pub(crate) fn check(&self) -> Result<(), ArtifactError> {
        check::check(self)
    }
}

fn from_serde(error: &serde_json::Error) -> ArtifactError {
    let message = error.to_string();
    // serde gives no codes, only these fixed beginnings; the tests hold them.
    let reason = if message.starts_with("unknown field") {
        Reason::UnknownField
    } else if message.starts_with(contract::UNKNOWN_ELEMENT) {
        Reason::UnknownElement
    } else {
        Reason::ManifestMalformed
    };
    ArtifactError::refused(reason, PLACE, message, format!("the fields of format {FORMAT}"))
}

#[cfg(test)]
mod tests;
