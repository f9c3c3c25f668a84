//! `AttributeProto`: decoded where the plain view has a form for it, kept otherwise.

use crate::read::Budget;
use crate::read_tensor::{NoExternalData, floats, ints, read_tensor};
use crate::wire::Reader;
use crate::{Attribute, GraphError};

/// An `AttributeProto` whose payloads are not decoded yet.
pub(crate) struct RawAttribute<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: i32,
    int: i64,
    float: f32,
    text: Option<&'a [u8]>,
    tensor: Option<Reader<'a>>,
    pub(crate) graphs: Vec<Reader<'a>>,
    floats: Vec<f32>,
    ints: Vec<i64>,
    texts: Vec<&'a [u8]>,
    refers: bool,
}

impl<'a> RawAttribute<'a> {
    pub(crate) fn read(mut reader: Reader<'a>, budget: &mut Budget<'_>) -> Result<Self, GraphError> {
        let mut raw = Self {
            name: "",
            kind: 0,
            int: 0,
            float: 0.0,
            text: None,
            tensor: None,
            graphs: Vec::new(),
            floats: Vec::new(),
            ints: Vec::new(),
            texts: Vec::new(),
            refers: false,
        };
        // Files of the first format version have no type field: what is there decides.
        let mut seen = 0;
        while let Some(field) = reader.field()? {
            budget.entries(1)?;
            match field.number {
                1 => raw.name = field.text()?,
                2 => (raw.float, seen) = (field.float()?, 1),
                3 => (raw.int, seen) = (field.int()?, 2),
                4 => (raw.text, seen) = (Some(field.bytes()?.bytes()), 3),
                5 => (raw.tensor, seen) = (Some(field.message("TensorProto")?), 4),
                6 | 11 => raw.graphs.push(field.message("GraphProto")?),
                7 => {
                    seen = 6;
                    floats(&field, budget, &mut raw.floats)?;
                }
                8 => {
                    seen = 7;
                    ints(&field, budget, &mut raw.ints)?;
                }
                9 => (seen, _) = (8, raw.texts.push(field.bytes()?.bytes())),
                20 => raw.kind = field.int32()?,
                21 => raw.refers = true,
                _ => {}
            }
        }
        if raw.kind == 0 {
            raw.kind = seen;
        }
        Ok(raw)
    }

    /// The decoded value, or `None` for what stays opaque.
    pub(crate) fn plain(&self, budget: &mut Budget<'_>) -> Result<Option<Attribute>, GraphError> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        if self.refers {
            return Ok(None);
        }
        Ok(match self.kind {
            1 => Some(Attribute::Float(self.float)),
            2 => Some(Attribute::Int(self.int)),
            3 => text(self.text.unwrap_or_default()).map(Attribute::Text),
            4 => match self.tensor {
                Some(tensor) => match read_tensor(tensor, budget, &NoExternalData) {
                    Ok((_, tensor)) => Some(Attribute::Tensor(tensor)),
                    // A constant of strings, say: kept, and whoever needs it will say so.
                    Err(GraphError::Element { .. }) => None,
                    Err(error) => return Err(error),
                },
                None => None,
            },
            6 => Some(Attribute::Floats(self.floats.clone())),
            7 => Some(Attribute::Ints(self.ints.clone())),
            8 => self.texts.iter().map(|bytes| text(bytes)).collect::<Option<Vec<_>>>().map(Attribute::Texts),
            _ => None,
        })
    }
}
