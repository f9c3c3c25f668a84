//! Standard output is data; standard error is the rest.

use std::io::Write;

use serde::Serialize;

use crate::Progress;

/// Where a subcommand prints to.
#[derive(Debug, Clone)]
pub struct Console {
    json: bool,
    quiet: bool,
}

impl Console {
    /// A console that prints JSON when `json`, and no notes or progress when `quiet`.
    pub fn new(json: bool, quiet: bool) -> Self {
        Console { json, quiet }
    }

    /// Whether the result is asked for as one JSON object.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the result: `value` as one line of JSON with `--json`, else `human`.
    pub fn data(&self, value: &impl Serialize, human: &str) {
        if self.json {
            // Maps with non-string keys are the only values that serde_json refuses, and no result type has any.
            let text = serde_json::to_string(value).expect("a result type serializes to JSON");
            write_line(&mut std::io::stdout().lock(), &text);
        } else {
            write_line(&mut std::io::stdout().lock(), human.trim_end_matches('\n'));
        }
    }

    /// Prints one line of human output on standard output; nothing with `--json`.
    pub fn line(&self, text: &str) {
        if !self.json {
            write_line(&mut std::io::stdout().lock(), text);
        }
    }

    /// Prints `text` as it is on standard output, with or without `--json` (completion scripts).
    pub fn raw(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Prints a remark on standard error, unless `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            write_line(&mut std::io::stderr().lock(), text);
        }
    }

    /// Prints a warning on standard error, also with `--quiet`.
    pub fn warn(&self, text: &str) {
        write_line(&mut std::io::stderr().lock(), &format!("warning: {text}"));
    }

    /// A progress bar over `total` steps (0: unknown, a spinner), drawn only when standard error is a terminal.
    pub fn progress(&self, total: u64, label: &str) -> Progress {
        Progress::new(total, label, self.quiet)
    }
}

/// Writes a line; a reader that went away (`| head`) ends the output silently.
pub(crate) fn write_line(out: &mut impl Write, text: &str) {
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A table with aligned columns and a header row; no colour, no lines, two spaces between columns.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let header_row: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&header_row).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number of bytes for a human: `512 B`, `48.0 KiB`, `1.5 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let text = table(
            &["device", "state"],
            &[vec!["camera-1".into(), "active".into()], vec!["x".into(), "refused".into()]],
        );
        assert_eq!(text, "device    state\ncamera-1  active\nx         refused\n");
    }

    #[test]
    fn bytes_are_readable() {
        let rows =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (u64::MAX, "16777216.0 TiB")];
        for (bytes, expected) in rows {
            assert_eq!(human_bytes(bytes), expected);
        }
    }
}
