//! ONNX's own node tests, from the Python package `onnx` of the peers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime_graph::{Model, ReadLimits, read_tensor_proto};
use runtime_tensor::{NamedTensor, Tensor};

use super::{Case, Expected, Nearest, Question, Verdict};

/// What the group's names begin with.
const GROUP: &str = "node";

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

/// The cases that this suite can pose, and a verdict for every one: strings, 4-bit numbers, sequences, optional values
/// and maps are no tensors here.
pub fn posed(cases: &[Case]) -> (Vec<Case>, BTreeMap<String, Verdict>) {
    let verdicts: BTreeMap<String, Verdict> =
        cases.iter().map(|case| (case.name.clone(), (case.make)().map(|_| ()))).collect();
    let posed = cases.iter().filter(|case| verdicts.get(&case.name).is_some_and(Result::is_ok));
    (posed.cloned().collect(), verdicts)
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
    let mut expected: Vec<Expected> = read("output", model.outputs().len())?.into_iter().map(Expected::of).collect();
    if model.graph().nodes.iter().any(|node| node.is("QLinearMatMul")) {
        expected = vec![Expected::Nearest(matrix_product(&inputs)?)];
    }
    Ok(Question { model: bytes, inputs, expected })
}

/// One tensor of ONNX's test data.
pub(super) fn read_tensor(file: &Path) -> Result<Tensor, String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bytes = std::fs::read(file).map_err(|error| format!("{name}: {error}"))?;
    let read = read_tensor_proto(&bytes, &ReadLimits::default());
    read.map(|(_, tensor)| tensor).map_err(|error| format!("{name}: failed to {error}"))
}

/// What QLinearMatMul gives for a request: its node tests have answers that wrapped where ONNX says "saturate" (-235.7 is
/// 20 in `qlinearmatmul_2D_int8_float32`, as numpy casts; ONNX Runtime gives -128).
fn matrix_product(inputs: &[NamedTensor]) -> Result<Nearest, String> {
    let [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero] = inputs else {
        return Err("QLinearMatMul takes eight inputs".into());
    };
    let number = |(name, tensor): &NamedTensor| match tensor.len() {
        1 => tensor.value_f64(0).ok_or_else(|| format!("{name} is no number")),
        count => Err(format!("{name} has {count} elements, expected one")),
    };
    let centred = |(name, tensor): &NamedTensor, zero: f64| {
        let value = |index| tensor.value_f64(index).map(|value| value - zero);
        (0..tensor.len()).map(value).collect::<Option<Vec<f64>>>().ok_or_else(|| format!("{name} is no number"))
    };
    let (left, right) = (centred(a, number(a_zero)?)?, centred(b, number(b_zero)?)?);
    let ([.., rows, inner], [.., columns]) = (a.1.shape(), b.1.shape()) else {
        return Err("QLinearMatMul multiplies matrices".into());
    };
    let (rows, inner, columns) = (*rows, *inner, *columns);
    let mut reals = Vec::new();
    for row in 0..left.len() / inner {
        for column in 0..columns {
            let matrix = &right[row / rows * inner * columns..];
            let sum: f64 = (0..inner).map(|at| left[row * inner + at] * matrix[at * columns + column]).sum();
            reals.push(sum * number(a_scale)? * number(b_scale)?);
        }
    }
    let mut shape = a.1.shape().to_vec();
    shape.pop();
    shape.push(columns);
    let (scale, zero_point) = (number(y_scale)? as f32, number(y_zero)? as i64);
    Ok(Nearest { reals, shape, stored: y_zero.1.element(), scale, zero_point, dequantized: false, slack: 1e-3 })
}
