//! Tensors as JSON arrays: read into typed bytes without a tree in between, written flat in row-major order.

use std::fmt;

use runtime_tensor::{ElementType, Tensor};
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserializer, Serialize, Serializer};

/// Reads the numbers of a (possibly nested) JSON array as elements of `element`, of which exactly `count` must be
/// there. Nesting is not compared with the shape, as the protocol allows both flat and nested data.
pub(crate) fn read(text: &str, element: ElementType, count: usize) -> Result<Vec<u8>, String> {
    if !is_writable(element) {
        return Err(format!("{} has no JSON form: send the tensor as binary data", element.oip()));
    }
    // Every element takes at least two characters of the text, which bounds what is reserved.
    let mut bytes = Vec::with_capacity(count.min(text.len()).saturating_mul(element.size_bytes()));
    let mut elements = Elements { element, count, found: 0, bytes: &mut bytes };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    List(&mut elements).deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    if elements.found != count {
        return Err(format!("{} elements, the shape has {count}", elements.found));
    }
    Ok(bytes)
}

/// Whether elements of this type have a JSON form.
pub(crate) fn is_writable(element: ElementType) -> bool {
    !matches!(element, ElementType::F16 | ElementType::BF16)
}

struct Elements<'a> {
    element: ElementType,
    count: usize,
    found: usize,
    bytes: &'a mut Vec<u8>,
}

impl Elements<'_> {
    fn room<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.found == self.count {
            return Err(E::custom(format!("more elements than the {} of the shape", self.count)));
        }
        self.found += 1;
        Ok(())
    }

    fn refuse<E: serde::de::Error, T>(&self, value: impl fmt::Display) -> Result<T, E> {
        Err(E::custom(format!("element {} is {value}, which is no {}", self.found - 1, self.element.oip())))
    }

    fn integer<E: serde::de::Error>(&mut self, value: i128) -> Result<(), E> {
        self.room()?;
        macro_rules! narrow {
            ($type:ty) => {
                match <$type>::try_from(value) {
                    Ok(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
                    Err(_) => return self.refuse(value),
                }
            };
        }
        match self.element {
            ElementType::U8 => narrow!(u8),
            ElementType::I8 => narrow!(i8),
            ElementType::U16 => narrow!(u16),
            ElementType::I16 => narrow!(i16),
            ElementType::U32 => narrow!(u32),
            ElementType::I32 => narrow!(i32),
            ElementType::U64 => narrow!(u64),
            ElementType::I64 => narrow!(i64),
            ElementType::F32 => self.bytes.extend_from_slice(&(value as f32).to_le_bytes()),
            ElementType::F64 => self.bytes.extend_from_slice(&(value as f64).to_le_bytes()),
            ElementType::Bool | ElementType::F16 | ElementType::BF16 => return self.refuse(value),
        }
        Ok(())
    }

    fn float<E: serde::de::Error>(&mut self, value: f64) -> Result<(), E> {
        self.room()?;
        match self.element {
            ElementType::F64 => self.bytes.extend_from_slice(&value.to_le_bytes()),
            ElementType::F32 => {
                let narrow = value as f32;
                if narrow.is_infinite() {
                    return self.refuse(value);
                }
                self.bytes.extend_from_slice(&narrow.to_le_bytes());
            }
            _ => return self.refuse(value),
        }
        Ok(())
    }

    fn boolean<E: serde::de::Error>(&mut self, value: bool) -> Result<(), E> {
        self.room()?;
        if self.element != ElementType::Bool {
            return self.refuse(value);
        }
        self.bytes.push(value.into());
        Ok(())
    }
}

/// The outermost array.
struct List<'a, 'b>(&'a mut Elements<'b>);

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Item(self.0))?.is_some() {}
        Ok(())
    }
}

/// A number, a boolean, or an array of them.
struct Item<'a, 'b>(&'a mut Elements<'b>);

impl<'de> DeserializeSeed<'de> for Item<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a {} or an array of them", self.0.element.oip())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.0.boolean(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.0.integer(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.0.integer(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.0.float(value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom("null is no number; a tensor with missing values cannot be sent"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        List(self.0).visit_seq(list)
    }
}

/// A tensor that is written as one flat JSON array.
pub(crate) struct Flat<'a>(pub(crate) &'a Tensor);

/// Why a tensor cannot be written as JSON.
pub(crate) fn unwritable(tensor: &Tensor) -> Option<String> {
    let element = tensor.element();
    if !is_writable(element) {
        return Some(format!("{} has no JSON form: ask for binary data", element.oip()));
    }
    let odd = match element {
        ElementType::F32 => tensor.as_values::<f32>().ok()?.iter().position(|value| !value.is_finite()),
        ElementType::F64 => tensor.as_values::<f64>().ok()?.iter().position(|value| !value.is_finite()),
        _ => None,
    };
    odd.map(|index| format!("element {index} is NaN or infinite, which JSON cannot hold: ask for binary data"))
}

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tensor = self.0;
        let mut list = serializer.serialize_seq(Some(tensor.len()))?;
        macro_rules! each {
            ($type:ty) => {
                for value in tensor.as_values::<$type>().map_err(serde::ser::Error::custom)? {
                    list.serialize_element(value)?;
                }
            };
        }
        match tensor.element() {
            ElementType::Bool => {
                for byte in tensor.bytes() {
                    list.serialize_element(&(*byte != 0))?;
                }
            }
            ElementType::U8 => each!(u8),
            ElementType::I8 => each!(i8),
            ElementType::U16 => each!(u16),
            ElementType::I16 => each!(i16),
            ElementType::U32 => each!(u32),
            ElementType::I32 => each!(i32),
            ElementType::U64 => each!(u64),
            ElementType::I64 => each!(i64),
            ElementType::F32 => each!(f32),
            ElementType::F64 => each!(f64),
            ElementType::F16 | ElementType::BF16 => {
                return Err(serde::ser::Error::custom("half precision has no JSON form"));
            }
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arrays_become_elements() {
        let read = |text, element, count| read(text, element, count);
        assert_eq!(read("[[1,2],[3,255]]", ElementType::U8, 4), Ok(vec![1, 2, 3, 255]));
        assert_eq!(read("[true,false]", ElementType::Bool, 2), Ok(vec![1, 0]));
        assert_eq!(read("[-1]", ElementType::I64, 1), Ok(vec![255; 8]));
        assert_eq!(read("[18446744073709551615]", ElementType::U64, 1), Ok(vec![255; 8]));
        assert_eq!(read("[1, 1.5e0]", ElementType::F32, 2), Ok([1_f32, 1.5].map(f32::to_le_bytes).concat()));
        assert_eq!(read("[]", ElementType::F32, 0), Ok(vec![]));
        assert_eq!(read(" [ ] ", ElementType::F64, 0), Ok(vec![]));
    }

    #[test]
    fn what_is_no_tensor_is_refused_with_a_reason() {
        let mut failed = Vec::new();
        for (text, element, count, part) in [
            ("[256]", ElementType::U8, 1, "element 0 is 256, which is no UINT8"),
            ("[1,-1]", ElementType::U16, 2, "element 1 is -1"),
            ("[1.5]", ElementType::I32, 1, "which is no INT32"),
            ("[1.0]", ElementType::I32, 1, "which is no INT32"),
            ("[1]", ElementType::Bool, 1, "which is no BOOL"),
            ("[true]", ElementType::F32, 1, "which is no FP32"),
            ("[1e300]", ElementType::F32, 1, "which is no FP32"),
            ("[null]", ElementType::F32, 1, "null"),
            ("[\"1\"]", ElementType::F32, 1, "invalid type: string"),
            ("[{}]", ElementType::F32, 1, "invalid type: map"),
            ("1", ElementType::F32, 1, "an array of numbers"),
            ("[1,2]", ElementType::F32, 3, "2 elements, the shape has 3"),
            ("[1,2,3]", ElementType::F32, 2, "more elements than the 2"),
            ("[1]", ElementType::F16, 1, "binary"),
            ("[NaN]", ElementType::F32, 1, "expected"),
        ] {
            match read(text, element, count) {
                Err(reason) if reason.contains(part) => {}
                other => failed.push(format!("{text} as {element}: {other:?}, expected {part:?}")),
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        assert!(read(&deep, ElementType::F32, 1).is_err(), "deep nesting must not use up the stack");
    }

    #[test]
    fn values_that_json_cannot_hold_are_named() {
        let tensor = Tensor::from_f32(vec![3], vec![1.0, 2.0, f32::NAN]).unwrap();
        assert!(unwritable(&tensor).unwrap().contains("element 2"));
        let half = Tensor::zeros(ElementType::F16, vec![1]).unwrap();
        assert!(unwritable(&half).unwrap().contains("FP16"));
        assert_eq!(unwritable(&Tensor::zeros(ElementType::F64, vec![2]).unwrap()), None);
    }

    proptest! {
        #[test]
        fn floats_survive_the_way_through_json_bit_for_bit(values in proptest::collection::vec(any::<f32>(), 0..20)) {
            let values: Vec<f32> = values.into_iter().filter(|value| value.is_finite()).collect();
            let tensor = Tensor::from_f32(vec![values.len()], values).unwrap();
            let text = serde_json::to_string(&Flat(&tensor)).unwrap();
            let back = read(&text, ElementType::F32, tensor.len()).unwrap();
            prop_assert_eq!(back.as_slice(), tensor.bytes());
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]0-9eE+\\-., truefalsn\"{}]{0,60}", count in 0_usize..5) {
            for element in ElementType::all() {
                let _ = read(&text, element, count);
            }
        }
    }
}
