//! How far two engines' answers lie apart.

use runtime_tensor::NamedTensor;
use serde::Serialize;

/// Answers of both engines to the same inputs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Elements of float outputs that were compared.
    pub float_elements: usize,
    /// The largest difference of a float output's element; NaN against a number is infinite.
    pub float_max: f64,
    /// The largest absolute value in the peer's float outputs.
    pub float_range: f64,
    /// Elements of integer outputs that were compared.
    pub integer_elements: usize,
    /// Bytes of integer outputs that differ.
    pub integer_bytes_different: usize,
    /// Whether every byte of every output is the same.
    pub identical: bool,
}

impl Difference {
    /// No answers compared yet.
    pub(crate) fn new() -> Self {
        Self { identical: true, ..Self::default() }
    }

    /// Adds one pair of answers. Errors: outputs whose names, types or shapes differ.
    pub(crate) fn add(&mut self, native: &[NamedTensor], ort: &[NamedTensor]) -> Result<(), String> {
        if native.len() != ort.len() {
            return Err(format!("native gave {} outputs, ort {}", native.len(), ort.len()));
        }
        for ((name, own), (other_name, other)) in native.iter().zip(ort) {
            if name != other_name || own.element() != other.element() || own.shape() != other.shape() {
                let describe = |name: &str, tensor: &runtime_tensor::Tensor| {
                    format!("{name}: {}{:?}", tensor.element(), tensor.shape())
                };
                return Err(format!("native gave {}, ort {}", describe(name, own), describe(other_name, other)));
            }
            self.identical &= own.bytes() == other.bytes();
            if own.element().is_float() {
                self.float_elements += own.len();
                for index in 0..own.len() {
                    let value = |tensor: &runtime_tensor::Tensor| tensor.value_f64(index).unwrap_or(f64::NAN);
                    let (own, other) = (value(own), value(other));
                    let apart =
                        if own == other || (own.is_nan() && other.is_nan()) { 0.0 } else { (own - other).abs() };
                    self.float_max = self.float_max.max(if apart.is_nan() { f64::INFINITY } else { apart });
                    self.float_range = self.float_range.max(other.abs());
                }
            } else {
                self.integer_elements += own.len();
                self.integer_bytes_different += own.bytes().iter().zip(other.bytes()).filter(|(a, b)| a != b).count();
            }
        }
        Ok(())
    }

    /// The cell of the table: `same bytes`, the largest difference beside the range, or the bytes that differ.
    pub(crate) fn cell(&self) -> String {
        if self.identical {
            return "same bytes".into();
        }
        let float = (self.float_elements > 0).then(|| format!("{:.2e} of {:.2e}", self.float_max, self.float_range));
        let integer = (self.integer_elements > 0).then(|| format!("{} bytes", self.integer_bytes_different));
        [float, integer].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime_tensor::Tensor;

    fn floats(values: &[f32]) -> NamedTensor {
        ("y".into(), Tensor::from_f32(vec![values.len()], values.to_vec()).expect("a tensor"))
    }

    fn bytes(values: &[u8]) -> NamedTensor {
        ("z".into(), Tensor::from_u8(vec![values.len()], values.to_vec()).expect("a tensor"))
    }

    #[test]
    fn rows_of_answers_and_what_is_said_of_them() {
        let nan = f32::NAN;
        let rows = [
            (vec![floats(&[1.0, 2.0])], vec![floats(&[1.0, 2.0])], "same bytes"),
            (vec![floats(&[1.0, 2.5])], vec![floats(&[1.0, 2.0])], "5.00e-1 of 2.00e0"),
            (vec![floats(&[nan, 2.0])], vec![floats(&[1.0, 2.0])], "inf of 2.00e0"),
            (vec![bytes(&[1, 2, 3])], vec![bytes(&[1, 9, 9])], "2 bytes"),
        ];
        let wrong: Vec<String> = rows
            .iter()
            .filter_map(|(own, other, expected)| {
                let mut difference = Difference::new();
                difference.add(own, other).expect("the same names");
                (difference.cell() != *expected).then(|| format!("{} instead of {expected}", difference.cell()))
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(Difference::new().add(&[floats(&[1.0])], &[bytes(&[1])]).is_err());
        assert!(Difference::new().add(&[floats(&[1.0])], &[]).is_err());
    }
}
