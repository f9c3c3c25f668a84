//! The owned tensor.

use std::fmt;
use std::sync::Arc;

use crate::{ElementType, TensorError, Value};

/// Bytes that one tensor may take: a protobuf message, the form in which every weight arrives, ends at 2 GiB.
pub const TENSOR_BYTES_MAX: u64 = (1 << 31) - 1;
/// Axes that one tensor may have.
pub const TENSOR_RANK_MAX: usize = 16;

/// A tensor with the name of the model's input or output that it stands for.
pub type NamedTensor = (String, Tensor);

/// An owned tensor: little-endian, row-major, without gaps; its buffer is aligned to 8 bytes.
///
/// Two tensors are equal when element type, shape and every byte are equal (so NaN equals the same NaN).
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    element: ElementType,
    shape: Vec<usize>,
    /// 64-bit words, so that a slice of any element type lies aligned; bytes past the last element are zero. Shared by
    /// clones until one of them is written: a model's weights are held once, however often the graph is copied.
    words: Arc<Vec<u64>>,
}

impl Tensor {
    /// Copies `bytes`, which must be exactly as many as `shape` and `element` need.
    pub fn new(element: ElementType, shape: Vec<usize>, bytes: &[u8]) -> Result<Self, TensorError> {
        let expected = bytes_needed(element, &shape)?;
        if bytes.len() != expected {
            return Err(TensorError::Length { element, shape, found: bytes.len(), expected });
        }
        let mut tensor = Self::zeros(element, shape)?;
        tensor.bytes_mut().copy_from_slice(bytes);
        Ok(tensor)
    }

    /// A tensor of zeros.
    pub fn zeros(element: ElementType, shape: Vec<usize>) -> Result<Self, TensorError> {
        let count = bytes_needed(element, &shape)?.div_ceil(8);
        let mut words = Vec::new();
        if words.try_reserve_exact(count).is_err() {
            return Err(TensorError::TooLarge { element, shape, max: TENSOR_BYTES_MAX });
        }
        words.resize(count, 0);
        Ok(Self { element, shape, words: Arc::new(words) })
    }

    /// Copies `values`, which must be as many as `shape` has elements.
    pub fn from_values<T: Value>(shape: Vec<usize>, values: &[T]) -> Result<Self, TensorError> {
        Self::new(T::ELEMENT, shape, bytemuck::cast_slice(values))
    }

    /// A tensor of `f32`.
    pub fn from_f32(shape: Vec<usize>, values: Vec<f32>) -> Result<Self, TensorError> {
        Self::from_values(shape, &values)
    }

    /// A tensor of `i64`.
    pub fn from_i64(shape: Vec<usize>, values: Vec<i64>) -> Result<Self, TensorError> {
        Self::from_values(shape, &values)
    }

    /// A tensor of `i32`.
    pub fn from_i32(shape: Vec<usize>, values: Vec<i32>) -> Result<Self, TensorError> {
        Self::from_values(shape, &values)
    }

    /// A tensor of `u8`.
    pub fn from_u8(shape: Vec<usize>, values: Vec<u8>) -> Result<Self, TensorError> {
        Self::from_values(shape, &values)
    }

    /// A tensor of `i8`.
    pub fn from_i8(shape: Vec<usize>, values: Vec<i8>) -> Result<Self, TensorError> {
        Self::from_values(shape, &values)
    }

    /// A tensor of booleans, one byte each.
    pub fn from_bool(shape: Vec<usize>, values: Vec<bool>) -> Result<Self, TensorError> {
        let bytes: Vec<u8> = values.into_iter().map(u8::from).collect();
        Self::new(ElementType::Bool, shape, &bytes)
    }

    /// The element type.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// The size of each axis, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        // Checked when the tensor was made.
        self.shape.iter().product()
    }

    /// Whether an axis has size zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements as they lie in memory.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(self.words.as_slice())[..self.len() * self.element.size_bytes()]
    }

    /// All elements as they lie in memory, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let length = self.len() * self.element.size_bytes();
        &mut bytemuck::cast_slice_mut(Arc::make_mut(&mut self.words).as_mut_slice())[..length]
    }

    /// The elements as a slice of `T`; an error when the tensor holds another type.
    pub fn as_values<T: Value>(&self) -> Result<&[T], TensorError> {
        self.expect_element(T::ELEMENT)?;
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// The elements as a slice of `T` to be changed; an error when the tensor holds another type.
    pub fn as_values_mut<T: Value>(&mut self) -> Result<&mut [T], TensorError> {
        self.expect_element(T::ELEMENT)?;
        Ok(bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    /// The elements of an `f32` tensor.
    pub fn as_f32(&self) -> Result<&[f32], TensorError> {
        self.as_values()
    }

    /// The elements of an `f32` tensor, to be changed.
    pub fn as_f32_mut(&mut self) -> Result<&mut [f32], TensorError> {
        self.as_values_mut()
    }

    /// The elements of an `i64` tensor.
    pub fn as_i64(&self) -> Result<&[i64], TensorError> {
        self.as_values()
    }

    /// The elements of an `i32` tensor.
    pub fn as_i32(&self) -> Result<&[i32], TensorError> {
        self.as_values()
    }

    /// The elements of a `u8` tensor.
    pub fn as_u8(&self) -> Result<&[u8], TensorError> {
        self.as_values()
    }

    /// The elements of an `i8` tensor.
    pub fn as_i8(&self) -> Result<&[i8], TensorError> {
        self.as_values()
    }

    fn expect_element(&self, expected: ElementType) -> Result<(), TensorError> {
        if self.element == expected { Ok(()) } else { Err(TensorError::Element { found: self.element, expected }) }
    }

    /// The same elements under another shape with as many elements.
    pub fn reshape(mut self, shape: Vec<usize>) -> Result<Self, TensorError> {
        if bytes_needed(self.element, &shape)? != self.bytes().len() {
            return Err(TensorError::Reshape { from: self.shape, to: shape });
        }
        self.shape = shape;
        Ok(self)
    }
}

/// Bytes of a tensor, checked against every limit of this crate.
fn bytes_needed(element: ElementType, shape: &[usize]) -> Result<usize, TensorError> {
    if shape.len() > TENSOR_RANK_MAX {
        return Err(TensorError::TooManyAxes { found: shape.len(), max: TENSOR_RANK_MAX });
    }
    // A zero anywhere makes the product zero, but the other sizes are still held to the limit: later code may
    // multiply them on their own.
    let mut bytes = element.size_bytes() as u64;
    for &size in shape {
        let factor = (size as u64).max(1);
        bytes = match bytes.checked_mul(factor) {
            Some(product) if product <= TENSOR_BYTES_MAX => product,
            _ => return Err(TensorError::TooLarge { element, shape: shape.to_vec(), max: TENSOR_BYTES_MAX }),
        };
    }
    // Below 2 GiB, so it is a usize on every supported target.
    Ok(if shape.contains(&0) { 0 } else { bytes as usize })
}

impl fmt::Debug for Tensor {
    /// Type, shape and the first elements: tensors stand in test failures and logs, where a megabyte is no help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        write!(f, "{}{:?} [", self.element, self.shape)?;
        for index in 0..self.len().min(SHOWN) {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", self.value_text(index))?;
        }
        f.write_str(if self.len() > SHOWN { ", ..]" } else { "]" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_little_endian_and_aligned() {
        let tensor = Tensor::from_i32(vec![3], vec![1, -1, 256]).unwrap();
        assert_eq!(tensor.bytes(), [1, 0, 0, 0, 255, 255, 255, 255, 0, 1, 0, 0]);
        assert_eq!(tensor.bytes().as_ptr() as usize % 8, 0);
        let same = Tensor::new(ElementType::I32, vec![3], tensor.bytes()).unwrap();
        assert_eq!(same, tensor);
    }

    #[test]
    fn a_scalar_has_one_element_and_an_empty_axis_none() {
        assert_eq!(Tensor::from_f32(vec![], vec![2.5]).unwrap().len(), 1);
        let empty = Tensor::from_f32(vec![0, 4], vec![]).unwrap();
        assert!(empty.is_empty());
        assert_eq!(empty.as_f32().unwrap(), [] as [f32; 0]);
    }

    #[test]
    fn hostile_sizes_are_errors() {
        let huge = usize::MAX / 2;
        assert!(matches!(Tensor::zeros(ElementType::F32, vec![huge, huge]), Err(TensorError::TooLarge { .. })));
        assert!(matches!(Tensor::zeros(ElementType::F32, vec![0, huge, huge]), Err(TensorError::TooLarge { .. })));
        assert!(matches!(
            Tensor::zeros(ElementType::U8, vec![1; TENSOR_RANK_MAX + 1]),
            Err(TensorError::TooManyAxes { .. })
        ));
        assert!(matches!(
            Tensor::new(ElementType::F32, vec![2], &[0; 7]),
            Err(TensorError::Length { found: 7, expected: 8, .. })
        ));
    }

    #[test]
    fn reading_as_another_type_is_an_error() {
        let tensor = Tensor::from_u8(vec![4], vec![0; 4]).unwrap();
        assert_eq!(tensor.as_f32().unwrap_err().to_string(), "read u8 elements as f32");
    }

    #[test]
    fn reshape_keeps_the_elements() {
        let tensor = Tensor::from_u8(vec![2, 3], vec![1, 2, 3, 4, 5, 6]).unwrap();
        let flat = tensor.clone().reshape(vec![6]).unwrap();
        assert_eq!(flat.bytes(), tensor.bytes());
        assert!(tensor.reshape(vec![4]).is_err());
    }

    #[test]
    fn debug_is_short() {
        let tensor = Tensor::from_f32(vec![2, 50], vec![0.5; 100]).unwrap();
        assert_eq!(format!("{tensor:?}"), "f32[2, 50] [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ..]");
    }
}
