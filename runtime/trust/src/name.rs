//! Names of artifacts, fleets and channels.

use crate::limits::NAME_CHARACTERS_MAX;

/// TUF's own roles, whose files are `root.json`, `1.root.json` and so on: an artifact must not take their place.
const RESERVED: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// Whether `name` is `[a-z0-9][a-z0-9._-]{0,62}`, as fleets and channels are called.
pub fn is_plain_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    let first_fits = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    first_fits && name.len() <= NAME_CHARACTERS_MAX && name.bytes().all(is_inner)
}

/// A name no artifact may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "use {found:?} as an artifact's name: expected 1 to {NAME_CHARACTERS_MAX} characters of a-z 0-9 . _ - beginning \
     with a letter or digit, the last part of it none of root, timestamp, snapshot, targets; choose another name"
)]
pub struct NameError {
    found: String,
}

/// Checks an artifact's name: a plain name that is none of TUF's own.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let last_part = name.rsplit('.').next().unwrap_or(name);
    if is_plain_name(name) && !RESERVED.contains(&last_part) {
        return Ok(());
    }
    Err(NameError { found: name.chars().take(NAME_CHARACTERS_MAX + 1).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_not_tufs_own() {
        for good in ["digits", "0", "a.b_c-d", &"x".repeat(63), "root.json"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for wrong in [
            "",
            ".",
            "..",
            "-a",
            "_a",
            "A",
            "a/b",
            "a b",
            "ä",
            "a\0",
            "*",
            "root",
            "1.root",
            "x.y.targets",
            "targets",
            "snapshot",
            "timestamp",
            &"x".repeat(64),
        ] {
            assert!(check_name(wrong).is_err(), "{wrong:?}");
        }
    }
}
