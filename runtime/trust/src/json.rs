//! JSON with one meaning: no duplicate keys, no floats; and its canonical form, which TUF signs.

use std::fmt;

use olpc_cjson::CanonicalFormatter;
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parses `bytes`; two parsers could choose differently among duplicate keys, so they are refused.
///
/// Depth is limited by serde_json, length by the caller.
pub(crate) fn parse_strict(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// OLPC canonical JSON: sorted keys, no spaces, integers only. Fails for floats alone.
///
/// It is injective for ASCII text; other text is brought to NFC, so nothing that this crate
/// decides on may be anything but ASCII.
pub(crate) fn canonical(value: &Value) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    let formatter = CanonicalFormatter::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(bytes)
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON without floats and duplicate keys")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format!("{value} is no integer of 64 bits; numbers here are integers")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(Strict)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
            let value = entries.next_value_seed(Strict)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_json_has_one_meaning() {
        let good = br#"{"b":[1,-2,true,null,"x"],"a":{"c":18446744073709551615}}"#;
        let value = parse_strict(good).unwrap();
        assert_eq!(canonical(&value).unwrap(), br#"{"a":{"c":18446744073709551615},"b":[1,-2,true,null,"x"]}"#);
        for (wrong, text) in [
            (&br#"{"a":1,"a":1}"#[..], "stands twice"),
            (br#"{"x":{"a":1,"\u0061":2}}"#, "stands twice"),
            (br#"{"a":1.0}"#, "no integer"),
            (br#"{"a":18446744073709551616}"#, "no integer"),
            (br#"{"a":1} {"#, "trailing"),
            (br#"{"a":1"#, "EOF"),
            (b"\xff", "expected value"),
        ] {
            let error = parse_strict(wrong).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn deep_json_is_an_error_not_an_overflow() {
        let deep = "[".repeat(60_000);
        assert!(parse_strict(deep.as_bytes()).unwrap_err().to_string().contains("recursion"));
    }
}
