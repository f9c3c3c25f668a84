//! The element types and their names in ONNX and in the Open Inference Protocol.

/// The type of one element of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ElementType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    I64,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of an IEEE 754 binary32.
    BF16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

/// Type, our name, size in bytes, `TensorProto.DataType` number, Open Inference Protocol name.
type Row = (ElementType, &'static str, usize, i32, &'static str);

const TABLE: [Row; 13] = [
    (ElementType::Bool, "bool", 1, 9, "BOOL"),
    (ElementType::U8, "u8", 1, 2, "UINT8"),
    (ElementType::I8, "i8", 1, 3, "INT8"),
    (ElementType::U16, "u16", 2, 4, "UINT16"),
    (ElementType::I16, "i16", 2, 5, "INT16"),
    (ElementType::U32, "u32", 4, 12, "UINT32"),
    (ElementType::I32, "i32", 4, 6, "INT32"),
    (ElementType::U64, "u64", 8, 13, "UINT64"),
    (ElementType::I64, "i64", 8, 7, "INT64"),
    (ElementType::F16, "f16", 2, 10, "FP16"),
    (ElementType::BF16, "bf16", 2, 16, "BF16"),
    (ElementType::F32, "f32", 4, 1, "FP32"),
    (ElementType::F64, "f64", 8, 11, "FP64"),
];

impl ElementType {
    /// Every element type, in the order of the enum.
    pub fn all() -> impl Iterator<Item = ElementType> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static Row {
        // The table stands in the order of the enum; `table_is_in_enum_order` holds it there.
        &TABLE[self as usize]
    }

    /// Bytes that one element takes.
    pub fn size_bytes(self) -> usize {
        self.row().2
    }

    /// The name used in manifests, recipes and messages: `f32`, `u8`, `bool`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The type with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The number in ONNX's `TensorProto.DataType`.
    pub fn onnx(self) -> i32 {
        self.row().3
    }

    /// The type with this `TensorProto.DataType`; `None` for strings, complex numbers and the 4- and 8-bit floats.
    pub fn from_onnx(data_type: i32) -> Option<Self> {
        TABLE.iter().find(|row| row.3 == data_type).map(|row| row.0)
    }

    /// The datatype name of the Open Inference Protocol: `FP32`, `UINT8`, `BOOL`.
    pub fn oip(self) -> &'static str {
        self.row().4
    }

    /// The type with this Open Inference Protocol name.
    pub fn from_oip(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.4 == name).map(|row| row.0)
    }

    /// Whether the type is one of the floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }
}

impl std::fmt::Display for ElementType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that is the memory form of an [`ElementType`].
///
/// Sealed in effect: `Pod` and the one-to-one table make a foreign implementation useless.
pub trait Value: bytemuck::Pod {
    /// The element type with this memory form.
    const ELEMENT: ElementType;
}

macro_rules! values {
    ($($rust:ty => $element:ident),*) => {
        $(impl Value for $rust { const ELEMENT: ElementType = ElementType::$element; })*
    };
}
values!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64, f32 => F32, f64 => F64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_enum_order() {
        for (position, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, position, "{}", row.1);
        }
    }

    #[test]
    fn every_name_and_number_leads_back_to_its_type() {
        for element in ElementType::all() {
            assert_eq!(ElementType::from_name(element.name()), Some(element));
            assert_eq!(ElementType::from_onnx(element.onnx()), Some(element));
            assert_eq!(ElementType::from_oip(element.oip()), Some(element));
        }
        assert_eq!(ElementType::from_name("string"), None);
        assert_eq!(ElementType::from_onnx(8), None, "strings have no element type");
        assert_eq!(ElementType::from_oip("BYTES"), None);
    }
}
