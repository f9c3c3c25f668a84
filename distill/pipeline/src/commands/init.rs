//! `distill init`: a commented recipe for a model and its data.

use std::path::{Path, PathBuf};

use runtime_console::{Console, ExitCode};
use serde::Serialize;

use crate::data;
use crate::error::{PipelineError, Result};
use crate::models;
use crate::recipe::{TemplateFacts, template};

/// Arguments of `distill init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: distill init model.onnx --data data.npz --out recipe.toml")]
pub(crate) struct Args {
    /// The ONNX model that becomes the student
    model: PathBuf,
    /// The data, a .npz file with `x` and, for accuracy budgets, `y`
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Where to write the recipe; by default standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a recipe that is there already
    #[arg(long, requires = "out")]
    force: bool,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    file: Option<String>,
    recipe: String,
}

pub(super) fn run(args: &Args, console: &Console) -> Result<ExitCode> {
    let model = models::read(&args.model)?;
    let set = data::read(&args.data)?;
    models::check_fit(&model, &set.x.shape()[1..])?;
    let input = model.inputs().first().map(ToString::to_string).unwrap_or_default();
    let base = args.out.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let (model_path, data_path) = (seen_from(base, &args.model)?, seen_from(base, &args.data)?);
    let text = template(&TemplateFacts {
        model: &model_path,
        data: &data_path,
        name: &artifact_name(&args.model),
        input,
        samples: set.x.shape()[0],
        labelled: set.y.is_some(),
    });
    if let Some(out) = &args.out {
        if runtime_disk::exists(out)? && !args.force {
            return Err(PipelineError::input(format!(
                "{} is there already; give --force to replace it",
                out.display()
            )));
        }
        runtime_disk::write_atomic(out, text.as_bytes())?;
        console.note(&format!("next: distill check {0} && distill run {0}", out.display()));
    }
    let file = args.out.as_ref().map(|out| out.display().to_string());
    let human = file.clone().unwrap_or_else(|| text.clone());
    console.data(&Report { schema: 1, file, recipe: text }, &human);
    Ok(ExitCode::Ok)
}

/// The path as a recipe in `base` has to say it: absolute unless both lie in the current folder or below it.
fn seen_from(base: &Path, path: &Path) -> Result<String> {
    let shown = if base.as_os_str().is_empty() || base == Path::new(".") || path.is_absolute() {
        path.to_owned()
    } else if let Ok(inner) = path.strip_prefix(base) {
        inner.to_owned()
    } else {
        std::path::absolute(path)
            .map_err(|error| PipelineError::input(format!("failed to make {} absolute: {error}", path.display())))?
    };
    shown.to_str().map(str::to_owned).ok_or_else(|| {
        PipelineError::input(format!("the path {} is not UTF-8, which a recipe must be", shown.display()))
    })
}

/// A valid artifact name made of a file name.
fn artifact_name(model: &Path) -> String {
    let stem = model.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(63)
        .collect();
    if name.is_empty() { "model".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_valid() {
        let rows = [("a/Res Net.v2.onnx", "res-net.v2"), ("__.onnx", "model"), ("ünï.onnx", "n-"), ("m.onnx", "m")];
        for (path, expected) in rows {
            let name = artifact_name(Path::new(path));
            assert_eq!(name, expected);
            assert!(runtime_artifact::is_name(&name), "{name}");
        }
    }
}
