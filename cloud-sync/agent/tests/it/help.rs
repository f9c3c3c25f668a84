//! What the program says about itself, and to whoever mistypes.

use crate::program::agent;

fn help(args: &[&str]) -> String {
    let ran = agent(&["--dir", "nowhere"], args);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout
}

#[test]
fn the_program_introduces_itself() {
    insta::assert_snapshot!(help(&["--help"]), @"
    Keeps a device's models current and answers for them, with or without a network

    Usage: edge-agent [OPTIONS] <COMMAND>

    Commands:
      enroll       Make this folder a device of a fleet
      run          Run the agent: serve what is installed, follow the fleet
      status       Show what runs, what is installed, what was refused and why
      infer        Ask an installed model: a picture, .npy, .npz or JSON in, a label out
      install      Install a sealed model from a file, without a network
      verify       Check a sealed file: signature, every digest, every rule of the format
      rollback     Go back to the last good version
      bench        Measure a model on this device: a plain ONNX file or a sealed one
      doctor       Say what is on this device, and what is wrong with it
      config       Print every configuration key, as a commented agent.toml
      completions  Print a shell's completion script
      help         Print this message or the help of the given subcommand(s)

    Options:
          --dir <DIR>  The agent's folder: enrolment, configuration, installed models, sockets [default:
                       agent]
      -h, --help       Print help
      -V, --version    Print version

    Output:
          --json        Print one JSON object on standard output instead of text
      -q, --quiet       Print only the result and errors
      -v, --verbose...  Log more on standard error (-v: info, -vv: debug, -vvv: trace)

    Exit codes: 0 done, 1 a bug, 2 wrong usage or configuration, 4 not trusted, 5 unsupported,
    6 unreachable, 7 damaged store, 8 self-test failed on this device, 9 no room or in use.

    Example, a device that joins a fleet:
      edge-agent enroll camera-7.json
      edge-agent run &
      edge-agent status
      edge-agent infer picture.png
    ");
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
        assert!(text.contains("Example:\n  edge-agent"), "{command} shows no example:\n{text}");
        assert!(text.contains(command), "{command}");
    }
    insta::assert_snapshot!(help(&["rollback", "-h"]), @"
    Go back to the last good version

    Usage: edge-agent rollback [OPTIONS]

    Options:
          --dir <DIR>     The agent's folder: enrolment, configuration, installed models, sockets
                          [default: agent]
          --model <NAME>  The model; may be left out where one is installed
      -h, --help          Print help (see more with '--help')

    Output:
          --json        Print one JSON object on standard output instead of text
      -q, --quiet       Print only the result and errors
      -v, --verbose...  Log more on standard error (-v: info, -vv: debug, -vvv: trace)

    Example:
      edge-agent rollback --model digits
    ");
}

#[test]
fn every_configuration_key_is_a_flag_of_run() {
    let text = help(&["run", "--help"]);
    for key in ["--http-listen", "--install-space-bytes-max", "--trust-refresh-s", "--log-level"] {
        assert!(text.contains(key), "{key} is missing");
    }
    assert!(!help(&["run", "-h"]).contains("--trust-refresh-s"), "the short help is short");
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let mistakes: [&[&str]; 8] = [
        &["install"],
        &["rollbak"],
        &["status"],
        &["status", "--json"],
        &["verify", "nothing.cask"],
        &["bench", "nothing.onnx"],
        &["run", "--prove-rounds", "many"],
        &["infer", "nothing.png"],
    ];
    let mut told = String::new();
    for args in mistakes {
        let ran = agent(&["--dir", "nowhere"], args);
        told.push_str(&format!("$ edge-agent {}\n{}{}[exit {}]\n\n", args.join(" "), ran.stdout, ran.stderr, ran.code));
    }
    insta::assert_snapshot!(told, @r#"
    $ edge-agent install
    error: the following required arguments were not provided:
      <FILE.cask>

    Usage: edge-agent install <FILE.cask>

    For more information, try '--help'.
    [exit 2]

    $ edge-agent rollbak
    error: unrecognized subcommand 'rollbak'

      tip: some similar subcommands exist: 'enroll', 'rollback'

    Usage: edge-agent [OPTIONS] <COMMAND>

    For more information, try '--help'.
    [exit 2]

    $ edge-agent status
    error: failed to find an agent's folder at nowhere
    hint: name it with --dir or CASK_AGENT_DIR; `edge-agent enroll FILE` makes one
    [exit 2]

    $ edge-agent status --json
    {"schema":1,"error":{"code":2,"name":"usage","message":"failed to find an agent's folder at nowhere","hint":"name it with --dir or CASK_AGENT_DIR; `edge-agent enroll FILE` makes one"}}
    error: failed to find an agent's folder at nowhere
    hint: name it with --dir or CASK_AGENT_DIR; `edge-agent enroll FILE` makes one
    [exit 2]

    $ edge-agent verify nothing.cask
    error: failed to find a root to check by
    hint: name one with --root, or run this in an enrolled folder (--dir)
    [exit 2]

    $ edge-agent bench nothing.onnx
    error: failed to find nothing.onnx: no such file or folder
    [exit 2]

    $ edge-agent run --prove-rounds many
    error: failed to read --prove-rounds: `prove.rounds` is "many", expected a whole number from 1 to 100
    hint: `edge-agent config` lists every key with its type, default and example
    [exit 2]

    $ edge-agent infer nothing.png
    error: failed to find nothing.png: no such file or folder
    [exit 2]
    "#);
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
