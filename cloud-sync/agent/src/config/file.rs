//! Reads `agent.toml`, naming the line of whatever is wrong.

use std::ops::Range;
use std::path::Path;

use toml_edit::{Document, Item, TableLike};

use super::ConfigError;
use super::table::{KEYS, Key, Kind};
use super::value::{Value, nearest};

/// A configuration is a page; more is not one.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Key, value and line of everything in the file; nothing if there is no file.
pub(super) fn read(path: &Path) -> Result<Vec<(&'static str, Value, usize)>, ConfigError> {
    let bytes = match runtime_disk::read_bounded(path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let syntax = |line, message: String| ConfigError::Syntax { path: path.to_owned(), line, message };
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        syntax(line_of(error.as_bytes(), good), "the text is not UTF-8".to_owned())
    })?;
    let document = Document::parse(text.clone()).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        syntax(line_of(text.as_bytes(), at), error.message().replace('\n', ": "))
    })?;
    let mut rows = Vec::new();
    let reader = Reader { path, text: &text };
    reader.table(document.as_table(), "", &mut rows)?;
    Ok(rows)
}

/// The line, from 1, of the byte at `offset`.
fn line_of(text: &[u8], offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn line(&self, span: Option<Range<usize>>) -> usize {
        line_of(self.text.as_bytes(), span.map_or(0, |span| span.start))
    }

    /// Takes in a table whose keys begin with `prefix`.
    fn table(
        &self,
        table: &dyn TableLike,
        prefix: &str,
        rows: &mut Vec<(&'static str, Value, usize)>,
    ) -> Result<(), ConfigError> {
        for (name, item) in table.iter() {
            let full = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
            let span = table.get_key_value(name).and_then(|(key, _)| key.span());
            let line = self.line(span.or_else(|| item.span()));
            if let Some(key) = Key::named(&full) {
                rows.push((key.name, self.value(key, item, line)?, line));
            } else if let (Some(inner), true) = (item.as_table_like(), is_section(&full)) {
                self.table(inner, &full, rows)?;
            } else {
                let near = nearest(&full, KEYS.iter().map(|key| key.name));
                return Err(ConfigError::UnknownKey { path: self.path.to_owned(), line, key: full, near });
            }
        }
        Ok(())
    }

    fn value(&self, key: &'static Key, item: &Item, line: usize) -> Result<Value, ConfigError> {
        let value = match (key.kind, item) {
            (Kind::Count { .. }, item) => item
                .as_integer()
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| key.kind.describe())
                .and_then(|number| Value::of_count(key.kind, number)),
            (Kind::Names, item) => item
                .as_array()
                .and_then(|array| array.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>())
                .ok_or_else(|| "a list of names".to_owned())
                .and_then(|names| Value::of_names(key.kind, names)),
            (_, item) => {
                item.as_str().ok_or_else(|| key.kind.describe()).and_then(|text| Value::of_text(key.kind, text))
            }
        };
        value.map_err(|expected| ConfigError::Value {
            origin: format!("{}: line {line}", self.path.display()),
            key: key.name,
            found: item.to_string().trim().to_owned(),
            expected,
        })
    }
}

/// Whether some key lies in the section `name`.
fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}
