//! One pass over JSON text that refuses what a lenient reader would quietly accept.
//!
//! `serde_json` keeps the last of two equal keys in a map and takes `1.0` for a float field; two readers of one
//! signed text could then disagree about what was signed. Here every object's keys are compared, and floats and
//! `null` (a second spelling of an absent field) are refused wherever they stand.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::Reason;
use crate::error::shown;

/// Objects and lists inside each other at most. The manifest needs 6.
const DEPTH_MAX: u32 = 16;

/// Checks that `text` is one JSON value with no duplicate key, no float, no `null` and nothing after it.
///
/// The error is the reason and a message with line and column.
pub(crate) fn check(text: &[u8]) -> Result<(), (Reason, String)> {
    let reason = Cell::new(Reason::ManifestMalformed);
    let mut json = serde_json::Deserializer::from_slice(text);
    Strict { reason: &reason, depth: 0 }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| (reason.get(), error.to_string()))
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    reason: &'a Cell<Reason>,
    depth: u32,
}

impl Strict<'_> {
    fn refuse<E: Error>(self, reason: Reason, message: String) -> E {
        self.reason.set(reason);
        E::custom(message)
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(
                self.refuse(Reason::ManifestMalformed, format!("more than {DEPTH_MAX} levels of objects and lists"))
            );
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value without floats and null")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        // Integers above 64 bits and "-0" arrive here, too: neither has an exact integer form.
        Err(self.refuse(Reason::FloatInManifest, format!("the number {value:e} is no 64-bit integer")))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while list.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut keys = BTreeSet::new();
        while let Some(key) = object.next_key::<String>()? {
            object.next_value_seed(inner)?;
            if keys.contains(&key) {
                return Err(self.refuse(Reason::DuplicateKey, format!("the key {} stands twice", shown(&key))));
            }
            keys.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_by_reason() {
        let deep = "[".repeat(100_000);
        let rows = [
            (r#"{"a":[1,-2,"x",true,{"a":18446744073709551615}]}"#, None),
            (r#"{"a":1,"a":1}"#, Some(Reason::DuplicateKey)),
            (r#"{"a":1,"\u0061":2}"#, Some(Reason::DuplicateKey)),
            (r#"[{"b":{"c":1,"d":2,"c":3}}]"#, Some(Reason::DuplicateKey)),
            ("1.0", Some(Reason::FloatInManifest)),
            (r#"{"a":1e3}"#, Some(Reason::FloatInManifest)),
            (r#"{"a":-0}"#, Some(Reason::FloatInManifest)),
            (r#"{"a":18446744073709551616}"#, Some(Reason::FloatInManifest)),
            (r#"{"a":1e999}"#, Some(Reason::ManifestMalformed)),
            (r#"{"a":null}"#, Some(Reason::ManifestMalformed)),
            (r#"{"a":1} {"#, Some(Reason::ManifestMalformed)),
            (r#"{"a":1}x"#, Some(Reason::ManifestMalformed)),
            (r#"{"a":01}"#, Some(Reason::ManifestMalformed)),
            (r#"{"a":1,}"#, Some(Reason::ManifestMalformed)),
            ("", Some(Reason::ManifestMalformed)),
            (deep.as_str(), Some(Reason::ManifestMalformed)),
        ];
        let wrong: Vec<String> = rows
            .iter()
            .filter(|(text, expected)| check(text.as_bytes()).err().map(|(reason, _)| reason) != *expected)
            .map(|(text, expected)| {
                format!("{}: expected {expected:?}, found {:?}", shown(text), check(text.as_bytes()))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn says_the_line() {
        let (_, message) = check(b"{\"a\": 1,\n \"a\": 2}").unwrap_err();
        assert_eq!(message, "the key \"a\" stands twice at line 2 column 8");
    }

    #[test]
    fn text_that_is_not_utf8_is_malformed() {
        assert_eq!(check(b"\"\xff\"").unwrap_err().0, Reason::ManifestMalformed);
    }
}
