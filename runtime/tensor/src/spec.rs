//! What a model says about its inputs and outputs.

use std::collections::BTreeMap;
use std::fmt;

use crate::{ElementType, Tensor, TensorError};

/// The size of one axis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Known when the model was made.
    Fixed(u64),
    /// Known when it runs; the same symbol means the same size. Never empty.
    Symbol(String),
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Symbol(symbol) => f.write_str(symbol),
        }
    }
}

/// Name, element type and shape of a model's input, output or inner value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the model.
    pub name: String,
    /// Element type.
    pub element: ElementType,
    /// One entry an axis, outermost first; empty for a scalar.
    pub shape: Vec<Dimension>,
}

impl TensorSpec {
    /// Checks element type and shape of `tensor`, and binds this specification's symbols in `bindings`.
    ///
    /// Symbols already in `bindings` must have the same size, so checking all inputs of a model with one map
    /// also checks that they agree with each other. On an error `bindings` may hold symbols of this tensor.
    pub fn check(&self, tensor: &Tensor, bindings: &mut BTreeMap<String, u64>) -> Result<(), TensorError> {
        if tensor.element() != self.element {
            return Err(TensorError::SpecElement {
                tensor: self.name.clone(),
                found: tensor.element(),
                expected: self.element,
            });
        }
        let shape_error = || TensorError::SpecShape {
            tensor: self.name.clone(),
            found: tensor.shape().to_vec(),
            expected: self.shape_text(),
        };
        if tensor.shape().len() != self.shape.len() {
            return Err(shape_error());
        }
        for (&found, dimension) in tensor.shape().iter().zip(&self.shape) {
            let found = found as u64;
            match dimension {
                Dimension::Fixed(size) if *size == found => {}
                Dimension::Fixed(_) => return Err(shape_error()),
                Dimension::Symbol(symbol) => match bindings.get(symbol) {
                    Some(&expected) if expected == found => {}
                    Some(&expected) => {
                        return Err(TensorError::SpecSymbol {
                            tensor: self.name.clone(),
                            symbol: symbol.clone(),
                            found,
                            expected,
                        });
                    }
                    None => {
                        bindings.insert(symbol.clone(), found);
                    }
                },
            }
        }
        Ok(())
    }

    /// The shape with every symbol replaced by its size in `bindings`; `None` when one is missing or too large.
    pub fn bound_shape(&self, bindings: &BTreeMap<String, u64>) -> Option<Vec<usize>> {
        let size = |dimension: &Dimension| match dimension {
            Dimension::Fixed(size) => usize::try_from(*size).ok(),
            Dimension::Symbol(symbol) => bindings.get(symbol).and_then(|&size| usize::try_from(size).ok()),
        };
        self.shape.iter().map(size).collect()
    }

    fn shape_text(&self) -> String {
        let sizes: Vec<String> = self.shape.iter().map(Dimension::to_string).collect();
        format!("[{}]", sizes.join(", "))
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.name, self.element, self.shape_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, shape: &[Dimension]) -> TensorSpec {
        TensorSpec { name: name.into(), element: ElementType::F32, shape: shape.to_vec() }
    }

    fn batch() -> Dimension {
        Dimension::Symbol("batch".into())
    }

    #[test]
    fn one_symbol_is_one_size_over_all_tensors() {
        let mut bindings = BTreeMap::new();
        let first = spec("a", &[batch(), Dimension::Fixed(2)]);
        let second = spec("b", &[batch()]);
        let pair = Tensor::from_f32(vec![3, 2], vec![0.0; 6]).unwrap();
        first.check(&pair, &mut bindings).unwrap();
        assert_eq!(bindings["batch"], 3);
        second.check(&Tensor::from_f32(vec![3], vec![0.0; 3]).unwrap(), &mut bindings).unwrap();
        let error = second.check(&Tensor::from_f32(vec![2], vec![0.0; 2]).unwrap(), &mut bindings).unwrap_err();
        assert_eq!(error.to_string(), "accept tensor \"b\": dimension batch is 2 here and 3 in an earlier tensor");
        assert_eq!(first.bound_shape(&bindings), Some(vec![3, 2]));
        assert_eq!(first.bound_shape(&BTreeMap::new()), None);
    }

    #[test]
    fn wrong_type_rank_and_size_are_named() {
        let wanted = spec("x", &[batch(), Dimension::Fixed(2)]);
        let rows = [
            (
                Tensor::from_u8(vec![1, 2], vec![0; 2]).unwrap(),
                "accept tensor \"x\": found element type u8, expected f32",
            ),
            (
                Tensor::from_f32(vec![2], vec![0.0; 2]).unwrap(),
                "accept tensor \"x\": found shape [2], expected [batch, 2]",
            ),
            (
                Tensor::from_f32(vec![1, 3], vec![0.0; 3]).unwrap(),
                "accept tensor \"x\": found shape [1, 3], expected [batch, 2]",
            ),
        ];
        let wrong: Vec<String> = rows
            .iter()
            .filter_map(|(tensor, message)| {
                let found = wanted.check(tensor, &mut BTreeMap::new()).unwrap_err().to_string();
                (found != *message).then(|| format!("{found} instead of {message}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn a_spec_prints_as_people_write_it() {
        assert_eq!(spec("x", &[batch(), Dimension::Fixed(2)]).to_string(), "x: f32[batch, 2]");
    }
}
