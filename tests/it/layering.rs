//! The arrows between crates, read from `cargo metadata`: each import goes to a strictly lower layer, heavy crates stay
//! where they belong, and the device program has no signing code.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// The layer of each member, times ten (layer 0.5 is 5).
const LAYERS: [(&str, u32); 24] = [
    ("targets-profile", 0),
    ("runtime-tensor", 0),
    ("runtime-trust", 0),
    ("runtime-disk", 5),
    ("runtime-graph", 10),
    ("runtime-kernels", 10),
    ("runtime-artifact", 10),
    ("runtime-engine", 10),
    ("runtime-engine-native", 20),
    ("runtime-engine-ort", 20),
    ("runtime-console", 20),
    ("cloud-sync-protocol", 20),
    ("cloud-sync-store", 20),
    ("distill-quantize", 20),
    ("distill-train", 20),
    ("runtime-inference", 30),
    ("cloud-sync-link", 30),
    ("runtime-serving", 40),
    ("cloud-sync-agent", 50),
    ("cloud-sync-fleet", 50),
    ("distill-pipeline", 50),
    ("targets-local", 60),
    ("tests", 70),
    ("benches", 70),
];

/// Crates of others, and the only product crates that may name them.
/// The quickstart's attacker, `tests` and `benches` are exempt: they play strangers.
const OWNERS: [(&str, &[&str]); 12] = [
    ("rumqttc", &["cloud-sync-link"]),
    ("rumqttd", &["cloud-sync-fleet"]),
    ("sled", &["cloud-sync-store"]),
    ("tract-onnx", &["runtime-engine-native"]),
    ("ort", &["runtime-engine-ort"]),
    ("wgpu", &["runtime-engine-wgpu"]),
    ("burn", &["distill-train"]),
    ("zstd", &["runtime-artifact"]),
    ("onnx-protobuf", &["runtime-graph"]),
    ("tokio", &["cloud-sync-link", "runtime-serving", "cloud-sync-agent", "cloud-sync-fleet", "distill-pipeline"]),
    ("hyper", &["runtime-serving"]),
    ("object_store", &["cloud-sync-fleet"]),
];

const EXEMPT: [&str; 3] = ["targets-local", "tests", "benches"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata reads this workspace")
}

fn fail_with(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_member_has_a_layer_and_a_name_that_is_its_path() {
    let metadata = metadata();
    let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        if !known.contains(package.name.as_str()) {
            problems.push(format!("{} has no row in LAYERS", package.name));
        }
        let folder = package.manifest_path.parent().expect("a manifest lies in a folder");
        let path = folder.strip_prefix(&metadata.workspace_root).expect("members lie under the root");
        if path.as_str().replace('/', "-") != package.name.as_str() {
            problems.push(format!("{} lies in {path}", package.name));
        }
    }
    fail_with(&problems);
}

#[test]
fn arrows_point_to_strictly_lower_layers() {
    let layers: BTreeMap<&str, u32> = LAYERS.into_iter().collect();
    let mut problems = Vec::new();
    for package in metadata().workspace_packages() {
        let own = layers[package.name.as_str()];
        for dependency in &package.dependencies {
            // A crate may name itself to switch a feature on in its own tests.
            if dependency.name == package.name.as_str() {
                continue;
            }
            if let Some(other) = layers.get(dependency.name.as_str())
                && *other >= own
            {
                problems.push(format!("{} (layer {own}) imports {} (layer {other})", package.name, dependency.name));
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn heavy_crates_stay_with_their_owner() {
    let owners: BTreeMap<&str, &[&str]> = OWNERS.into_iter().collect();
    let mut problems = Vec::new();
    for package in metadata().workspace_packages() {
        if EXEMPT.contains(&package.name.as_str()) {
            continue;
        }
        problems.extend(foreign_imports(package, &owners));
    }
    fail_with(&problems);
}

fn foreign_imports(package: &Package, owners: &BTreeMap<&str, &[&str]>) -> Vec<String> {
    let normal = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
    normal
        .filter_map(|dependency| {
            let allowed = owners.get(dependency.name.as_str())?;
            (!allowed.contains(&package.name.as_str()))
                .then(|| format!("{} imports {}, which belongs to {allowed:?}", package.name, dependency.name))
        })
        .collect()
}

#[test]
fn nothing_under_runtime_knows_mqtt() {
    let mut problems = Vec::new();
    for package in metadata().workspace_packages().into_iter().filter(|package| package.name.starts_with("runtime-")) {
        for dependency in &package.dependencies {
            if dependency.name.starts_with("cloud-sync") || dependency.name.starts_with("rumqtt") {
                problems.push(format!("{} imports {}", package.name, dependency.name));
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn the_device_program_has_no_signing_code() {
    let tree = cargo_tree("cloud-sync-agent", "{p} {f}");
    let trust = tree.lines().find(|line| line.contains("runtime-trust")).expect("the agent checks signatures");
    assert!(!trust.contains("signing"), "the device program is built with signing code: {trust}");
    let forbidden = ["aws-lc", "openssl-sys", "rumqttd", "burn", "object_store", "rcgen"];
    let found: Vec<&str> = tree.lines().filter(|line| forbidden.iter().any(|name| line.contains(name))).collect();
    assert!(found.is_empty(), "the device program carries {found:?}");
}

fn cargo_tree(package: &str, format: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", format])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo tree prints UTF-8")
}

#[test]
fn only_the_artifact_passes_from_distill_to_the_fleet() {
    let mut problems = Vec::new();
    for package in metadata().workspace_packages() {
        let (own, other) = match package.name.split('-').next() {
            Some("distill") => ("distill", "cloud-sync"),
            Some("cloud") => ("cloud-sync", "distill"),
            _ => continue,
        };
        for dependency in &package.dependencies {
            if dependency.name.starts_with(other) {
                problems.push(format!("{} of {own} imports {}", package.name, dependency.name));
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn signing_is_switched_on_only_by_programs_that_a_person_starts() {
    let allowed = ["distill-pipeline", "cloud-sync-fleet", "targets-local", "tests", "benches"];
    let mut problems = Vec::new();
    for package in metadata().workspace_packages() {
        let normal = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        for dependency in normal.filter(|dependency| dependency.features.iter().any(|feature| feature == "signing")) {
            if !allowed.contains(&package.name.as_str()) {
                problems.push(format!("{} switches on signing in {}", package.name, dependency.name));
            }
        }
    }
    fail_with(&problems);
}

#[test]
fn inference_never_needs_the_network() {
    let tree = cargo_tree("runtime-inference", "{p}");
    let network = ["tokio v", "rumqttc v", "rustls v", "hyper v", "ureq v", "mio v"];
    let found: Vec<&str> = tree.lines().filter(|line| network.iter().any(|name| line.starts_with(name))).collect();
    assert!(found.is_empty(), "runtime-inference is built with {found:?}");
}

/// Words that reach outside, by the highest layer that must not use them.
const OUTSIDE: [(&str, u32); 8] = [
    ("std::fs", 10),
    ("std::net", 10),
    ("std::process", 10),
    ("std::env", 10),
    ("SystemTime::now", 10),
    ("Instant::now", 0),
    ("std::thread", 0),
    ("async fn", 10),
];

#[test]
fn the_lowest_layers_do_no_io_and_read_no_clock() {
    let metadata = metadata();
    let layers: BTreeMap<&str, u32> = LAYERS.into_iter().collect();
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        let layer = layers[package.name.as_str()];
        // The one crate below layer 2 that reads and writes files.
        if package.name.as_str() == "runtime-disk" {
            continue;
        }
        let folder = package.manifest_path.parent().expect("a manifest lies in a folder").join("src");
        for (file, source) in sources(folder.as_std_path()) {
            let product = without_tests(&file, &source);
            for (word, highest) in OUTSIDE {
                if layer <= highest && product.contains(word) {
                    problems.push(format!("{} uses {word} in {}", package.name, file.display()));
                }
            }
        }
    }
    fail_with(&problems);
}

fn sources(folder: &std::path::Path) -> Vec<(std::path::PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the tree").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path).expect("a source file");
                found.push((path, source));
            }
        }
    }
    found
}

/// The part of a source file before its tests, without comments.
fn without_tests(file: &std::path::Path, source: &str) -> String {
    if file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests")) {
        return String::new();
    }
    let product = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    product.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_uncapped_decoder_is_banned() {
    let bans = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../.clippy.toml")).expect("the bans");
    let uncapped = [
        "zstd::decode_all",
        "zstd::stream::decode_all",
        "zstd::bulk::decompress",
        "std::fs::read",
        "std::io::Read::read_to_end",
        "std::io::Read::read_to_string",
    ];
    let missing: Vec<&&str> = uncapped.iter().filter(|path| !bans.contains(&format!("\"{path}\""))).collect();
    assert!(missing.is_empty(), ".clippy.toml does not ban {missing:?}");
}
