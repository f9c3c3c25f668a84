//! The test images and the answers that `distill` saved for them.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The file that `distill run` leaves in its folder.
pub const OUTPUTS_FILE: &str = "test_outputs.npz";

/// Test images with the answers of the validated model.
#[derive(Debug, Clone)]
pub struct Samples {
    /// The name of the model's input.
    pub input_name: String,
    /// The shape of one image with a batch dimension of one.
    pub shape: Vec<usize>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    labels: Vec<u32>,
}

impl Samples {
    /// Reads the file of a run folder.
    pub fn read(run: &Path, input_name: &str) -> Result<Self> {
        let path = run.join(OUTPUTS_FILE);
        let mut archive = npyz::npz::NpzArchive::open(&path).with_context(|| format!("{}", path.display()))?;
        let (shape, inputs) = rows(&mut archive, "inputs")?;
        let (_, outputs) = rows(&mut archive, "outputs")?;
        let labels = archive.by_name("labels")?.context("no labels")?.into_vec::<u32>()?;
        ensure!(
            inputs.len() == outputs.len() && inputs.len() == labels.len(),
            "{} does not fit together",
            path.display()
        );
        Ok(Samples { input_name: input_name.to_owned(), shape, inputs, outputs, labels })
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// One image as little-endian f32.
    pub fn input(&self, index: usize) -> &[u8] {
        &self.inputs[index]
    }

    /// The validated answer to it.
    pub fn output(&self, index: usize) -> &[u8] {
        &self.outputs[index]
    }

    /// The true label of it.
    pub fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// How many images are distinct, by their bytes.
    pub fn distinct(&self) -> usize {
        self.inputs.iter().collect::<std::collections::BTreeSet<_>>().len()
    }
}

/// One f32 array cut along its first dimension: the shape of one row with a leading one, and the rows' bytes.
fn rows(
    archive: &mut npyz::npz::NpzArchive<std::io::BufReader<std::fs::File>>,
    name: &str,
) -> Result<(Vec<usize>, Vec<Vec<u8>>)> {
    let array = archive.by_name(name)?.with_context(|| format!("no array {name}"))?;
    let mut shape: Vec<usize> = array.shape().iter().map(|size| usize::try_from(*size)).collect::<Result<_, _>>()?;
    ensure!(shape.first().is_some_and(|count| *count > 0), "the array {name} has no rows");
    let values = array.into_vec::<f32>()?;
    let row = values.len() / shape[0];
    shape[0] = 1;
    let bytes =
        values.chunks_exact(row).map(|row| row.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    Ok((shape, bytes))
}

/// The index of the largest of little-endian f32 values; the first of equals.
pub fn argmax(output: &[u8]) -> u32 {
    let values = output.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let mut best = (0, f32::NEG_INFINITY);
    for (index, value) in (0..).zip(values) {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}
