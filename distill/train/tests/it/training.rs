//! Whole runs.

use distill_train::families::{self, Architecture};
use distill_train::{
    Augmentation, Decay, Flow, LossTerm, Optimizer, Schedule, TrainDevice, TrainError, TrainOptions, Trainer, predict,
    train,
};
use runtime_graph::{Attribute, Model, Node, ReadLimits};
use runtime_tensor::Tensor;

use crate::support::{accuracy, model, random, stripes};

fn read(bytes: &[u8]) -> Model {
    Model::read(bytes, &ReadLimits::default()).expect("a trained model reads as it did before")
}

fn student(seed: u64) -> Model {
    let config = Architecture { sample: vec![1, 8, 8], classes: 3, channels: vec![4, 8], hidden: vec![], seed };
    read(&families::cnn(&config).unwrap().write())
}

fn options() -> TrainOptions {
    TrainOptions { epochs: 12, batch: 32, learning_rate: 1e-2, seed: 3, ..TrainOptions::default() }
}

#[test]
fn a_student_learns_and_only_its_weights_change() {
    let (training, test) = (stripes(240, 8, 1), stripes(120, 8, 2));
    let before = student(1);
    let trained = train(&before, &training, None, &options(), &mut |_| Flow::Continue).unwrap();
    let after = read(&trained.model_bytes);
    let labels = test.y.as_ref().unwrap();
    let untrained = accuracy(&predict(&before, &test.x, TrainDevice::Cpu).unwrap(), labels);
    let found = accuracy(&predict(&after, &test.x, TrainDevice::Cpu).unwrap(), labels);
    assert!(found > 0.95 && untrained < 0.7, "{untrained} before, {found} after");
    assert_eq!(after.graph().nodes, before.graph().nodes);
    assert_eq!(trained.model_bytes.len(), before.write().len());
    assert!(trained.history.first().unwrap().loss > 3.0 * trained.history.last().unwrap().loss);
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_the_number_of_threads() {
    let training = stripes(100, 8, 1);
    let augmentation = Augmentation { shift_pixels: 1, fill: 0.0 };
    let options = TrainOptions { epochs: 2, augmentation, ..options() };
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = TrainOptions { seed, ..options.clone() };
        pool.install(|| train(&student(1), &training, None, &options, &mut |_| Flow::Continue).unwrap().model_bytes)
    };
    let first = run(2, 3);
    assert_eq!(first, run(2, 3));
    assert_eq!(first, run(1, 3));
    assert_eq!(first, run(5, 3));
    assert_ne!(first, run(2, 4));
}

#[test]
fn a_student_learns_from_a_teacher_without_labels() {
    let mut training = stripes(240, 8, 1);
    let labels = training.y.take().unwrap();
    // A teacher that is right and sure.
    let logits: Vec<f32> =
        labels.iter().flat_map(|label| (0..3).map(move |class| if class == *label { 6.0 } else { 0.0 })).collect();
    let logits = Tensor::from_f32(vec![240, 3], logits).unwrap();
    let options = TrainOptions { losses: vec![LossTerm::Distillation { weight: 1.0, temperature: 3.0 }], ..options() };
    let trained = train(&student(1), &training, Some(&logits), &options, &mut |_| Flow::Continue).unwrap();
    let test = stripes(120, 8, 2);
    let found =
        accuracy(&predict(&read(&trained.model_bytes), &test.x, TrainDevice::Cpu).unwrap(), test.y.as_ref().unwrap());
    assert!(found > 0.95, "{found}");
    assert!(trained.history.last().unwrap().loss < 0.3 * trained.history.first().unwrap().loss);
}

#[test]
fn momentum_and_steps_learn_too() {
    let options = TrainOptions {
        optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 1e-4 },
        schedule: Schedule { warmup_share: 0.1, decay: Decay::Step { epochs: 6, factor: 0.3 } },
        learning_rate: 0.05,
        ..options()
    };
    let trained = train(&student(1), &stripes(240, 8, 1), None, &options, &mut |_| Flow::Continue).unwrap();
    let test = stripes(120, 8, 2);
    let found =
        accuracy(&predict(&read(&trained.model_bytes), &test.x, TrainDevice::Cpu).unwrap(), test.y.as_ref().unwrap());
    assert!(found > 0.9, "{found}");
}

#[test]
fn the_best_epoch_on_the_validation_set_is_kept() {
    let (training, validation) = (stripes(90, 8, 1), stripes(60, 8, 2));
    let model = student(1);
    let options = options();
    let trained =
        Trainer::new(&model, &options).validation(Some(&validation)).train(&training, &mut |_| Flow::Continue).unwrap();
    let accuracies: Vec<f64> = trained.history.iter().map(|record| record.validation_accuracy.unwrap()).collect();
    let best = accuracies.iter().copied().fold(0.0, f64::max);
    assert_eq!(accuracies[trained.best_epoch as usize - 1], best);
    let outputs = predict(&read(&trained.model_bytes), &validation.x, TrainDevice::Cpu).unwrap();
    assert_eq!(accuracy(&outputs, validation.y.as_ref().unwrap()), best);
}

#[test]
fn a_final_softmax_is_trained_on_its_logits() {
    let build = |softmax: bool| {
        let result = if softmax { "g" } else { "output" };
        let mut nodes = vec![
            Node::new("Flatten", &["input"], &["f"]),
            Node::new("Gemm", &["f", "w", "b"], &[result]).with("transB", Attribute::Int(1)),
        ];
        if softmax {
            nodes.push(Node::new("Softmax", &["g"], &["output"]));
        }
        let bias = Tensor::from_f32(vec![3], vec![0.0; 3]).unwrap();
        let weights = vec![("w", random(&[3, 64], 1)), ("b", bias)];
        read(&model(&[1, 8, 8], nodes, weights, "output", 2).write())
    };
    let training = stripes(120, 8, 1);
    let trained = |softmax: bool| {
        let trained = train(&build(softmax), &training, None, &options(), &mut |_| Flow::Continue).unwrap();
        read(&trained.model_bytes)
    };
    let (with, without) = (trained(true), trained(false));
    assert_eq!(with.graph().initializers, without.graph().initializers);
    let outputs = predict(&with, &training.x, TrainDevice::Cpu).unwrap();
    for row in outputs.as_f32().unwrap().chunks(3) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn the_caller_sees_every_step_and_can_stop() {
    let mut seen = Vec::new();
    let error = train(&student(1), &stripes(100, 8, 1), None, &options(), &mut |progress| {
        seen.push((progress.step, progress.epoch, progress.epoch_done.is_some()));
        if progress.step == 5 { Flow::Stop } else { Flow::Continue }
    })
    .unwrap_err();
    assert!(matches!(error, TrainError::Stopped { step: 5 }));
    assert_eq!(seen, [(1, 1, false), (2, 1, false), (3, 1, false), (4, 1, true), (5, 2, false)]);
}

#[test]
fn dropout_drops_in_training_only() {
    let nodes = |ratio: &'static str| {
        vec![
            Node::new("Flatten", &["input"], &["f"]),
            Node::new("Dropout", &["f", ratio], &["d"]),
            Node::new("Gemm", &["d", "w", "b"], &["output"]).with("transB", Attribute::Int(1)),
        ]
    };
    let scalar = |value: f32| Tensor::from_f32(vec![], vec![value]).unwrap();
    let build = |ratio: &'static str| {
        let bias = Tensor::from_f32(vec![3], vec![0.0; 3]).unwrap();
        let initializers = vec![("w", random(&[3, 64], 1)), ("b", bias), ("half", scalar(0.5)), ("none", scalar(0.0))];
        read(&model(&[1, 8, 8], nodes(ratio), initializers, "output", 2).write())
    };
    let (with, without, data) = (build("half"), build("none"), stripes(60, 8, 1));
    let outputs = |model: &Model| predict(model, &data.x, TrainDevice::Cpu).unwrap();
    assert_eq!(outputs(&with), outputs(&without));
    let first_loss = |model: &Model| {
        train(model, &data, None, &TrainOptions { epochs: 1, ..options() }, &mut |_| Flow::Continue).unwrap().history[0]
            .loss
    };
    assert_ne!(first_loss(&with), first_loss(&without));
}
