//! The matching rules of MQTT filters (MQTT 5, section 4.7).

/// Splits a shared subscription `$share/<group>/<filter>` (MQTT 5, section 4.8.2).
pub(crate) fn shared_group(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix("$share/")?.split_once('/')
}

/// Whether `topic` matches `filter`, which may be a shared subscription.
pub(crate) fn matches_filter(filter: &str, topic: &str) -> bool {
    let filter = shared_group(filter).map_or(filter, |(_, filter)| filter);
    // Wildcards at the first level do not match topics that begin with '$'.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match wanted {
            "#" => return true,
            "+" => {
                if levels.next().is_none() {
                    return false;
                }
            }
            wanted => {
                if levels.next() != Some(wanted) {
                    return false;
                }
            }
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        let mut failed = Vec::new();
        for (filter, topic, matches) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/+/c", "a/b/c", true),
            ("+/+", "/b", true),
            ("+", "/b", false),
            ("#", "a/b/c", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a/b", true),
            ("a/#", "b", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$share/g/a/+", "a/b", true),
            ("$share/g/a/+", "g/a/b", false),
        ] {
            if matches_filter(filter, topic) != matches {
                failed.push((filter, topic, matches));
            }
        }
        assert!(failed.is_empty(), "{failed:?}");
        assert!(matches_filter("a/#", "a"), "'#' includes the parent level");
    }
}
