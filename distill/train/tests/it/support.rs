//! Small graphs and data.

use distill_train::Dataset;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use runtime_graph::{Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

/// A graph from `input` (`[batch, sample...]`) to `output` (rank `output_rank`) with the given initializers.
pub(crate) fn model(
    sample: &[usize],
    nodes: Vec<Node>,
    initializers: Vec<(&str, Tensor)>,
    output: &str,
    output_rank: usize,
) -> Model {
    let batch = Dimension::Symbol("batch".to_owned());
    let fixed = sample.iter().map(|size| Dimension::Fixed(*size as u64));
    let symbols = (1..output_rank).map(|axis| Dimension::Symbol(format!("axis{axis}")));
    let graph = Graph {
        name: "test".to_owned(),
        nodes,
        initializers: initializers.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect(),
        inputs: vec![TensorSpec {
            name: "input".to_owned(),
            element: ElementType::F32,
            shape: std::iter::once(batch.clone()).chain(fixed).collect(),
        }],
        outputs: vec![TensorSpec {
            name: output.to_owned(),
            element: ElementType::F32,
            shape: std::iter::once(batch).chain(symbols).collect(),
        }],
        ..Graph::default()
    };
    Model::from_graph(graph, 17)
}

/// Seeded numbers in -1 to 1.
pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..shape.iter().product()).map(|_| random.random_range(-1.0f32..1.0)).collect();
    Tensor::from_f32(shape.to_vec(), values).expect("values counted from the shape")
}

/// Images of `side` x `side` pixels with a bright row (class 0), column (class 1) or diagonal (class 2) and noise.
pub(crate) fn stripes(samples: usize, side: usize, seed: u64) -> Dataset {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(samples * side * side);
    let mut labels = Vec::with_capacity(samples);
    for sample in 0..samples {
        let class = (sample % 3) as u32;
        let at = random.random_range(0..side);
        for row in 0..side {
            for column in 0..side {
                let bright = match class {
                    0 => row == at,
                    1 => column == at,
                    _ => (row + at) % side == column,
                };
                values.push(f32::from(u8::from(bright)) + random.random_range(-0.2..0.2));
            }
        }
        labels.push(class);
    }
    Dataset {
        x: Tensor::from_f32(vec![samples, 1, side, side], values).expect("values counted from the shape"),
        y: Some(labels),
    }
}

/// Share of rows whose largest value is at the label.
pub(crate) fn accuracy(outputs: &Tensor, labels: &[u32]) -> f64 {
    let chosen = outputs.argmax_last().expect("outputs are [samples, classes]");
    let right = chosen.iter().zip(labels).filter(|(found, label)| **found == **label as usize).count();
    right as f64 / labels.len() as f64
}
