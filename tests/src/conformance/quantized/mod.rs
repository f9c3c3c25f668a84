//! Quantized operators over every class of shape, in QDQ and in operator form.
//!
//! Each case is one operator between its quantizations. Its random numbers begin with its name, so that a case is the
//! same everywhere and stays the same when others come. What is right comes from `reference`, in `f64`.

mod author;
mod convolutions;
mod layers;
mod products;
mod reference;

use std::sync::Arc;

use runtime_graph::Attribute;
use runtime_tensor::ElementType;

use author::{Border, Form};

use super::{Case, Question};

/// What the group's names begin with.
const GROUP: &str = "quantized";

/// Every case of this group.
pub fn quantized_cases() -> Vec<Case> {
    let mut cases = convolutions::cases();
    cases.append(&mut products::cases());
    cases.append(&mut layers::cases());
    cases
}

/// The forms with the beginnings of their names.
const FORMS: [(&str, Form); 2] = [("qdq", Form::Qdq), ("operator", Form::Operator)];
/// The types of activations.
const ACTIVATIONS: [(&str, ElementType); 2] = [("u8", ElementType::U8), ("s8", ElementType::I8)];

/// A case whose question is made from its own name.
fn case(name: String, make: impl Fn(&str) -> Question + Send + Sync + 'static) -> Case {
    let name = format!("{GROUP}/{name}");
    let own = name.clone();
    Case { name, make: Arc::new(move || Ok(make(&own))) }
}

/// What stands at the border of most cases.
const USUAL: Border = Border::Float;

fn ints(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|&value| value as i64).collect())
}
