//! One question to an engine, and how its answer is judged.

use runtime_tensor::{ElementType, NamedTensor, Tensor, Tolerance, compare};

/// ONNX's own runner compares with relative 1e-3 and absolute 1e-7; sums in another order need a little more near 0.
pub const FLOAT_TOLERANCE: Tolerance = Tolerance { absolute: 1e-5, relative: 1e-3 };

/// A model with one request and what is right.
#[derive(Clone, Debug)]
pub struct Question {
    /// Bytes to load.
    pub model: Vec<u8>,
    /// Every input.
    pub inputs: Vec<NamedTensor>,
    /// Every output, in the model's order.
    pub expected: Vec<Expected>,
}

/// What one output must be.
#[derive(Clone, Debug)]
pub enum Expected {
    /// This tensor, within a tolerance if it is a float one, else exactly.
    Value(Tensor, Tolerance),
    /// Integers next to real numbers.
    Nearest(Nearest),
}

/// A quantized output, judged by the real numbers that it stands for.
///
/// The right integer is the nearest one to `real / scale + zero_point`. Half way between two, either is accepted:
/// there the order of float operations decides, which ONNX leaves open.
#[derive(Clone, Debug)]
pub struct Nearest {
    /// What the output would be without rounding.
    pub reals: Vec<f64>,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The type it is quantized to.
    pub stored: ElementType,
    /// Its scale.
    pub scale: f32,
    /// Its zero point.
    pub zero_point: i64,
    /// Whether the output is given as `f32`, after a dequantization.
    pub dequantized: bool,
    /// Steps by which the real number may be missed before it is rounded.
    pub slack: f64,
}

impl Expected {
    /// A tensor compared as its element type asks: floats within [`FLOAT_TOLERANCE`], integers exactly.
    pub fn of(tensor: Tensor) -> Self {
        let tolerance = if tensor.element().is_float() { FLOAT_TOLERANCE } else { Tolerance::EXACT };
        Self::Value(tensor, tolerance)
    }

    /// Whether `found` is right; else where it is not.
    pub fn judge(&self, found: &Tensor) -> Result<(), String> {
        match self {
            Self::Value(expected, tolerance) => {
                let (expected, found) = without_shared_nan(expected, found);
                compare(&expected, &found, *tolerance).map_err(|difference| difference.to_string())
            }
            Self::Nearest(nearest) => nearest.judge(found),
        }
    }
}

/// Both tensors with 0 where both have NaN: ONNX's runner takes NaN for NaN as equal, [`compare`] does not.
fn without_shared_nan(expected: &Tensor, found: &Tensor) -> (Tensor, Tensor) {
    let (mut expected, mut found) = (expected.clone(), found.clone());
    if !expected.element().is_float() || expected.element() != found.element() || expected.shape() != found.shape() {
        return (expected, found);
    }
    let size = expected.element().size_bytes();
    for index in 0..expected.len() {
        let is_nan = |tensor: &Tensor| tensor.value_f64(index).is_some_and(f64::is_nan);
        if is_nan(&expected) && is_nan(&found) {
            expected.bytes_mut()[index * size..][..size].fill(0);
            found.bytes_mut()[index * size..][..size].fill(0);
        }
    }
    (expected, found)
}

impl Nearest {
    fn judge(&self, found: &Tensor) -> Result<(), String> {
        let element = if self.dequantized { ElementType::F32 } else { self.stored };
        if found.element() != element || found.shape() != self.shape {
            return Err(format!("found {}{:?}, expected {element}{:?}", found.element(), found.shape(), self.shape));
        }
        let (low, high) = match self.stored {
            ElementType::I8 => (-128.0, 127.0),
            _ => (0.0, 255.0),
        };
        let mut wrong = Vec::new();
        for (index, real) in self.reals.iter().enumerate() {
            let value = found.value_f64(index).unwrap_or(f64::NAN);
            let step = match self.dequantized {
                true => value / f64::from(self.scale) + self.zero_point as f64,
                false => value,
            };
            let wanted = (real / f64::from(self.scale) + self.zero_point as f64).clamp(low, high);
            // A dequantized integer is one again after the division, but for the rounding of f32.
            let whole = (step - step.round()).abs() <= 1e-3 && (low..=high).contains(&step.round());
            if !(whole && (step.round() - wanted).abs() <= 0.5 + self.slack) {
                wrong.push((index, step, wanted));
            }
        }
        match wrong.first() {
            None => Ok(()),
            Some((index, step, wanted)) => Err(format!(
                "found step {step}, expected the nearest to {wanted:.4} at element {index} ({} of {} elements differ)",
                wrong.len(),
                self.reals.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(real: f64) -> Expected {
        Expected::Nearest(Nearest {
            reals: vec![real],
            shape: vec![1],
            stored: ElementType::U8,
            scale: 0.5,
            zero_point: 7,
            dequantized: false,
            slack: 1e-3,
        })
    }

    #[test]
    fn an_integer_must_be_the_nearest_one() {
        let rows = [
            (1.0, 9, true),
            (1.0, 10, false),
            (1.25, 9, true),
            (1.25, 10, true),
            (1.2, 10, false),
            (-100.0, 0, true),
            (1000.0, 255, true),
            (1000.0, 254, false),
        ];
        let verdict = |real: f64, found: u8| nearest(real).judge(&Tensor::from_u8(vec![1], vec![found]).unwrap());
        let wrong: Vec<_> = rows.iter().filter(|row| verdict(row.0, row.1).is_ok() != row.2).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn nan_is_right_only_where_it_is_expected() {
        let floats = |value: f32| Tensor::from_f32(vec![2], vec![value, 1.0]).unwrap();
        assert_eq!(Expected::of(floats(f32::NAN)).judge(&floats(f32::NAN)), Ok(()));
        assert!(Expected::of(floats(f32::NAN)).judge(&floats(0.0)).is_err());
        assert!(Expected::of(floats(0.0)).judge(&floats(f32::NAN)).is_err());
    }
}
