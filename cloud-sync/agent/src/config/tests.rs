#![allow(clippy::disallowed_methods, reason = "tests write small files into folders of their own")]

use std::collections::BTreeSet;

use super::*;

fn no_environment(_: &str) -> Option<OsString> {
    None
}

fn folder(toml: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join(CONFIG_FILE), toml).expect("a small file");
    folder
}

fn load(toml: &str) -> Result<Config, ConfigError> {
    Config::load(folder(toml).path(), &no_environment, &Flags::default())
}

/// The error without the temporary folder's name.
fn error(toml: &str) -> String {
    let folder = folder(toml);
    let error = Config::load(folder.path(), &no_environment, &Flags::default()).expect_err("a wrong file");
    let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{error}{hint}").replace(&folder.path().display().to_string(), "FOLDER")
}

#[test]
fn names_are_unique_and_defaults_and_examples_are_read() {
    let (mut names, mut flags, mut variables) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for key in KEYS {
        assert!(names.insert(key.name), "{} twice", key.name);
        assert!(flags.insert(key.flag()), "--{} twice", key.flag());
        assert!(variables.insert(key.variable()), "{} twice", key.variable());
        assert!(!table::OTHER_VARIABLES.contains(&key.variable().as_str()), "{}", key.variable());
        for text in [key.default, key.example] {
            Value::parse(key.kind, text).unwrap_or_else(|expected| panic!("{}: {text:?} is not {expected}", key.name));
        }
        assert_ne!(key.default, key.example, "{}: an example shows another value", key.name);
    }
}

#[test]
fn every_key_changes_a_setting() {
    let plain = load("").expect("an empty file").settings();
    for key in KEYS {
        let flags = Flags::of(&[(key.name, key.example)]);
        let changed = Config::load(folder("").path(), &no_environment, &flags).expect("an example").settings();
        assert_ne!(plain, changed, "{} has no effect", key.name);
    }
}

#[test]
fn the_documentation_is_a_configuration_with_the_defaults() {
    let documented = load(&document()).expect("the documentation is TOML");
    assert_eq!(documented.settings(), load("").expect("an empty file").settings());
    for (key, _, origin) in documented.rows() {
        assert!(matches!(origin, Origin::File { .. }), "{} is not documented", key.name);
    }
    let first: String = document().lines().take(8).map(|line| format!("{line}\n")).collect();
    insta::assert_snapshot!(first, @r#"
    # edge-agent's configuration: agent.toml in the agent's folder.
    # A flag wins over an environment variable, that over this file, that over the default.

    [http]
    # Where the inference API listens on TCP. Loopback only; port 0 takes a free one, which agent.json
    # names.
    # Takes address:port, or "off".
    # Variable CASK_HTTP_LISTEN, flag --http-listen. Example: "127.0.0.1:0"
    "#);
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let folder = folder("[prove]\nrounds = 7\n\n[boot]\nsettle_s = 20\n[inference]\nengines = [\"native\"]\n");
    let environment = |name: &str| match name {
        "CASK_BOOT_SETTLE_S" => Some(OsString::from("30")),
        "CASK_HTTP_LISTEN" => Some(OsString::from("127.0.0.1:1")),
        _ => None,
    };
    let flags = Flags::of(&[("http.listen", "off")]);
    let config = Config::load(folder.path(), &environment, &flags).expect("a configuration");
    let rows: Vec<(String, String)> = config
        .rows()
        .filter(|(_, _, origin)| *origin != Origin::Default)
        .map(|(key, value, origin)| (format!("{} = {value}", key.name), origin.describe(key)))
        .collect();
    let expected = [
        ("http.listen = \"off\"", "--http-listen"),
        ("inference.engines = [\"native\"]", "agent.toml line 7"),
        ("prove.rounds = 7", "agent.toml line 2"),
        ("boot.settle_s = 30", "CASK_BOOT_SETTLE_S"),
    ];
    assert_eq!(rows, expected.map(|(value, origin)| (value.to_owned(), origin.to_owned())));
    assert_eq!(config.settings().http, None);
}

#[test]
fn mistakes_are_named_with_their_line() {
    insta::assert_snapshot!(error("[http]\nlissten = \"off\"\n"), @"
    read FOLDER/agent.toml: line 2: unknown key `http.lissten`
    hint: did you mean `http.listen`?
    ");
    insta::assert_snapshot!(error("# fine\n\n[telemetry]\nuplink = true\n"), @"
    read FOLDER/agent.toml: line 3: unknown key `telemetry`
    hint: `edge-agent config` lists every key with its type, default and example
    ");
    insta::assert_snapshot!(error("[prove]\nrounds = \"three\"\n"), @r#"
    read FOLDER/agent.toml: line 2: `prove.rounds` is "three", expected a whole number from 1 to 100
    hint: `edge-agent config` lists every key with its type, default and example
    "#);
    insta::assert_snapshot!(error("[boot]\nunproven_max = 1\n"), @"
    read FOLDER/agent.toml: line 2: `boot.unproven_max` is 1, expected a whole number from 2 to 100
    hint: `edge-agent config` lists every key with its type, default and example
    ");
    insta::assert_snapshot!(error("[http]\nlisten = \"localhost\"\n"), @r#"
    read FOLDER/agent.toml: line 2: `http.listen` is "localhost", expected address:port, or "off"
    hint: `edge-agent config` lists every key with its type, default and example
    "#);
    let twice = error("[http]\nlisten = \"off\"\nlisten = \"off\"\n");
    assert!(twice.contains("line 3"), "{twice}");
}

#[test]
fn a_wrong_variable_or_flag_is_named() {
    let environment = |name: &str| (name == "CASK_LOG_LEVEL").then(|| OsString::from("loud"));
    let error = Config::load(folder("").path(), &environment, &Flags::default()).expect_err("a wrong variable");
    assert_eq!(
        error.to_string(),
        "read CASK_LOG_LEVEL: `log.level` is \"loud\", expected one of warn, info, debug, trace"
    );
    let flags = Flags::of(&[("prove.rounds", "0")]);
    let error = Config::load(folder("").path(), &no_environment, &flags).expect_err("a wrong flag");
    assert_eq!(
        error.to_string(),
        "read --prove-rounds: `prove.rounds` is \"0\", expected a whole number from 1 to 100"
    );
}

#[test]
fn a_typo_in_a_variable_is_noticed() {
    let names = ["CASK_HTTP_LISTN", "CASK_HTTP_LISTEN", "CASK_AGENT_DIR", "CASK_ZZZZZZ", "HOME"];
    let unknown = unknown_variables(&names.map(str::to_owned));
    let expected = [("CASK_HTTP_LISTN", Some("CASK_HTTP_LISTEN")), ("CASK_ZZZZZZ", None)];
    assert_eq!(unknown, expected.map(|(name, near)| (name.to_owned(), near.map(str::to_owned))));
}
