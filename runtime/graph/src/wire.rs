//! The protobuf wire format: a reader that borrows and a writer.
//!
//! Why not generated types: they copy every tensor, write fields in another order than the file had them, and
//! the runtimes in reach recurse without a limit on unknown groups. This reader never copies, never recurses,
//! knows where in the file it stands, and refuses groups, which ONNX does not have.

use std::ops::Range;

use crate::GraphError;

/// Longest encoding of a 64-bit varint.
const VARINT_BYTES_MAX: usize = 10;

/// The value of one field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Reader<'a>),
}

/// One field and where it stands in the file.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
    /// Tag, length and payload.
    pub(crate) whole: Range<usize>,
    /// Name of the message around it, for errors.
    place: &'static str,
}

/// A stretch of the file that holds one message or one run of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    file: &'a [u8],
    at: usize,
    end: usize,
    place: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: &'a [u8], place: &'static str) -> Self {
        Self { file, at: 0, end: file.len(), place }
    }

    /// The bytes not yet read.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        &self.file[self.at..self.end]
    }

    /// Where the bytes not yet read stand in the file.
    pub(crate) fn range(&self) -> Range<usize> {
        self.at..self.end
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// The same stretch under the name of the message that it holds.
    pub(crate) fn named(mut self, place: &'static str) -> Self {
        self.place = place;
        self
    }

    pub(crate) fn malformed(&self, reason: impl Into<String>) -> GraphError {
        GraphError::Malformed { offset: self.at as u64, place: self.place, reason: reason.into() }
    }

    /// The next field, or `None` at the end of the message.
    pub(crate) fn field(&mut self) -> Result<Option<Field<'a>>, GraphError> {
        if self.is_empty() {
            return Ok(None);
        }
        let begin = self.at;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 || number >= 1 << 29 {
            return Err(self.malformed(format!("field number {} does not exist in protobuf", tag >> 3)));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let payload = self.take(length)?;
                Value::Bytes(payload)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(self.malformed(format!("wire type {other} of field {number} is not used by ONNX"))),
        };
        Ok(Some(Field { number, value, whole: begin..self.at, place: self.place }))
    }

    /// A varint, as it stands in packed lists.
    pub(crate) fn varint(&mut self) -> Result<u64, GraphError> {
        let begin = self.at;
        let mut value = 0u64;
        for position in 0..VARINT_BYTES_MAX {
            let Some(&byte) = self.bytes().first() else {
                return Err(self.ended(begin));
            };
            self.at += 1;
            // The tenth byte holds one bit; like every protobuf reader, drop what does not fit.
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed(format!("a varint is longer than {VARINT_BYTES_MAX} bytes")))
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], GraphError> {
        let payload = self.take(N as u64)?;
        Ok(payload.bytes().try_into().expect("take gives exactly as many bytes as asked for"))
    }

    fn take(&mut self, length: u64) -> Result<Reader<'a>, GraphError> {
        let begin = self.at;
        match usize::try_from(length).ok().and_then(|length| begin.checked_add(length)) {
            Some(end) if end <= self.end => {
                self.at = end;
                Ok(Reader { file: self.file, at: begin, end, place: self.place })
            }
            _ => Err(self.ended(begin)),
        }
    }

    /// A field that wants more bytes than there are: the file is cut off, or a length inside it is wrong.
    fn ended(&self, begin: usize) -> GraphError {
        if self.end == self.file.len() {
            GraphError::Truncated { offset: begin as u64, place: self.place }
        } else {
            GraphError::Malformed {
                offset: begin as u64,
                place: self.place,
                reason: "a field is longer than the message around it".to_owned(),
            }
        }
    }
}

impl<'a> Field<'a> {
    fn wrong(&self, expected: &str) -> GraphError {
        GraphError::Malformed {
            offset: self.whole.start as u64,
            place: self.place,
            reason: format!("field {} is no {expected}", self.number),
        }
    }

    pub(crate) fn int(&self) -> Result<i64, GraphError> {
        match self.value {
            // Protobuf's int32 and int64 are two's complement in a 64-bit varint.
            Value::Varint(value) => Ok(value as i64),
            _ => Err(self.wrong("integer")),
        }
    }

    /// An enum or `int32`; values outside are no value of any enum that we know.
    pub(crate) fn int32(&self) -> Result<i32, GraphError> {
        Ok(i32::try_from(self.int()?).unwrap_or(-1))
    }

    pub(crate) fn float(&self) -> Result<f32, GraphError> {
        match self.value {
            Value::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => Err(self.wrong("float")),
        }
    }

    pub(crate) fn bytes(&self) -> Result<Reader<'a>, GraphError> {
        match self.value {
            Value::Bytes(payload) => Ok(payload),
            _ => Err(self.wrong("message or text")),
        }
    }

    pub(crate) fn message(&self, place: &'static str) -> Result<Reader<'a>, GraphError> {
        Ok(self.bytes()?.named(place))
    }

    pub(crate) fn text(&self) -> Result<&'a str, GraphError> {
        std::str::from_utf8(self.bytes()?.bytes()).map_err(|_| self.wrong("text in UTF-8"))
    }
}

/// Writes fields one after another.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn tag(&mut self, number: u32, wire_type: u64) {
        self.varint(u64::from(number) << 3 | wire_type);
    }

    pub(crate) fn int(&mut self, number: u32, value: i64) {
        self.tag(number, 0);
        self.varint(value as u64);
    }

    pub(crate) fn float(&mut self, number: u32, value: f32) {
        self.tag(number, 5);
        self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub(crate) fn payload(&mut self, number: u32, payload: &[u8]) {
        self.head(number, payload.len());
        self.bytes.extend_from_slice(payload);
    }

    /// Tag and length of a payload that the caller appends to `bytes`.
    pub(crate) fn head(&mut self, number: u32, length: usize) {
        self.tag(number, 2);
        self.varint(length as u64);
    }

    pub(crate) fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.payload(number, text.as_bytes());
        }
    }

    pub(crate) fn message(&mut self, number: u32, write: impl FnOnce(&mut Writer)) {
        let mut inner = Writer::default();
        write(&mut inner);
        self.payload(number, &inner.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_written() {
        let mut writer = Writer::default();
        writer.int(1, -5);
        writer.float(2, 1.5);
        writer.text(3, "hello");
        writer.message(4, |inner| inner.int(1, 300));
        let mut reader = Reader::new(&writer.bytes, "test");
        assert_eq!(reader.field().unwrap().unwrap().int().unwrap(), -5);
        assert_eq!(reader.field().unwrap().unwrap().float().unwrap(), 1.5);
        assert_eq!(reader.field().unwrap().unwrap().text().unwrap(), "hello");
        let mut inner = reader.field().unwrap().unwrap().message("inner").unwrap();
        assert_eq!(inner.field().unwrap().unwrap().int().unwrap(), 300);
        assert!(inner.field().unwrap().is_none());
        assert!(reader.field().unwrap().is_none());
    }

    #[test]
    fn hostile_bytes_are_errors_with_a_place() {
        let rows: [(&str, &[u8], &str); 8] = [
            ("group", &[0x0b], "wire type 3"),
            ("end of group", &[0x0c], "wire type 4"),
            ("field 0", &[0x00, 0x00], "field number 0"),
            ("endless varint", &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], "varint is longer"),
            ("cut varint", &[0x08, 0x80], "ends at byte 1"),
            ("cut payload", &[0x0a, 5, 1, 2], "ends at byte 2"),
            ("giant payload", &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 127], "ends at byte"),
            ("cut float", &[0x0d, 1, 2], "ends at byte 1"),
        ];
        let mut wrong = Vec::new();
        for (case, bytes, expected) in rows {
            match Reader::new(bytes, "test").field() {
                Err(error) if error.to_string().contains(expected) => {}
                other => wrong.push(format!("{case}: {other:?}")),
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn a_length_over_the_enclosing_message_is_not_called_truncated() {
        // A message of 2 bytes whose inner field claims 9, with more file after it.
        let bytes = [0x0a, 2, 0x0a, 9, 0x08, 1];
        let mut reader = Reader::new(&bytes, "outer");
        let mut inner = reader.field().unwrap().unwrap().message("inner").unwrap();
        assert!(matches!(inner.field(), Err(GraphError::Malformed { place: "inner", offset: 4, .. })));
    }
}
