//! Real architectures, in `f32` and quantized, with ONNX Runtime's answers; made by `tests/peers/real_models.py`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime_graph::{Model, ReadLimits};
use runtime_tensor::{Tensor, Tolerance};

use super::node_tests::read_tensor;
use super::{Case, Expected, Question};
use crate::peer;

/// What the groups' names begin with: ONNX's light models, and those of MLPerf Tiny.
const GROUPS: [&str; 2] = ["light", "tiny"];
const SCRIPT: &str = "real_models.py";
/// The folder with the data of tests and benches, where there is one.
const DATA_ENV: &str = "CASK_DATA";

/// How far a float network may be off, as a share of its answers' range: sums in another order, over many layers.
const FLOAT_SHARE: f64 = 2e-5;
/// The same for a quantized one: a few steps of 1/255 where rounding went another way in an earlier layer.
const QUANTIZED_SHARE: f64 = 0.02;

/// The networks, made now or by an earlier run: a folder below cargo's for tests, named after the script that made it.
pub fn real_models(python: &Path, scratch: &Path) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(SCRIPT);
    let text = std::fs::read(&script).unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let mix = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let version = text.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    let folder = scratch.join(format!("real-models-{version:016x}"));
    let mut arguments = vec![folder.display().to_string()];
    arguments.extend(data_folder().map(|data| data.display().to_string()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    peer::run_python(python, SCRIPT, &arguments);
    folder
}

/// `CASK_DATA`, or the folder `shared/data` beside the repository.
fn data_folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(|parent| parent.join("shared/data"));
    std::env::var_os(DATA_ENV).map(PathBuf::from).or_else(beside).filter(|folder| folder.is_dir())
}

/// Every network of the folder that [`real_models`] gives, in every form, as `light/NAME.FORM` or `tiny/NAME.FORM`.
pub fn real_cases(folder: &Path) -> Vec<Case> {
    let listed = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let case = |group: &str, file: PathBuf| {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Case { name: format!("{group}/{stem}"), make: Arc::new(move || read_case(&file)) }
    };
    let groups = GROUPS.into_iter().flat_map(|group| {
        let files = listed(&folder.join(group)).into_iter();
        let models = files.filter(|file| file.extension().is_some_and(|extension| extension == "onnx"));
        models.map(|file| case(group, file)).collect::<Vec<_>>()
    });
    groups.collect()
}

fn read_case(file: &Path) -> Result<Question, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let model = Model::read(&bytes, &ReadLimits::default()).map_err(|error| format!("failed to {error}"))?;
    let [input] = &model.inputs()[..] else { return Err("these networks have one input".into()) };
    let input = (input.name.clone(), read_tensor(&file.with_extension("in.pb"))?);
    let answer = read_tensor(&file.with_extension("out.pb"))?;
    let quantized = file.file_stem().is_some_and(|stem| !stem.to_string_lossy().ends_with(".f32"));
    let absolute = range(&answer) * if quantized { QUANTIZED_SHARE } else { FLOAT_SHARE };
    let relative = if quantized { 0.0 } else { super::FLOAT_TOLERANCE.relative };
    let expected = vec![Expected::Value(answer, Tolerance { absolute, relative })];
    Ok(Question { model: bytes, inputs: vec![input], expected })
}

fn range(tensor: &Tensor) -> f64 {
    let values = || (0..tensor.len()).filter_map(|index| tensor.value_f64(index));
    values().fold(f64::MIN, f64::max) - values().fold(f64::MAX, f64::min)
}
