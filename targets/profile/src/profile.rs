//! What a device is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Requirements;

/// A device as far as choosing an artifact's variant and an engine is concerned.
///
/// It crosses the wire (a device reports it, the fleet shows it), so unknown fields are ignored:
/// a newer device may say more than an older fleet understands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// Instruction set family as Rust names it: `x86_64`, `aarch64`, `arm`.
    pub architecture: String,
    /// Instruction set extensions as Rust's feature detection names them: `avx2`, `dotprod`.
    #[serde(default)]
    pub cpu_features: BTreeSet<String>,
    /// Cores that this process may use at the same time.
    pub cores: u32,
    /// Main memory that this process may use, in bytes (a container's limit when it is lower).
    pub memory_bytes: u64,
    /// Other processors that can run a model.
    #[serde(default)]
    pub accelerators: Vec<Accelerator>,
    /// Names of the engines on this device, the preferred one first.
    #[serde(default)]
    pub engine_order: Vec<String>,
    /// Operating system as Rust names it: `linux`, `macos`.
    pub os: String,
}

/// A processor beside the CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    /// What it is: `gpu`, `npu` (an open list).
    pub kind: String,
    /// What its driver calls it.
    pub name: String,
    /// Its own memory in bytes; 0 when it shares the CPU's.
    #[serde(default)]
    pub memory_bytes: u64,
}

impl Profile {
    /// Says what of `requirements` this device lacks, one sentence fragment for each; an empty list
    /// means that it fits.
    ///
    /// Each fragment says what was expected and what was found, and reads after "this device".
    pub fn unmet(&self, requirements: &Requirements) -> Vec<String> {
        let mut unmet = Vec::new();
        for feature in &requirements.cpu_features {
            if !self.cpu_features.contains(feature) {
                unmet.push(format!(
                    "lacks the CPU feature {feature:?} (it is {} with {})",
                    self.architecture,
                    listed(self.cpu_features.iter())
                ));
            }
        }
        if self.memory_bytes < requirements.memory_bytes {
            unmet.push(format!(
                "has {} bytes of memory where {} are required",
                self.memory_bytes, requirements.memory_bytes
            ));
        }
        if let Some(engine) = &requirements.engine
            && !self.engine_order.contains(engine)
        {
            unmet.push(format!("has no engine {engine:?} (it has {})", listed(self.engine_order.iter())));
        }
        unmet
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Profile {
        Profile {
            architecture: "x86_64".to_owned(),
            cpu_features: ["avx2", "sse4.1"].map(str::to_owned).into(),
            cores: 2,
            memory_bytes: 1 << 30,
            accelerators: Vec::new(),
            engine_order: vec!["native".to_owned()],
            os: "linux".to_owned(),
        }
    }

    fn needs(features: &[&str], memory_bytes: u64, engine: Option<&str>) -> Requirements {
        Requirements {
            cpu_features: features.iter().map(|name| (*name).to_owned()).collect(),
            memory_bytes,
            engine: engine.map(str::to_owned),
        }
    }

    #[test]
    fn says_what_is_missing() {
        let rows: [(Requirements, &[&str]); 6] = [
            (needs(&[], 0, None), &[]),
            (needs(&["avx2"], 1 << 30, Some("native")), &[]),
            (
                needs(&["avx512vnni"], 0, None),
                &["lacks the CPU feature \"avx512vnni\" (it is x86_64 with avx2, sse4.1)"],
            ),
            (needs(&[], (1 << 30) + 1, None), &["has 1073741824 bytes of memory where 1073741825 are required"]),
            (needs(&[], 0, Some("ort")), &["has no engine \"ort\" (it has native)"]),
            (
                needs(&["neon"], u64::MAX, Some("wgpu")),
                &[
                    "lacks the CPU feature \"neon\" (it is x86_64 with avx2, sse4.1)",
                    "has 1073741824 bytes of memory where 18446744073709551615 are required",
                    "has no engine \"wgpu\" (it has native)",
                ],
            ),
        ];
        let failures: Vec<_> = rows
            .iter()
            .filter(|(requirements, expected)| device().unmet(requirements) != *expected)
            .map(|(requirements, expected)| {
                format!("{requirements:?}: expected {expected:?}, found {:?}", device().unmet(requirements))
            })
            .collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    #[test]
    fn an_empty_device_names_nothing_as_none() {
        let empty = Profile::default();
        assert_eq!(empty.unmet(&needs(&[], 0, Some("native"))), ["has no engine \"native\" (it has none)"]);
    }

    #[test]
    fn survives_json_and_a_field_from_the_future() {
        let text = serde_json::to_string(&device()).expect("a profile is plain data");
        assert_eq!(serde_json::from_str::<Profile>(&text).unwrap(), device());
        let newer = text.replacen('{', r#"{"battery":"full","#, 1);
        assert_eq!(serde_json::from_str::<Profile>(&newer).unwrap(), device());
    }
}
