//! One configuration value.

use std::fmt;
use std::net::SocketAddr;

use cloud_sync_protocol::BrokerUrl;

use super::table::Kind;

/// Names in one list.
const NAMES_MAX: usize = 32;
/// The word for "not at all".
pub(crate) const OFF: &str = "off";

/// A value that its key accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Address`], [`Kind::Broker`], [`Kind::File`] and [`Kind::Choice`].
    Text(String),
    /// Of [`Kind::Count`].
    Count(u64),
    /// Of [`Kind::Names`].
    Names(Vec<String>),
}

impl Value {
    /// Reads a value as variables and flags write it; the error says what was expected.
    pub fn parse(kind: Kind, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match kind {
            Kind::Count { .. } => {
                // Underscores as in TOML, so that a number can be copied from the file.
                let number = text.replace('_', "").parse().map_err(|_| kind.describe())?;
                Value::of_count(kind, number)
            }
            Kind::Names => {
                let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
                Value::of_names(kind, names.map(str::to_owned).collect())
            }
            Kind::Address | Kind::Broker | Kind::File | Kind::Choice(_) => Value::of_text(kind, text),
        }
    }

    pub(crate) fn of_text(kind: Kind, text: &str) -> Result<Value, String> {
        let fits = match kind {
            Kind::Address => text == OFF || text.parse::<SocketAddr>().is_ok(),
            Kind::Broker => text.is_empty() || BrokerUrl::parse(text).is_ok(),
            // Whether the file is there and fits is told by whoever opens it.
            Kind::File => !text.contains('\0'),
            Kind::Choice(words) => words.contains(&text),
            Kind::Count { .. } | Kind::Names => false,
        };
        if fits { Ok(Value::Text(text.to_owned())) } else { Err(kind.describe()) }
    }

    pub(crate) fn of_count(kind: Kind, number: u64) -> Result<Value, String> {
        match kind {
            Kind::Count { min, max } if (min..=max).contains(&number) => Ok(Value::Count(number)),
            _ => Err(kind.describe()),
        }
    }

    pub(crate) fn of_names(kind: Kind, names: Vec<String>) -> Result<Value, String> {
        if kind == Kind::Names && names.len() <= NAMES_MAX { Ok(Value::Names(names)) } else { Err(kind.describe()) }
    }

    pub(crate) fn as_text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            Value::Count(_) | Value::Names(_) => "",
        }
    }

    pub(crate) fn as_count(&self) -> u64 {
        match self {
            Value::Count(number) => *number,
            Value::Text(_) | Value::Names(_) => 0,
        }
    }

    pub(crate) fn as_names(&self) -> &[String] {
        match self {
            Value::Names(names) => names,
            Value::Text(_) | Value::Count(_) => &[],
        }
    }
}

impl fmt::Display for Value {
    /// As TOML writes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => write!(formatter, "{text:?}"),
            Value::Count(number) => write!(formatter, "{number}"),
            Value::Names(names) => write!(formatter, "{names:?}"),
        }
    }
}

/// The candidate that `text` looks like: at most a third of its characters differ.
pub(crate) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (text.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (distance(text, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Characters to insert, remove or change to make one text of the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = change.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
