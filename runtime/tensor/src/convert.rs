//! Reading elements as other types.

use half::{bf16, f16};

use crate::{ElementType, Tensor, TensorError, Value};

impl Tensor {
    /// All elements as `f32`: integers round to the nearest, `f64` too; booleans are 0 and 1.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>, TensorError> {
        Ok(match self.element() {
            ElementType::F32 => self.as_f32()?.to_vec(),
            ElementType::Bool => self.bytes().iter().map(|&byte| if byte == 0 { 0.0 } else { 1.0 }).collect(),
            ElementType::U8 => self.map(|value: u8| f32::from(value))?,
            ElementType::I8 => self.map(|value: i8| f32::from(value))?,
            ElementType::U16 => self.map(|value: u16| f32::from(value))?,
            ElementType::I16 => self.map(|value: i16| f32::from(value))?,
            ElementType::U32 => self.map(|value: u32| value as f32)?,
            ElementType::I32 => self.map(|value: i32| value as f32)?,
            ElementType::U64 => self.map(|value: u64| value as f32)?,
            ElementType::I64 => self.map(|value: i64| value as f32)?,
            ElementType::F64 => self.map(|value: f64| value as f32)?,
            ElementType::F16 => self.half_bits().map(|bits| f16::from_bits(bits).to_f32()).collect(),
            ElementType::BF16 => self.half_bits().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        })
    }

    fn map<T: Value>(&self, convert: impl Fn(T) -> f32) -> Result<Vec<f32>, TensorError> {
        Ok(self.as_values::<T>()?.iter().map(|&value| convert(value)).collect())
    }

    /// The 16-bit patterns of an `f16` or `bf16` tensor.
    fn half_bits(&self) -> impl Iterator<Item = u16> + '_ {
        self.bytes().chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    }

    /// The element at `index` (row-major) as `f64`; `None` past the end. 64-bit integers may lose low bits.
    pub fn value_f64(&self, index: usize) -> Option<f64> {
        let size = self.element().size_bytes();
        let bytes = self.bytes().get(index.checked_mul(size)?..)?.get(..size)?;
        Some(match self.element() {
            ElementType::Bool => f64::from(u8::from(bytes[0] != 0)),
            ElementType::U8 => f64::from(bytes[0]),
            ElementType::I8 => f64::from(bytes[0] as i8),
            ElementType::U16 => f64::from(u16::from_le_bytes(bytes.try_into().ok()?)),
            ElementType::I16 => f64::from(i16::from_le_bytes(bytes.try_into().ok()?)),
            ElementType::U32 => f64::from(u32::from_le_bytes(bytes.try_into().ok()?)),
            ElementType::I32 => f64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
            ElementType::U64 => u64::from_le_bytes(bytes.try_into().ok()?) as f64,
            ElementType::I64 => i64::from_le_bytes(bytes.try_into().ok()?) as f64,
            ElementType::F16 => f64::from(f16::from_le_bytes(bytes.try_into().ok()?).to_f32()),
            ElementType::BF16 => f64::from(bf16::from_le_bytes(bytes.try_into().ok()?).to_f32()),
            ElementType::F32 => f64::from(f32::from_le_bytes(bytes.try_into().ok()?)),
            ElementType::F64 => f64::from_le_bytes(bytes.try_into().ok()?),
        })
    }

    /// The element at `index` as people write it; empty past the end. 64-bit integers are exact.
    pub(crate) fn value_text(&self, index: usize) -> String {
        let exact = match self.element() {
            ElementType::U64 => self.as_values::<u64>().ok().and_then(|all| all.get(index)).map(u64::to_string),
            ElementType::I64 => self.as_values::<i64>().ok().and_then(|all| all.get(index)).map(i64::to_string),
            ElementType::F32 => self.as_values::<f32>().ok().and_then(|all| all.get(index)).map(f32::to_string),
            _ => self.value_f64(index).map(|value| value.to_string()),
        };
        exact.unwrap_or_default()
    }

    /// For each row of the last axis the position of its largest element; the first of equals; NaN never wins
    /// unless all are NaN (then 0). A classifier's label.
    pub fn argmax_last(&self) -> Result<Vec<usize>, TensorError> {
        let width = match self.shape().last() {
            Some(&width) if width > 0 => width,
            _ => return Err(TensorError::NoLastAxis { shape: self.shape().to_vec() }),
        };
        let best = |row: usize| {
            let mut best = (0, f64::NEG_INFINITY);
            for column in 0..width {
                // In range: `row` and `column` enumerate the tensor's elements.
                let value = self.value_f64(row * width + column).unwrap_or(f64::NAN);
                if value > best.1 {
                    best = (column, value);
                }
            }
            best.0
        };
        Ok((0..self.len() / width).map(best).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_as_f32() {
        for element in ElementType::all() {
            let one: Vec<u8> = match element {
                ElementType::F16 => f16::ONE.to_le_bytes().to_vec(),
                ElementType::BF16 => bf16::ONE.to_le_bytes().to_vec(),
                ElementType::F32 => 1f32.to_le_bytes().to_vec(),
                ElementType::F64 => 1f64.to_le_bytes().to_vec(),
                integer => 1u64.to_le_bytes()[..integer.size_bytes()].to_vec(),
            };
            let tensor = Tensor::new(element, vec![], &one).unwrap();
            assert_eq!(tensor.to_f32_vec().unwrap(), [1.0], "{element}");
            assert_eq!(tensor.value_f64(0), Some(1.0), "{element}");
            assert_eq!(tensor.value_f64(1), None, "{element}");
        }
    }

    #[test]
    fn argmax_takes_the_first_of_equals_and_never_nan() {
        let rows =
            Tensor::from_f32(vec![3, 3], vec![1.0, 2.0, 2.0, f32::NAN, -1.0, -2.0, f32::NAN, f32::NAN, f32::NAN]);
        assert_eq!(rows.unwrap().argmax_last().unwrap(), [1, 1, 0]);
        assert!(Tensor::from_f32(vec![], vec![1.0]).unwrap().argmax_last().is_err());
        assert!(Tensor::from_f32(vec![2, 0], vec![]).unwrap().argmax_last().is_err());
    }
}
