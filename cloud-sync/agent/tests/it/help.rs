//! What the program says about itself, and to whoever mistypes.

use crate::program::{Ran, agent};

fn help(args: &[&str]) -> String {
    let ran = agent(&["--dir", "nowhere"], args);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout
}

#[test]
fn the_program_introduces_itself() {
    insta::assert_snapshot!(help(&["--help"]), @"");
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in [
        "enroll",
        "run",
        "status",
        "infer",
        "install",
        "verify",
        "rollback",
        "bench",
        "doctor",
        "config",
        "completions",
    ] {
        let text = help(&[command, "--help"]);
        assert!(text.contains("Example: edge-agent"), "{command} shows no example:\n{text}");
        assert!(text.contains(command), "{command}");
    }
    insta::assert_snapshot!(help(&["rollback", "-h"]), @"");
}

#[test]
fn every_configuration_key_is_a_flag_of_run() {
    let text = help(&["run", "--help"]);
    for key in ["--http-listen", "--install-space-bytes-max", "--trust-refresh-s", "--log-level"] {
        assert!(text.contains(key), "{key} is missing");
    }
    assert!(!help(&["run", "-h"]).contains("--trust-refresh-s"), "the short help is short");
}

fn said(args: &[&str]) -> String {
    let Ran { code, stdout, stderr } = agent(&["--dir", "nowhere"], args);
    format!("exit {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    insta::assert_snapshot!(said(&["install"]), @"");
    insta::assert_snapshot!(said(&["rollbak"]), @"");
    insta::assert_snapshot!(said(&["status"]), @"");
    insta::assert_snapshot!(said(&["status", "--json"]), @"");
    insta::assert_snapshot!(said(&["verify", "nothing.cask"]), @"");
    insta::assert_snapshot!(said(&["bench", "nothing.onnx"]), @"");
    insta::assert_snapshot!(said(&["run", "--prove-rounds", "many"]), @"");
    insta::assert_snapshot!(said(&["infer", "nothing.png"]), @"");
}

#[test]
fn wrong_usage_is_json_when_json_was_asked_for() {
    let ran = agent(&[], &["install", "--json"]);
    assert_eq!(ran.code, 2);
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one object");
    assert_eq!(value["error"]["name"], "usage");
}

#[test]
fn completions_and_configuration_are_data() {
    for shell in ["bash", "zsh", "fish"] {
        let text = agent(&[], &["completions", shell]).stdout;
        assert!(text.contains("rollback"), "{shell}");
    }
    let text = agent(&[], &["config"]).stdout;
    assert!(text.contains("[http]") && text.contains("CASK_HTTP_LISTEN"), "{text}");
    let value: serde_json::Value = serde_json::from_str(&agent(&[], &["config", "--json"]).stdout).expect("one object");
    assert!(value["keys"].as_array().is_some_and(|keys| keys.len() > 15));
}
