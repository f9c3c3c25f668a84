//! A device's life on the command line, without a network.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::fixture::{Artifact, Fleet, MODEL, STRANGER, Spec, artifact, model, picture, picture_answer};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-agent"));
    // Nothing of the developer's own configuration.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CASK_") {
            command.env_remove(name);
        }
    }
    // Nor what may be installed on this machine.
    command.env("CASK_ORT_LIBRARY", "off");
    command.env("NO_COLOR", "1").env("COLUMNS", "100").stdin(Stdio::null());
    command
}

pub(crate) fn agent(first: &[&str], args: &[&str]) -> Ran {
    let output = command().args(first).args(args).output().expect("the program starts");
    Ran {
        code: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or(0)),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A folder with a device in it.
pub(crate) struct Device {
    folder: tempfile::TempDir,
    fleet: Fleet,
}

impl Device {
    pub(crate) fn enrolled() -> Device {
        let device = Device { folder: tempfile::tempdir().expect("a folder"), fleet: Fleet::new() };
        let file = device.write("enrolment.json", &device.fleet.enrolment().encode());
        let ran = device.run(&["enroll", file.to_str().expect("a path")]);
        assert_eq!(ran.code, 0, "{ran:?}");
        device
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("a small file");
        path
    }

    fn run(&self, args: &[&str]) -> Ran {
        agent(&["--dir", self.dir().to_str().expect("a path")], args)
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let ran = self.run(&args);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {ran:?}"))
    }

    fn install(&self, artifact: &Artifact) -> Ran {
        let file = self.write("model.cask", &artifact.cask);
        self.run(&["install", file.to_str().expect("a path")])
    }

    /// Starts the agent and waits until it says that it is ready.
    fn start(&self) -> Agent {
        let mut child = command()
            .args(["--dir", self.dir().to_str().expect("a path"), "run", "--http-listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().expect("it was piped"));
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = log.read_line(&mut line).expect("text");
            said.push_str(&line);
            assert!(read > 0, "it ended before it was ready:\n{said}");
            if line.starts_with("ready:") {
                break;
            }
        }
        Agent { child, _log: log }
    }
}

struct Agent {
    child: Child,
    // Kept open: a closed pipe would end the agent at its next word.
    _log: BufReader<std::process::ChildStderr>,
}

impl Agent {
    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: a signal to a child that was started here and not waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks about the test's picture and checks which version answered.
fn assert_answers(device: &Device, number: u64) {
    let file = device.write("picture.png", &picture());
    let reply = device.json(&["infer", file.to_str().expect("a path")]);
    assert_eq!((reply["number"].as_u64(), reply["rung"].as_u64()), (Some(number), Some(1)), "{reply}");
    let expected = picture_answer(number as f32);
    let found: Vec<f64> =
        reply["outputs"][0]["data"].as_array().expect("numbers").iter().filter_map(Value::as_f64).collect();
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - f64::from(expected)).abs() < 1e-4, "{reply}");
    }
    let best = expected.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(index, _)| index);
    assert_eq!(reply["labels"][0]["label"], ["zero", "one", "two"][best.expect("three scores")], "{reply}");
}

#[test]
fn a_device_lives_without_a_network() {
    let device = Device::enrolled();
    let (one, two) = (artifact(&Spec::new(MODEL, 1)), artifact(&Spec::new(MODEL, 2)));
    for artifact in [&one, &two] {
        let ran = device.install(artifact);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.contains("is active, on native"), "{ran:?}");
    }
    assert_answers(&device, 2);
    assert_eq!(device.run(&["rollback"]).code, 0);
    assert_answers(&device, 1);

    // The same through an agent that runs; its broker does not exist.
    let agent = device.start();
    assert_answers(&device, 1);
    let ran = device.run(&["rollback", "--model", MODEL]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_answers(&device, 2);
    assert_eq!(device.install(&one).code, 0);
    assert_answers(&device, 1);
    let status = device.json(&["status"]);
    assert_eq!((status["running"].as_bool(), status["link"].as_str()), (Some(true), Some("down")), "{status}");
    assert!(status["link_problem"].is_string(), "{status}");
    assert_eq!(status["models"][0]["active"]["engine"], "native", "{status}");
    let doctor = device.json(&["doctor"]);
    let problem = |about: &str| {
        let findings = doctor["findings"].as_array().expect("findings");
        findings.iter().any(|finding| finding["about"] == about && finding["health"] == "problem")
    };
    assert!(problem("link") && !problem("agent"), "{doctor}");

    // A second agent, and a command that wants the folder for itself, are told who has it.
    let second = device.run(&["run"]);
    assert_eq!(second.code, 9, "{second:?}");
    assert!(second.stderr.contains("in use by process") && second.stderr.contains("hint:"), "{second:?}");

    // Killed without a word, it serves the same after a restart.
    agent.signal(libc::SIGKILL);
    drop(agent);
    let mut agent = device.start();
    assert_answers(&device, 1);

    // Asked to stop, it stops well and cleans up.
    agent.signal(libc::SIGTERM);
    let status = agent.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert!(!device.dir().join("agent.json").exists());
    assert_eq!(device.json(&["status"])["running"], false);
}

#[test]
fn bad_files_have_their_exit_codes() {
    let device = Device::enrolled();
    let good = artifact(&Spec::new(MODEL, 1));
    assert_eq!(device.install(&good).code, 0);
    let mut flipped = artifact(&Spec::new(MODEL, 2));
    let last = flipped.cask.len() - 3;
    flipped.cask[last] ^= 1;
    let newer = {
        let mut newer = good.clone();
        // The format stands behind the eight bytes of the magic.
        newer.cask[8] = 9;
        newer
    };
    let rows = [
        ("truncated", Artifact { cask: good.cask[..100].to_vec(), ..good.clone() }, 4),
        ("a flipped byte", flipped, 4),
        ("a stranger's", artifact(&Spec { signer: STRANGER, ..Spec::new(MODEL, 2) }), 4),
        ("a newer format", newer, 5),
        ("wrong golden answers", artifact(&Spec { golden_wrong: true, ..Spec::new(MODEL, 2) }), 8),
    ];
    for (what, artifact, expected) in rows {
        let ran = device.install(&artifact);
        assert_eq!(ran.code, expected, "{what}: {ran:?}");
        assert!(ran.stderr.contains("error: refused in step") && ran.stderr.contains("hint: "), "{what}: {ran:?}");
        assert_answers(&device, 1);
    }
    let small = device.write("small.cask", &artifact(&Spec::new(MODEL, 2)).cask);
    let ran = device.run(&["install", small.to_str().expect("a path"), "--install-space-bytes-max", "10"]);
    assert_eq!(ran.code, 9, "{ran:?}");
    assert!(ran.stderr.contains("bytes") && ran.stderr.contains("missing"), "{ran:?}");
    assert_answers(&device, 1);
}

/// Runs the program and returns its exit code and the most memory that it held, in bytes.
fn peak_bytes(args: &[&str]) -> (i32, u64) {
    #[allow(clippy::zombie_processes)] // wait4 below waits for it.
    let child = command().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let pid = i32::try_from(child.id()).expect("a process id");
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid one, and both pointers are to locals that outlive the call; the child is
    // waited for here and nowhere else.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(pid, &mut status, 0, &mut usage), pid);
        usage
    };
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    (libc::WEXITSTATUS(status), u64::try_from(usage.ru_maxrss).expect("not negative") * unit)
}

#[test]
fn verify_takes_little_memory_whatever_the_file_claims() {
    let device = Device::enrolled();
    let root = device.write("root.json", &device.fleet.root);
    let root = root.to_str().expect("a path");
    let good = artifact(&Spec::new(MODEL, 1));
    let huge = artifact(&Spec {
        change: |manifest| {
            for file in manifest.variants[0].files.values_mut() {
                file.bytes = 1 << 60;
            }
        },
        ..Spec::new(MODEL, 1)
    });
    let claims = {
        // The honest content under a signed manifest that claims 2^60 bytes.
        let content = &good.cask[32 + good.envelope.len()..];
        let mut bytes = good.cask[..32].to_vec();
        bytes[12..16].copy_from_slice(&u32::try_from(huge.envelope.len()).expect("small").to_le_bytes());
        let length = (32 + huge.envelope.len() + content.len()) as u64;
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&huge.envelope);
        bytes.extend_from_slice(content);
        bytes
    };
    for (what, bytes, expected) in [("honest", &good.cask, 0), ("2^60 bytes", &claims, 4)] {
        let file = device.write("verify.cask", bytes);
        let (code, peak) = peak_bytes(&["verify", file.to_str().expect("a path"), "--root", root]);
        assert_eq!(code, expected, "{what}");
        assert!(peak < (64 << 20) + bytes.len() as u64, "{what}: {peak} bytes");
    }
    let value = device.json(&["verify", device.write("v.cask", &good.cask).to_str().expect("a path")]);
    assert_eq!(value["digest"], good.digest.to_string(), "the folder's own root is used without --root");
}

#[test]
fn bench_measures_plain_and_sealed_models() {
    let device = Device::enrolled();
    let plain = device.write("model.onnx", &model(1.0));
    let sealed = device.write("model.cask", &artifact(&Spec::new(MODEL, 1)).cask);
    let mut digests = Vec::new();
    for file in [plain, sealed] {
        let value = device.json(&["bench", file.to_str().expect("a path"), "--iterations", "5", "--seed", "3"]);
        for field in ["median_us", "p95_us", "load_ms", "first_ms", "peak_bytes"] {
            assert!(value[field].is_number(), "{field}: {value}");
        }
        assert!(value["isa"].is_string(), "{value}");
        digests.push(value["output_sha256"].as_str().expect("a digest").to_owned());
    }
    assert_eq!(digests[0], digests[1], "the sealed model is the plain one");
    let ran = device.run(&["bench", "x.onnx", "--engine", "warp"]);
    assert_eq!(ran.code, 5, "{ran:?}");
}

#[test]
fn a_damaged_state_says_what_to_do() {
    let device = Device::enrolled();
    assert_eq!(device.install(&artifact(&Spec::new(MODEL, 1))).code, 0);
    let state = device.dir().join("state");
    let mut bytes = std::fs::read(&state).expect("a state");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&state, bytes).expect("a small file");
    for args in [&["run"] as &[&str], &["status"], &["rollback"]] {
        let ran = device.run(args);
        assert_eq!(ran.code, 7, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("hint: move the folder aside"), "{args:?}: {ran:?}");
    }
}

#[test]
fn a_damaged_slot_falls_back_to_the_last_good_version() {
    let device = Device::enrolled();
    for number in [1, 2] {
        assert_eq!(device.install(&artifact(&Spec::new(MODEL, number))).code, 0);
    }
    let digest = artifact(&Spec::new(MODEL, 2));
    let file = largest_file_of(&device.dir().join("slots"), &digest);
    let mut bytes = std::fs::read(&file).expect("a model");
    bytes[10] ^= 1;
    std::fs::write(&file, bytes).expect("a small file");
    let _agent = device.start();
    assert_answers(&device, 1);
    let status = device.json(&["status"]);
    assert_eq!(status["models"][0]["refusal"]["reason"], "damaged-slot", "{status}");
}

/// The file in the slots that holds version 2's model: named by the digest in its manifest.
fn largest_file_of(slots: &Path, artifact: &Artifact) -> PathBuf {
    let envelope = runtime_trust::Envelope::parse(&artifact.envelope).expect("an envelope");
    let manifest = runtime_artifact::Manifest::parse(envelope.payload()).expect("a manifest");
    let name = manifest.variants[0].files["model"].digest.to_string();
    let folders = std::fs::read_dir(slots).expect("slots").map(|entry| entry.expect("an entry").path());
    folders.map(|folder| folder.join(&name)).find(|file| file.exists()).expect("the model's file")
}

#[test]
fn enrolling_pins_a_root_once() {
    let device = Device::enrolled();
    let file = device.folder.path().join("enrolment.json");
    let again = device.run(&["enroll", file.to_str().expect("a path")]);
    assert_eq!(again.code, 0, "the same fleet renews: {again:?}");
    assert!(again.stdout.starts_with("renewed "), "{again:?}");
    let mut other = Fleet::new();
    other.root = crate::fixture::root(1, [STRANGER, STRANGER, STRANGER], &[STRANGER]);
    let file = device.write("other.json", &other.enrolment().encode());
    let ran = device.run(&["enroll", file.to_str().expect("a path")]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let mode = std::fs::metadata(device.dir().join("enrolment.json")).expect("a file").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600, "it holds a private key");
}

#[test]
fn a_folder_without_a_fleet_takes_files_by_a_root_that_a_person_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = Device { folder, fleet: Fleet::new() };
    let root = device.write("root.json", &device.fleet.root);
    let file = device.write("model.cask", &artifact(&Spec::new(MODEL, 1)).cask);
    let (root, file) = (root.to_str().expect("a path"), file.to_str().expect("a path"));
    let ran = device.run(&["install", file, "--root", root]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_answers(&device, 1);
    assert_eq!(device.run(&["install", file]).code, 0, "the root is pinned now");
    let _agent = device.start();
    assert_answers(&device, 1);
}
