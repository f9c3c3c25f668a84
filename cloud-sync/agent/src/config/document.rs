//! The documentation that the table makes.

use std::fmt::Write as _;

use super::table::{KEYS, Kind};
use super::value::Value;

/// Every key as a commented `agent.toml`: what it is, what it takes, its default, variable, flag and an example.
pub fn document() -> String {
    let mut text = String::from(
        "# edge-agent's configuration: agent.toml in the agent's folder.\n\
         # A flag wins over an environment variable, that over this file, that over the default.\n",
    );
    let mut section = "";
    for key in KEYS {
        let (in_section, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if in_section != section {
            section = in_section;
            let _ = write!(text, "\n[{section}]\n");
        }
        for line in wrapped(key.doc) {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "# Takes {}.", key.kind.describe());
        let _ = writeln!(
            text,
            "# Variable {}, flag --{}. Example: {}",
            key.variable(),
            key.flag(),
            toml(key.kind, key.example)
        );
        let _ = writeln!(text, "{name} = {}", toml(key.kind, key.default));
    }
    text
}

/// A value as TOML writes it.
fn toml(kind: Kind, text: &str) -> String {
    // A test reads every default and example.
    Value::parse(kind, text).map_or_else(|_| format!("{text:?}"), |value| value.to_string())
}

/// Lines of at most 100 characters, cut at spaces.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let full = lines.last().is_some_and(|line| !line.is_empty() && line.len() + 1 + word.len() > 100);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
