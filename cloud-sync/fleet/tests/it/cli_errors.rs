//! What people read: help, and errors with what to do next. Exit code, standard output, standard error as one text.

use crate::cli::{Ended, command, fleet, run};
use crate::fixture::Place;

fn shown(place: &Place, ended: &Ended) -> String {
    let folder = place.folder.path().parent().expect("a parent").display().to_string();
    let text = format!("exit {}\n--- stdout\n{}--- stderr\n{}", ended.code, ended.stdout, ended.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").replace(&folder, "DIR")
}

fn text(place: &Place, arguments: &[&str]) -> String {
    shown(place, &fleet(place, arguments))
}

#[test]
fn help_of_the_program() {
    let place = Place::new();
    insta::assert_snapshot!(text(&place, &["--help"]), @r#"
    exit 0
    --- stdout
    Keys, artifacts, rollouts and devices of a fleet.

    A fleet lives in one folder (--dir). While `fleet serve` runs there, the other commands talk to it
    through its admin socket; otherwise they open the folder themselves. `keys`, `broker` and `artifact
    sign` need neither.

    Usage: fleet [OPTIONS] <COMMAND>

    Commands:
      keys         Make and show keys
      serve        Run the controller of the fleet until it is told to end
      artifact     Store, list, show, sign artifacts
      rollout      Start, watch and take back rollouts
      device       List, show and enroll devices
      broker       Prepare a broker of your own
      completions  Print the completion script of a shell
      help         Print this message or the help of the given subcommand(s)

    Options:
          --dir <FOLDER>
              The fleet folder

              [env: CASK_FLEET_DIR]
              [default: ./fleet]

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Output:
          --json
              Print one JSON object on standard output instead of text

      -q, --quiet
              Print only the result and errors

      -v, --verbose...
              Log more on standard error (-v: info, -vv: debug, -vvv: trace)

    Example, from nothing to a device:
      export CASK_PASSPHRASE=...
      fleet keys new
      fleet serve &
      fleet artifact push digits.cask
      fleet device enroll camera-1 --out camera-1.json
      fleet rollout start digits --wait

    Exit codes: 0 ok, 1 a bug, 2 usage or configuration, 4 not trusted, 5 unsupported, 6 unreachable,
    7 damaged store, 8 self-test failed (rollout start --wait), 9 no room or in use.
    --- stderr
    "#);
}

#[test]
fn help_of_a_command_has_an_example() {
    let place = Place::new();
    insta::assert_snapshot!(text(&place, &["rollout", "start", "--help"]), @r#"
    exit 0
    --- stdout
    Deploy a version of an artifact to a channel

    The channel's other models stay as they are. Devices verify it, try it on themselves, and only then
    use it. With --wait the command ends when every device of the channel runs it (exit 0), when the
    last one has refused it (exit 8), or when the time is over (exit 6).

    Usage: fleet rollout start [OPTIONS] <TARGET>

    Arguments:
      <TARGET>
              NAME, NAME@VERSION, NAME@NUMBER or NAME@DIGEST; without a version the newest allowed one

    Options:
          --channel <NAME>
              The channel

              [default: stable]

          --sequence <NUMBER>
              Use at least this sequence: after the folder was restored from a backup

              [default: 0]

          --wait
              Wait until every device of the channel runs or refuses it

          --dir <FOLDER>
              The fleet folder

              [env: CASK_FLEET_DIR]
              [default: ./fleet]

          --timeout <SECONDS>
              How long --wait waits, in seconds

              [default: 600]

      -h, --help
              Print help (see a summary with '-h')

    Keys:
          --passphrase-file <FILE>
              Read the passphrase from the first line of this file

          --passphrase-command <COMMAND>
              Read the passphrase from the first line that this shell command prints

    Output:
          --json
              Print one JSON object on standard output instead of text

      -q, --quiet
              Print only the result and errors

      -v, --verbose...
              Log more on standard error (-v: info, -vv: debug, -vvv: trace)

    Example:
      fleet rollout start digits@1.1.0 --channel stable --wait
    --- stderr
    "#);
    let commands: [&[&str]; 16] = [
        &["keys", "new"],
        &["keys", "show"],
        &["serve"],
        &["artifact", "push"],
        &["artifact", "list"],
        &["artifact", "show"],
        &["artifact", "sign"],
        &["artifact", "update"],
        &["rollout", "start"],
        &["rollout", "status"],
        &["rollout", "rollback"],
        &["device", "list"],
        &["device", "show"],
        &["device", "enroll"],
        &["broker", "certificate"],
        &["completions"],
    ];
    for words in commands {
        let help = text(&place, &[words, &["--help"]].concat());
        assert!(help.starts_with("exit 0\n") && help.contains("Example"), "{words:?}: {help}");
        assert!(help.contains("--json"), "{words:?}: {help}");
    }
}

#[test]
fn no_fleet_here() {
    let place = Place::new();
    let ended = run(command(&place.path("nowhere")).args(["artifact", "list"]));
    insta::assert_snapshot!(shown(&place, &ended), @r#"
    exit 2
    --- stdout
    --- stderr
    error: find a fleet in DIR/nowhere: there is no fleet.toml
    hint: `fleet keys new` makes a fleet; --dir names another folder
    "#);
}

#[test]
fn errors_as_json() {
    let place = Place::new();
    insta::assert_snapshot!(text(&place, &["rollout", "start", "digits@1.0.0", "--json"]), @r#"
    exit 2
    --- stdout
    {"schema":1,"error":{"code":2,"name":"usage","message":"find an artifact called digits","hint":"`fleet artifact list` shows the names"}}
    --- stderr
    error: find an artifact called digits
    hint: `fleet artifact list` shows the names
    "#);
}

#[test]
fn a_typo_is_an_error() {
    let place = Place::new();
    insta::assert_snapshot!(text(&place, &["rollout", "strat", "digits"]), @r#"
    exit 2
    --- stdout
    --- stderr
    error: unrecognized subcommand 'strat'

      tip: some similar subcommands exist: 'status', 'start'

    Usage: fleet rollout [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(text(&place, &["device", "enroll", "Camera 1", "--out", "x"]), @r#"
    exit 2
    --- stdout
    --- stderr
    error: invalid value 'Camera 1' for '<DEVICE>': read the device name "Camera 1": it does not begin with a lowercase letter or a digit; use 1 to 63 lowercase letters, digits, '.', '_' or '-', beginning with a letter or digit

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(text(&place, &["serve", "--cert", "x.pem"]), @r#"
    exit 2
    --- stdout
    --- stderr
    error: the following required arguments were not provided:
      --broker <URL>
      --key <FILE>

    Usage: fleet serve --broker <URL> --cert <FILE> --key <FILE>

    For more information, try '--help'.
    "#);
}

#[test]
fn keys_that_exist_and_passphrases_that_do_not() {
    let place = Place::new();
    insta::assert_snapshot!(text(&place, &["keys", "new", "--insecure-unencrypted"]), @r#"
    exit 2
    --- stdout
    --- stderr
    warning: these key files are not encrypted: whoever reads them is the fleet
    error: make keys in DIR/fleet: there is already DIR/fleet/keys/root.key
    hint: keys are never overwritten; name another folder with --dir
    "#);
    let empty = place.path("new");
    let ended = run(command(&empty).args(["keys", "new"]));
    insta::assert_snapshot!(shown(&place, &ended), @r#"
    exit 2
    --- stdout
    --- stderr
    error: no passphrase for the new keys
    hint: set CASK_PASSPHRASE, or give --passphrase-file or --passphrase-command
    "#);
    let ended = run(command(&empty).env("CASK_PASSPHRASE", "").args(["keys", "new"]));
    insta::assert_snapshot!(shown(&place, &ended), @r#"
    exit 2
    --- stdout
    --- stderr
    error: the passphrase of the new keys is empty
    hint: give one, or say --insecure-unencrypted when anybody who reads the files may use them
    "#);
    assert!(!empty.exists());
}

#[test]
fn waiting_needs_a_controller() {
    let place = Place::new();
    let file = place.cask("digits", 1, b"model");
    fleet(&place, &["artifact", "push", file.to_str().expect("UTF-8")]);
    insta::assert_snapshot!(text(&place, &["rollout", "start", "digits", "--wait"]), @r#"
    exit 6
    --- stdout
    --- stderr
    error: wait for devices: no `fleet serve` runs in this folder
    hint: start `fleet serve`, or leave --wait away
    "#);
}

#[test]
fn tables() {
    let place = Place::new();
    let file = place.cask("digits", 1, b"model");
    fleet(&place, &["artifact", "push", file.to_str().expect("UTF-8")]);
    fleet(&place, &["rollout", "start", "digits"]);
    let out = place.path("camera-1.json");
    let out = out.to_str().expect("UTF-8");
    fleet(&place, &["device", "enroll", "camera-1", "--broker", "mqtts://broker.example", "--out", out]);
    // Digests and sizes differ with the keys of each run.
    let table = |arguments: &[&str]| {
        let listed = fleet(&place, arguments).stdout;
        let digest =
            listed.split_whitespace().find(|word| word.trim_end_matches([',', ')']).len() == 12).unwrap_or("none");
        let digest: String = digest.chars().take(12).collect();
        listed.replace(&digest, "<digest-123>")
    };
    insta::assert_snapshot!(table(&["artifact", "list"]), @r#"
    name    version  number  digest        size   state    channels
    digits  1.0.1    1       <digest-123>  248 B  allowed  stable
    "#);
    insta::assert_snapshot!(table(&["rollout", "status"]), @r#"
    channel stable, sequence 1: digits 1.0.1 (number 1, <digest-123>)
    0 of 1 devices active, 1 pending, 0 refused

    device    state    seen   reason
    camera-1  pending  never
    "#);
    insta::assert_snapshot!(table(&["device", "list"]), @r#"
    device    channel  seen   runs  refused
    camera-1  stable   never
    "#);
    insta::assert_snapshot!(table(&["device", "show", "camera-1"]), @r#"
    device       camera-1
    channel      stable
    seen         never
    certificate  ends in 1826 days
    "#);
}
