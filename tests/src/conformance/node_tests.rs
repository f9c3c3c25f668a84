//! ONNX's own node tests, from the Python package `onnx` of the peers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime_graph::{Model, ReadLimits, read_tensor_proto};
use runtime_tensor::{NamedTensor, Tensor};

use super::{Case, Expected, Question};

/// What the group's names begin with.
pub const GROUP: &str = "node";

/// The folder of ONNX's test data that the interpreter `python` has.
pub fn onnx_test_data(python: &Path) -> PathBuf {
    let code = "import onnx, os; print(os.path.dirname(onnx.__file__))";
    let output = std::process::Command::new(python).args(["-c", code]).output().expect("the interpreter starts");
    assert!(output.status.success(), "no package onnx in {}", python.display());
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    folder.join("backend").join("test").join("data")
}

/// Every node test below `data`, by name.
pub fn node_cases(data: &Path) -> Vec<Case> {
    let folder = data.join("node");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let case = |folder: PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = format!("{GROUP}/{}", name.strip_prefix("test_").unwrap_or(&name));
        Case { name, make: Arc::new(move || read_case(&folder)) }
    };
    folders.into_iter().map(case).collect()
}

fn read_case(folder: &Path) -> Result<Question, String> {
    let bytes = std::fs::read(folder.join("model.onnx")).map_err(|error| error.to_string())?;
    let model = Model::read(&bytes, &ReadLimits::default()).map_err(|error| format!("failed to {error}"))?;
    let data = folder.join("test_data_set_0");
    let read = |role: &str, count: usize| {
        let tensors: Result<Vec<Tensor>, String> =
            (0..count).map(|index| read_tensor(&data.join(format!("{role}_{index}.pb")))).collect();
        match data.join(format!("{role}_{count}.pb")).exists() {
            true => Err(format!("there are more than {count} files for {role}s")),
            false => tensors,
        }
    };
    let inputs = model.inputs();
    let tensors = read("input", inputs.len())?;
    let inputs: Vec<NamedTensor> = inputs.into_iter().map(|spec| spec.name).zip(tensors).collect();
    let expected = read("output", model.outputs().len())?.into_iter().map(Expected::of).collect();
    Ok(Question { model: bytes, inputs, expected })
}

/// One tensor of ONNX's test data.
pub fn read_tensor(file: &Path) -> Result<Tensor, String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bytes = std::fs::read(file).map_err(|error| format!("{name}: {error}"))?;
    let read = read_tensor_proto(&bytes, &ReadLimits::default());
    read.map(|(_, tensor)| tensor).map_err(|error| format!("{name}: failed to {error}"))
}
