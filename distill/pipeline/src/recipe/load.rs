//! Reading a recipe: overrides, errors with lines, rules that types cannot say.

use std::ops::Range;
use std::path::{Path, PathBuf};

use runtime_trust::Digest;
use toml_edit::{Document, DocumentMut, Item, Table, Value};

use super::schema::{LossKind, NetworkSection, Recipe, ScheduleName, TrainSection};
use crate::error::{At as _, PipelineError, Result};

/// Bytes of a recipe.
const RECIPE_BYTES_MAX: u64 = 1 << 20;

/// A recipe as it is run.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) recipe: Recipe,
    /// The text with overrides applied.
    pub(crate) text: String,
    /// Paths in the recipe are relative to this.
    pub(crate) folder: PathBuf,
}

impl Loaded {
    /// Digest of the text as run.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }
}

/// Reads a recipe and applies `overrides` (`key=value`, dots between table and key).
pub(crate) fn load(path: &Path, overrides: &[String]) -> Result<Loaded> {
    let bytes = runtime_disk::read_bounded(path, RECIPE_BYTES_MAX)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| PipelineError::input(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))
        .at(path.display())?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    // The file alone is parsed first, so that lines in messages are the file's.
    let recipe = parse(&text).at(path.display())?;
    if overrides.is_empty() {
        return Ok(Loaded { recipe, text, folder });
    }
    let text = apply(&text, overrides)?;
    let recipe = parse(&text).at(format!("{} with --set {}", path.display(), overrides.join(" --set ")))?;
    Ok(Loaded { recipe, text, folder })
}

/// Parses and checks the text of a recipe.
pub(crate) fn parse(text: &str) -> Result<Recipe> {
    let recipe: Recipe = toml::from_str(text)
        .map_err(|error| PipelineError::input(format!("{}{}", position(text, error.span()), error.message().trim())))?;
    match check(&recipe) {
        None => Ok(recipe),
        Some((key, message)) => {
            Err(PipelineError::input(format!("{}{key}: {message}", position(text, find(text, key)))))
        }
    }
}

/// `line 3, column 7: `, or nothing when the place is not known.
fn position(text: &str, span: Option<Range<usize>>) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else {
        return String::new();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("line {line}, column {column}: ")
}

/// Where the key or, when it is absent, its table stands.
fn find(text: &str, key: &str) -> Option<Range<usize>> {
    let document = Document::parse(text).ok()?;
    let mut table = document.as_table() as &dyn toml_edit::TableLike;
    let mut found = None;
    for part in key.split('.') {
        let Some((key, item)) = table.get_key_value(part) else { break };
        found = key.span().or(item.span()).or(found);
        match item.as_table_like() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    found
}

/// The first rule that the recipe breaks: the key, and what is wrong.
fn check(recipe: &Recipe) -> Option<(&'static str, String)> {
    let data = &recipe.data;
    if !(data.scale.is_finite() && data.scale != 0.0 && data.offset.is_finite()) {
        return Some((
            "data.scale",
            format!("found {} and offset {}, expected finite numbers, scale not 0", data.scale, data.offset),
        ));
    }
    if let Some(teacher) = &recipe.teacher
        && let Some(problem) = check_network(teacher, teacher.train.is_some())
    {
        return Some(("teacher", problem));
    }
    if let Some(problem) = check_network(&recipe.student.network(), recipe.train.is_some()) {
        return Some(("student", problem));
    }
    if let Some(train) = &recipe.train {
        if let Some(problem) = check_train(train) {
            return Some(("train", problem));
        }
        let distils = train.distils();
        if distils && recipe.teacher.is_none() {
            return Some((
                "train.loss",
                "found a loss `kd` without a [teacher], expected one to learn from".to_owned(),
            ));
        }
        if recipe.student.control && !distils {
            return Some((
                "student.control",
                "found true without a loss `kd`, expected something to compare with".to_owned(),
            ));
        }
    } else if recipe.student.control {
        return Some(("student.control", "found true without [train], expected a student that is trained".to_owned()));
    }
    if let Some(train) = recipe.teacher.as_ref().and_then(|teacher| teacher.train.as_ref()) {
        if let Some(problem) = check_train(train) {
            return Some(("teacher.train", problem));
        }
        if train.distils() {
            return Some(("teacher.train.loss", "found `kd`, expected `ce`: a teacher has no teacher here".to_owned()));
        }
    }
    if let Some(drop) = recipe.budget.max_drop
        && !(0.0..=100.0).contains(&drop)
    {
        return Some(("budget.max_drop", format!("found {drop}, expected points from 0 to 100")));
    }
    if !(recipe.quantize.percentile > 50.0 && recipe.quantize.percentile <= 100.0) {
        return Some((
            "quantize.percentile",
            format!("found {}, expected above 50 and at most 100", recipe.quantize.percentile),
        ));
    }
    if !(2..=8).contains(&recipe.quantize.weight_bits) {
        return Some(("quantize.weight_bits", format!("found {}, expected 2 to 8", recipe.quantize.weight_bits)));
    }
    if recipe.quantize.mixed_attempts == 0 {
        return Some(("quantize.mixed_attempts", "found 0, expected at least 1".to_owned()));
    }
    check_artifact(recipe)
}

fn check_artifact(recipe: &Recipe) -> Option<(&'static str, String)> {
    let artifact = recipe.artifact.as_ref()?;
    if !runtime_artifact::is_name(&artifact.name) {
        return Some((
            "artifact.name",
            format!(
                "found {:?}, expected 1 to 63 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit",
                artifact.name
            ),
        ));
    }
    if artifact.golden == 0 || artifact.golden > 1024 {
        return Some(("artifact.golden", format!("found {}, expected 1 to 1024 cases", artifact.golden)));
    }
    None
}

fn check_network(network: &NetworkSection, trained: bool) -> Option<String> {
    match (&network.model, network.family) {
        (Some(_), Some(_)) => Some("found both `model` and `family`, expected one of them".to_owned()),
        (None, None) => Some("found neither `model` nor `family`, expected one of them".to_owned()),
        (Some(_), None) if !network.channels.is_empty() || !network.hidden.is_empty() => {
            Some("found sizes beside `model`, expected them only beside `family`".to_owned())
        }
        (None, Some(_)) if !trained => {
            Some("found a family that is not trained, expected a table of how to train it".to_owned())
        }
        _ => None,
    }
}

fn check_train(train: &TrainSection) -> Option<String> {
    let stepped = train.schedule == ScheduleName::Step;
    if stepped != (train.step_epochs.is_some() && train.step_factor.is_some()) {
        return Some("`step_epochs` and `step_factor` belong to `schedule = \"step\"`, and it to them".to_owned());
    }
    if train.copies > 1000 {
        return Some(format!("found copies = {}, expected at most 1000", train.copies));
    }
    for loss in &train.loss {
        match (loss.kind, loss.temperature) {
            (LossKind::Ce, Some(_)) => return Some("a loss `ce` has no temperature".to_owned()),
            (LossKind::Kd, None) => return Some("a loss `kd` needs a temperature, such as 4.0".to_owned()),
            _ => {}
        }
    }
    crate::models::train_options(train, 0, distill_train::TrainDevice::Cpu)
        .check()
        .err()
        .map(|error| format!("failed to {error}"))
}

/// The text with each `key=value` set.
fn apply(text: &str, overrides: &[String]) -> Result<String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| PipelineError::input(error.message().to_owned()))?;
    for setting in overrides {
        let (key, value) = setting.split_once('=').ok_or_else(|| {
            PipelineError::input(format!("--set {setting}: expected key=value, such as train.epochs=5"))
        })?;
        set(&mut document, key.trim(), value.trim())
            .map_err(|reason| PipelineError::input(format!("--set {setting}: {reason}")))?;
    }
    Ok(document.to_string())
}

fn set(document: &mut DocumentMut, key: &str, value: &str) -> std::result::Result<(), String> {
    // What is no TOML value (a path, a version) is text.
    let value = value.parse::<Value>().unwrap_or_else(|_| Value::from(value));
    let mut item = document.as_item_mut();
    let parts: Vec<&str> = key.split('.').collect();
    let (last, tables) = parts.split_last().filter(|(last, _)| !last.is_empty()).ok_or("the key is empty")?;
    for (depth, part) in tables.iter().enumerate() {
        let table = item.as_table_like_mut().ok_or_else(|| format!("{} is no table", parts[..depth].join(".")))?;
        item = table.entry(part).or_insert(Item::Table(Table::new()));
    }
    let table = item.as_table_like_mut().ok_or_else(|| format!("{} is no table", tables.join(".")))?;
    table.insert(last, Item::Value(value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "seed = 1\n\n[data]\nfile = \"d.npz\"\ntest = 0.2\n\n[student]\nfamily = \"cnn\"\nchannels = [8]\n\n[train]\nepochs = 3\n";

    #[test]
    fn overrides_change_values_and_make_tables() {
        let overrides = [
            "seed=7",
            "train.epochs=9",
            "artifact.name=digits",
            "artifact.version=1.2.3",
            "artifact.number=4",
            "artifact.sign_key=/k/release.key",
        ];
        let text = apply(GOOD, &overrides.map(str::to_owned)).unwrap();
        let recipe = parse(&text).unwrap();
        assert_eq!((recipe.seed, recipe.train.unwrap().epochs), (7, 9));
        let artifact = recipe.artifact.unwrap();
        assert_eq!((artifact.version.to_string(), artifact.number), ("1.2.3".to_owned(), 4));
        assert_eq!(artifact.sign_key, Some(PathBuf::from("/k/release.key")));
        assert!(apply(GOOD, &["seed".to_owned()]).unwrap_err().to_string().contains("key=value"));
        assert!(apply(GOOD, &["seed.x=1".to_owned()]).unwrap_err().to_string().contains("seed is no table"));
    }

    proptest::proptest! {
        #[test]
        fn damaged_recipes_never_panic(at in 0..GOOD.len(), text in ".{0,3}", setting in ".{0,20}") {
            let mut damaged = GOOD.to_owned();
            damaged.replace_range(at..=at, &text);
            let _ = parse(&damaged);
            let _ = apply(GOOD, &[setting]).map(|text| parse(&text));
        }
    }

    #[test]
    fn mistakes_name_their_line() {
        let rows = [
            (GOOD.replace("epochs", "epoch"), "line 12, column 1: unknown field `epoch`"),
            (GOOD.replace("test = 0.2", "test = 1.5"), "line 5"),
            (GOOD.replace("epochs = 3", "epochs = 0"), "line 11, column 2: train: failed to use option epochs"),
            (GOOD.replace("\"cnn\"", "\"cnm\""), "line 8"),
            (
                format!("{GOOD}loss = [{{ kind = \"kd\", temperature = 2.0 }}]\n"),
                "line 13, column 1: train.loss: found a loss `kd` without a [teacher]",
            ),
            (format!("{GOOD}[budget]\nmax_drop = 101.0\n"), "line 14, column 1: budget.max_drop"),
            (
                format!("{GOOD}[artifact]\nname = \"No\"\nversion = \"1.0.0\"\nnumber = 1\n"),
                "line 14, column 1: artifact.name",
            ),
            (
                GOOD.replace("family = \"cnn\"", "model = \"m.onnx\"\nfamily = \"cnn\""),
                "line 7, column 2: student: found both",
            ),
            (GOOD.replace("seed = 1", "seed = "), "line 1"),
            (GOOD.replace("[student]", "[students]"), "line 7"),
        ];
        let wrong: Vec<String> = rows
            .iter()
            .filter_map(|(text, expected)| match parse(text) {
                Ok(_) => Some(format!("{expected}: accepted")),
                Err(error) => {
                    let found = error.to_string();
                    (!found.starts_with(expected)).then(|| format!("{expected}: {found}"))
                }
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
