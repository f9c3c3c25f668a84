//! What cannot be trained is refused by name.

use distill_train::{Dataset, Flow, LossTerm, TrainDevice, TrainError, TrainOptions, check_trainable, train};
use runtime_graph::{Attribute, Node};
use runtime_tensor::Tensor;

use crate::support::{model, random, stripes};

fn gemm() -> Vec<Node> {
    vec![
        Node::new("Flatten", &["input"], &["f"]),
        Node::new("Gemm", &["f", "w", "b"], &["output"]).with("transB", Attribute::Int(1)),
    ]
}

fn weights() -> Vec<(&'static str, Tensor)> {
    vec![("w", random(&[3, 36], 1)), ("b", random(&[3], 2))]
}

fn trainable() -> runtime_graph::Model {
    model(&[1, 6, 6], gemm(), weights(), "output", 2)
}

#[test]
fn every_unsupported_node_is_listed() {
    let mut nodes = gemm();
    nodes[1].outputs[0] = "g".to_owned();
    nodes.push(Node::new("Erf", &["g"], &["e"]));
    nodes.push(Node { domain: "com.microsoft".to_owned(), ..Node::new("Gelu", &["e"], &["h"]) });
    nodes.push(Node::new("Clip", &["h", "", "g"], &["output"]));
    let error = check_trainable(&model(&[1, 6, 6], nodes, weights(), "output", 2)).unwrap_err();
    let TrainError::Unsupported { nodes } = &error else {
        panic!("{error:?}");
    };
    let operators: Vec<&str> = nodes.iter().map(|node| node.operator.as_str()).collect();
    assert_eq!(operators, ["Erf", "com.microsoft.Gelu", "Clip"]);
    let text = error.to_string();
    assert!(text.contains("Erf:e") && text.contains("must be a constant"), "{text}");
}

#[test]
fn shapes_that_do_not_fit_name_the_node() {
    let nodes = vec![Node::new("Flatten", &["input"], &["f"]), Node::new("Gemm", &["f", "w", "b"], &["output"])];
    let model = model(&[1, 6, 6], nodes, weights(), "output", 2);
    let error = train(&model, &stripes(6, 6, 1), None, &TrainOptions::default(), &mut |_| Flow::Continue).unwrap_err();
    assert!(
        matches!(&error, TrainError::BadShape { node, operator, .. } if node == "Gemm:output" && operator == "Gemm"),
        "{error}"
    );
}

#[test]
fn data_that_does_not_fit_is_named() {
    let good = stripes(6, 6, 1);
    let kd = TrainOptions {
        losses: vec![LossTerm::Distillation { weight: 1.0, temperature: 2.0 }],
        ..TrainOptions::default()
    };
    let labels = |y: Vec<u32>| Dataset { y: Some(y), ..good.clone() };
    let ce = TrainOptions::default();
    let rows: Vec<(&str, Dataset, &TrainOptions, Option<Tensor>)> = vec![
        ("number of labels", labels(vec![0; 5]), &ce, None),
        ("labels", Dataset { y: None, ..good.clone() }, &ce, None),
        ("shape for the model's input `input`", stripes(6, 5, 1), &ce, None),
        ("teacher logits", good.clone(), &kd, None),
        ("shape of the teacher's logits", good.clone(), &kd, Some(random(&[5, 3], 1))),
    ];
    for (expected, data, options, teacher) in rows {
        let found = train(&trainable(), &data, teacher.as_ref(), options, &mut |_| Flow::Continue);
        match found {
            Err(TrainError::BadData { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn a_graph_without_weights_is_refused() {
    let nodes = vec![Node::new("Flatten", &["input"], &["output"])];
    let error = check_trainable(&model(&[3], nodes, vec![], "output", 2)).unwrap_err();
    assert!(error.to_string().contains("no trainable initializer"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_with_its_cause() {
    let mut broken = stripes(12, 6, 1);
    broken.x.as_f32_mut().unwrap()[40] = f32::NAN;
    let error = train(&trainable(), &broken, None, &TrainOptions::default(), &mut |_| Flow::Continue).unwrap_err();
    assert!(error.to_string().contains("training sample 1"), "{error}");

    let huge = TrainOptions {
        learning_rate: 1e38,
        optimizer: distill_train::Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0 },
        batch: 4,
        ..TrainOptions::default()
    };
    let error = train(&trainable(), &stripes(12, 6, 1), None, &huge, &mut |_| Flow::Continue).unwrap_err();
    assert!(matches!(&error, TrainError::NotANumber { step, .. } if *step > 0), "{error:?}");
    assert!(error.to_string().contains("learning rate"), "{error}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn cuda_without_cuda_is_an_error() {
    let options = TrainOptions { device: TrainDevice::Cuda(0), ..TrainOptions::default() };
    let error = train(&trainable(), &stripes(6, 6, 1), None, &options, &mut |_| Flow::Continue).unwrap_err();
    assert!(matches!(&error, TrainError::NoDevice { reason } if reason.contains("--features cuda")), "{error:?}");
}
