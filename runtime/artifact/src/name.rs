//! Names inside an artifact: short, plain, and never a path.

use crate::error::shown;
use crate::limits::NAME_BYTES_MAX;
use crate::{ArtifactError, Reason};

/// Whether `name` is a lowercase ASCII letter or digit followed by up to 62 of those, `.`, `_`, `-`.
///
/// No such name holds a separator or begins with a dot, so none can leave a folder; still no file is ever named
/// after one: files on a device are named by digests.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match name.as_bytes() {
        [first, rest @ ..] => {
            name.len() <= NAME_BYTES_MAX
                && plain(*first)
                && rest.iter().all(|&byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
        }
        [] => false,
    }
}

/// Refuses what is not a [`name`](is_name).
pub(crate) fn check_name(name: &str, place: impl FnOnce() -> String) -> Result<(), ArtifactError> {
    if is_name(name) {
        return Ok(());
    }
    Err(ArtifactError::refused(
        Reason::BadName,
        place(),
        shown(name),
        format!("1 to {NAME_BYTES_MAX} of a-z, 0-9, '.', '_', '-', the first a letter or digit"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        let long = "a".repeat(NAME_BYTES_MAX);
        let longer = "a".repeat(NAME_BYTES_MAX + 1);
        let rows = [
            ("digits", true),
            ("a", true),
            ("0.2_x-y", true),
            ("a..b", true),
            (long.as_str(), true),
            (longer.as_str(), false),
            ("", false),
            (".", false),
            ("..", false),
            ("../x", false),
            ("x/../y", false),
            ("/x", false),
            ("x\\y", false),
            ("-x", false),
            ("Digits", false),
            ("zwölf", false),
            ("x\0", false),
            ("x ", false),
        ];
        let wrong: Vec<_> = rows.iter().filter(|(name, expected)| is_name(name) != *expected).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
