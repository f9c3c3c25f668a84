//! Built-in architectures.

use distill_train::families::{self, Architecture};
use distill_train::{TrainDevice, TrainError, predict};
use runtime_graph::{Model, ReadLimits};

use crate::support::random;

fn architecture() -> Architecture {
    Architecture { sample: vec![1, 8, 8], classes: 10, channels: vec![6, 8], hidden: vec![12], seed: 5 }
}

type Family = fn(&Architecture) -> Result<Model, TrainError>;
const FAMILIES: [(&str, Family); 3] = [("mlp", families::mlp), ("cnn", families::cnn), ("dscnn", families::dscnn)];

#[test]
fn every_family_runs_after_being_written_and_read() {
    for (name, family) in FAMILIES {
        let bytes = family(&architecture()).unwrap().write();
        let model = Model::read(&bytes, &ReadLimits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(model.opset(), 17, "{name}");
        let outputs = predict(&model, &random(&[5, 1, 8, 8], 1), TrainDevice::Cpu).unwrap();
        assert_eq!(outputs.shape(), [5, 10], "{name}");
        assert!(outputs.as_f32().unwrap().iter().all(|value| value.is_finite()), "{name}");
    }
}

#[test]
fn the_seed_decides_the_weights() {
    for (name, family) in FAMILIES {
        let first = family(&architecture()).unwrap().write();
        assert_eq!(first, family(&architecture()).unwrap().write(), "{name}");
        let other = family(&Architecture { seed: 6, ..architecture() }).unwrap().write();
        assert_ne!(first, other, "{name}");
    }
}

#[test]
fn impossible_sizes_are_named() {
    let rows = [
        ("classes", Architecture { classes: 1, ..architecture() }),
        ("architecture", Architecture { sample: vec![64], ..architecture() }),
        ("channels", Architecture { channels: vec![], ..architecture() }),
        ("channels and hidden", Architecture { hidden: vec![0], ..architecture() }),
        ("channels and hidden", Architecture { channels: vec![1 << 20], ..architecture() }),
    ];
    for (expected, config) in rows {
        match families::cnn(&config) {
            Err(TrainError::BadOption { option, .. }) => assert_eq!(option, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}
