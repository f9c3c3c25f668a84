//! The command line, as a process: what works without a running controller.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::{Place, cask};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The one JSON object on standard output.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one line of JSON: {self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A command of `fleet` that the environment of the tests does not steer.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CASK_")) {
        command.env_remove(name);
    }
    command.env_remove("COLUMNS").env("NO_COLOR", "1").stdin(Stdio::null());
    command.arg("--dir").arg(folder);
    command
}

pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.output().expect("fleet starts");
    Ended {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

pub(crate) fn fleet(place: &Place, arguments: &[&str]) -> Ended {
    run(command(place.folder.path()).args(arguments))
}

pub(crate) fn ok(place: &Place, arguments: &[&str]) -> Value {
    let ended = fleet(place, &[arguments, &["--json"]].concat());
    assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    let report = ended.json();
    assert_eq!(report["schema"], 1, "{arguments:?}");
    report
}

#[test]
fn keys_are_encrypted_and_open_with_their_passphrase_only() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = temporary.path().join("fleet");
    let keys = |secret: &str, arguments: &[&str]| run(command(&folder).env("CASK_PASSPHRASE", secret).args(arguments));
    let made = keys("correct horse", &["keys", "new", "--fleet", "kiosks", "--json"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(made.json()["fleet"], "kiosks");
    let shown = run(command(&folder).args(["keys", "show", "--json"])).json();
    let roles: Vec<&str> =
        shown["keys"].as_array().expect("keys").iter().filter_map(|key| key["role"].as_str()).collect();
    assert_eq!(roles, ["deploy", "device-ca", "release", "root"]);
    for key in shown["keys"].as_array().expect("keys") {
        let file = key["file"].as_str().expect("a file");
        let mode = std::fs::metadata(file).expect("the file").permissions().mode();
        assert_eq!((mode & 0o777, &key["encrypted"]), (0o600, &Value::Bool(true)), "{file}");
    }
    let again = keys("another", &["keys", "new"]);
    assert_eq!(again.code, 2, "keys are never overwritten: {again:?}");

    // Each command reads only the key that it needs; the deploy key's file says which passphrase it was.
    let enroll = |secret: &str, out: &str| {
        let out = temporary.path().join(out);
        let url = "mqtts://broker.example";
        keys(secret, &["device", "enroll", "camera-1", "--broker", url, "--out", out.to_str().expect("UTF-8")])
    };
    let wrong = enroll("wrong horse", "wrong.json");
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("wrong passphrase for the device-ca key"), "{}", wrong.stderr);
    assert!(!temporary.path().join("wrong.json").exists());
    let right = enroll("correct horse", "right.json");
    assert_eq!(right.code, 0, "{right:?}");
    let file = temporary.path().join("right.json");
    assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    let enrolment =
        cloud_sync_protocol::Enrolment::decode(&std::fs::read(&file).expect("the file")).expect("an enrolment");
    assert_eq!(enrolment.broker.to_string(), "mqtts://broker.example:8883");
    assert_eq!(enrolment.root.as_bytes(), std::fs::read(folder.join("trust/root.json")).expect("the root"));
}

#[test]
fn a_release_from_an_empty_folder_to_a_deployment() {
    let place = Place::new();
    let file = place.cask("digits", 1, b"one");
    let pushed = ok(&place, &["artifact", "push", file.to_str().expect("UTF-8")]);
    assert_eq!(
        (&pushed["name"], &pushed["version"], &pushed["number"]),
        (&"digits".into(), &"1.0.1".into(), &1.into())
    );
    assert_eq!(pushed["chunks"], pushed["chunks_new"]);
    let second = place.cask("digits", 2, b"two");
    let second = ok(&place, &["artifact", "push", second.to_str().expect("UTF-8")]);
    let list = ok(&place, &["artifact", "list", "digits"]);
    let digests: Vec<&Value> = list["artifacts"].as_array().expect("a list").iter().map(|row| &row["digest"]).collect();
    assert_eq!(digests, [&pushed["digest"], &second["digest"]]);

    let by_digest = format!("digits@{}", pushed["digest"].as_str().expect("a digest"));
    let deployed = ok(&place, &["rollout", "start", &by_digest, "--sequence", "7"]);
    assert_eq!((&deployed["channel"], &deployed["sequence"]), (&"stable".into(), &7.into()));
    assert_eq!(ok(&place, &["rollout", "start", "digits"])["models"][0]["digest"], second["digest"]);
    let back = ok(&place, &["rollout", "rollback"]);
    assert_eq!((&back["sequence"], &back["models"][0]["digest"]), (&9.into(), &pushed["digest"]));

    let shown = ok(&place, &["artifact", "show", "digits@1.0.1"]);
    assert_eq!((&shown["manifest"]["name"], &shown["channels"][0]), (&"digits".into(), &"stable".into()));
    let denied = ok(&place, &["artifact", "update", "digits@2", "--deny"]);
    assert_eq!(denied["targets_version"], 3);
    assert_eq!(ok(&place, &["artifact", "show", "digits@2"])["state"], "denied");
    let status = ok(&place, &["rollout", "status"]);
    assert_eq!((&status["devices_total"], &status["active"], &status["refused"]), (&0.into(), &0.into(), &0.into()));
    assert_eq!(ok(&place, &["device", "list"])["devices"], Value::Array(Vec::new()));
}

#[test]
fn a_file_is_signed_until_its_threshold_is_met() {
    let place = Place::new();
    let file = place.path("digits.cask");
    std::fs::write(&file, cask("digits", 1, b"model", &[])).expect("written");
    let file = file.to_str().expect("UTF-8");
    let unsigned = fleet(&place, &["artifact", "push", file]);
    assert_eq!(unsigned.code, 4, "{unsigned:?}");
    let copy = place.path("signed.cask");
    let signed = ok(&place, &["artifact", "sign", file, "--out", copy.to_str().expect("UTF-8")]);
    assert_eq!(signed["enough"], true);
    assert_eq!(fleet(&place, &["artifact", "push", file]).code, 4, "the file itself is as it was");
    ok(&place, &["artifact", "sign", file]);
    assert_eq!(std::fs::read(file).expect("the file"), std::fs::read(copy).expect("the copy"));
    ok(&place, &["artifact", "push", file]);
    let deploy = place.folder.key("deploy");
    let wrong = fleet(&place, &["artifact", "sign", file, "--key", deploy.to_str().expect("UTF-8")]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("it holds a deploy key, expected a release key"), "{}", wrong.stderr);
}

#[test]
fn a_brokers_certificate_comes_with_rules() {
    let place = Place::new();
    let out = place.path("broker");
    let arguments = ["broker", "certificate", "--host", "broker.example", "--host", "192.0.2.7", "--out"];
    ok(&place, &[&arguments[..], &[out.to_str().expect("UTF-8")]].concat());
    let text = |name: &str| std::fs::read_to_string(out.join(name)).expect(name);
    assert_eq!(text("ca.pem"), std::fs::read_to_string(place.folder.device_ca()).expect("the CA"));
    let mode = std::fs::metadata(out.join("broker.key")).expect("the key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(text("mosquitto.conf").contains("require_certificate true"));
    assert!(text("mosquitto.acl").contains("pattern read cask/kiosks/device/%u/chunk"));
}

#[test]
fn completions_name_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let ended = fleet(&place, &["completions", shell]);
        assert_eq!(ended.code, 0, "{shell}");
        for word in ["keys", "serve", "artifact", "rollout", "device", "rollback", "enroll"] {
            assert!(ended.stdout.contains(word), "{shell}: {word}");
        }
    }
}
