//! `distill check`: everything that can be known about a recipe without training.

use std::path::PathBuf;

use runtime_console::{Console, ExitCode, table};
use runtime_inference::Engines;
use serde::Serialize;

use crate::data::Finding;
use crate::error::{At as _, Result};
use crate::models;
use crate::recipe::{self, NetworkSection};
use crate::run;

/// Arguments of `distill check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: distill check recipe.toml --set train.batch=32")]
pub(crate) struct Args {
    /// The recipe
    recipe: PathBuf,
    /// Change a value of the recipe for this check
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    recipe: String,
    classes: usize,
    samples: [(&'static str, usize); 4],
    warnings: Vec<Finding>,
}

pub(super) fn run(args: &Args, console: &Console, engines: &Engines) -> Result<ExitCode> {
    let loaded = recipe::load(&args.recipe, &args.overrides)?;
    let place = args.recipe.display();
    let data = run::load_data(&loaded).at(&place)?;
    let recipe = &loaded.recipe;
    let check_network = |section: &NetworkSection, trains: bool| -> Result<()> {
        let model = models::build(section, &loaded.folder, data.sample_shape(), data.classes, recipe.seed)?;
        models::check_fit(&model, data.sample_shape())?;
        if trains {
            distill_train::check_trainable(&model)?;
        }
        // The device's engine must take it, too: it judges every model of a run.
        let engine = run::engine(engines, run::DEVICE_ENGINE)?;
        let mut runner = crate::runner::Runner::load(engine.as_ref(), &model.write())?;
        runner.run(&data.validation.rows(&[0])?).map(drop)
    };
    if let Some(teacher) = &recipe.teacher {
        check_network(teacher, teacher.train.is_some()).at("teacher").at(&place)?;
    }
    check_network(&recipe.student.network(), recipe.train.is_some()).at("student").at(&place)?;
    if let Some(artifact) = &recipe.artifact
        && let Some(key) = &artifact.sign_key
    {
        runtime_disk::file_bytes(&loaded.folder.join(key)).at("artifact.sign_key").at(&place)?;
    }
    let samples = [
        ("train", data.train.len()),
        ("calibration", data.calibration.len()),
        ("validation", data.validation.len()),
        ("test", data.test.len()),
    ];
    for warning in &data.warnings {
        console.warn(&warning.text);
    }
    let rows: Vec<Vec<String>> =
        samples.iter().map(|(part, count)| vec![(*part).to_owned(), count.to_string()]).collect();
    let labels = if data.is_labelled() { format!("{} classes", data.classes) } else { "no labels".to_owned() };
    let human = format!(
        "{place}: good\n{}{labels}, samples of shape {:?}\n",
        table(&["part", "samples"], &rows),
        data.sample_shape()
    );
    let report = Report {
        schema: 1,
        recipe: place.to_string(),
        classes: data.classes,
        samples,
        warnings: data.warnings.clone(),
    };
    console.data(&report, &human);
    Ok(ExitCode::Ok)
}
