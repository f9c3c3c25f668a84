//! The configuration: one table of keys, four places that a value may come from.
//!
//! A flag wins over an environment variable, that over `agent.toml`, that over the default. Flags, variable names,
//! the file's reader and the documentation all come from [`KEYS`]; nothing else names a key.

mod document;
mod file;
mod flags;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use runtime_console::{Classified, ExitCode};
use runtime_disk::DiskError;

pub use document::document;
pub use flags::Flags;
pub use settings::{OrtLibrary, Settings};
pub use table::{KEYS, Key, Kind};
pub use value::Value;

/// The configuration file's name in the agent's folder.
pub const CONFIG_FILE: &str = "agent.toml";

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The table's default.
    Default,
    /// This line of `agent.toml`.
    File {
        /// From 1.
        line: usize,
    },
    /// An environment variable.
    Environment,
    /// A flag on the command line.
    Flag,
}

impl Origin {
    /// For people: `default`, `agent.toml line 3`, `CASK_HTTP_LISTEN`, `--http-listen`.
    pub fn describe(self, key: &Key) -> String {
        match self {
            Origin::Default => "default".to_owned(),
            Origin::File { line } => format!("{CONFIG_FILE} line {line}"),
            Origin::Environment => key.variable(),
            Origin::Flag => format!("--{}", key.flag()),
        }
    }
}

/// Why the configuration cannot be used. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("read {path}: line {line}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser found.
        message: String,
    },
    /// A key that no table row has.
    #[error("read {path}: line {line}: unknown key `{key}`")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// As written.
        key: String,
        /// The key that it looks like.
        near: Option<&'static str>,
    },
    /// A value that its key cannot have.
    #[error("read {origin}: `{key}` is {found}, expected {expected}")]
    Value {
        /// File and line, variable or flag.
        origin: String,
        /// The key.
        key: &'static str,
        /// As written.
        found: String,
        /// What the key takes.
        expected: String,
    },
    /// The file cannot be read.
    #[error("read the configuration")]
    Disk(#[from] DiskError),
}

impl Classified for ConfigError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            ConfigError::UnknownKey { near: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            ConfigError::UnknownKey { .. } | ConfigError::Value { .. } => {
                Some("`edge-agent config` lists every key with its type, default and example".to_owned())
            }
            ConfigError::Syntax { .. } | ConfigError::Disk(_) => None,
        }
    }
}

/// Every key's value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<&'static str, (Value, Origin)>,
}

impl Config {
    /// Collects the configuration of the agent in `folder`.
    ///
    /// `environment` is what the process was given; variables that are no key of the table are not looked at.
    pub fn load(
        folder: &Path,
        environment: &dyn Fn(&str) -> Option<OsString>,
        flags: &Flags,
    ) -> Result<Config, ConfigError> {
        let mut values = BTreeMap::new();
        for key in KEYS {
            // A test reads every default; a wrong one cannot be released.
            let value = Value::parse(key.kind, key.default).expect("the table's defaults are read by a test");
            values.insert(key.name, (value, Origin::Default));
        }
        for (name, value, line) in file::read(&folder.join(CONFIG_FILE))? {
            values.insert(name, (value, Origin::File { line }));
        }
        for key in KEYS {
            if let Some(text) = environment(&key.variable()) {
                let value = textual(key, &text.to_string_lossy(), &key.variable())?;
                values.insert(key.name, (value, Origin::Environment));
            }
        }
        for (key, text) in flags.given() {
            let value = textual(key, text, &format!("--{}", key.flag()))?;
            values.insert(key.name, (value, Origin::Flag));
        }
        Ok(Config { values })
    }

    /// Every key with its value and origin, in the table's order.
    pub fn rows(&self) -> impl Iterator<Item = (&'static Key, &Value, Origin)> {
        KEYS.iter().map(|key| {
            let (value, origin) = self.get(key.name);
            (key, value, *origin)
        })
    }

    /// The typed settings.
    pub fn settings(&self) -> Settings {
        Settings::of(self)
    }

    fn get(&self, name: &str) -> &(Value, Origin) {
        // `load` fills in every key of the table, and settings.rs asks only for those (a test holds it).
        self.values.get(name).expect("every key of the table has a value")
    }

    fn text(&self, name: &str) -> &str {
        self.get(name).0.as_text()
    }

    fn count(&self, name: &str) -> u64 {
        self.get(name).0.as_count()
    }

    fn names(&self, name: &str) -> &[String] {
        self.get(name).0.as_names()
    }
}

/// A value given as text, by a variable or a flag.
fn textual(key: &Key, text: &str, origin: &str) -> Result<Value, ConfigError> {
    Value::parse(key.kind, text).map_err(|expected| ConfigError::Value {
        origin: origin.to_owned(),
        key: key.name,
        found: format!("{text:?}"),
        expected,
    })
}

/// Environment variables that look like configuration but are none, each with the name that it looks like.
///
/// They change nothing, so they are worth a word: a typo in a variable is otherwise silent.
pub fn unknown_variables(names: &[String]) -> Vec<(String, Option<String>)> {
    let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
    let mut unknown: Vec<(String, Option<String>)> = names
        .iter()
        .map(String::as_str)
        .filter(|name| name.starts_with(table::VARIABLE_PREFIX))
        .filter(|name| !table::OTHER_VARIABLES.contains(name) && !known.iter().any(|key| key == name))
        .map(|name| (name.to_owned(), value::nearest(name, known.iter().map(String::as_str)).map(str::to_owned)))
        .collect();
    unknown.sort();
    unknown
}
