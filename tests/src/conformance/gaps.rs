//! What an engine does not do yet, by name, in a text file that only shrinks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::Verdict;

/// Rewrites the lists instead of judging by them: `shrink` or `all`.
pub const REWRITE_ENV: &str = "CASK_CONFORMANCE_REWRITE";

/// A gap whose reason begins so may pass: what the engine answers depends on the machine.
const EITHER: &str = "depends on the CPU";

/// The longest reason that is kept; a message of an engine may be a page.
const REASON_CHARACTERS_MAX: usize = 160;

const HEAD: &str = "\
# Cases of the conformance suite that do not pass, one a line: name, tab, why.
# The list only shrinks: a case outside of it fails, one in it passes, or a name that no case has: each fails the test.
# CASK_CONFORMANCE_REWRITE=shrink cargo test -p tests --test conformance   drops what passed and what is no case
# CASK_CONFORMANCE_REWRITE=all    cargo test -p tests --test conformance   writes it anew; read the difference
# A reason that begins with \"depends on the CPU\" allows either outcome.
";

/// A list of gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Reasons by name.
    reasons: BTreeMap<String, String>,
    /// Passed and all cases of each group.
    totals: BTreeMap<String, (usize, usize)>,
}

/// What a run did to a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Lines for people; empty when the list holds.
    pub wrong: Vec<String>,
    /// The list as the run found it.
    pub found: Gaps,
    /// The old list without the lines that must go.
    pub shrunk: Gaps,
}

fn group(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

impl Gaps {
    /// Reads a list; the error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut gaps = Self::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("line {}: {what}: {line:?}", index + 1);
            if let Some(total) = line.strip_prefix("# total: ") {
                let fields: Vec<&str> = total.split(' ').collect();
                let [group, passed, "of", all, "passed"] = fields[..] else {
                    return Err(wrong("expected \"# total: GROUP N of N passed\""));
                };
                let number = |text: &str| text.parse().map_err(|_| wrong("no number"));
                gaps.totals.insert(group.to_owned(), (number(passed)?, number(all)?));
            } else if !line.starts_with('#') && !line.is_empty() {
                let (name, reason) = line.split_once('\t').ok_or_else(|| wrong("expected a name, a tab, a reason"))?;
                if reason.is_empty() || gaps.reasons.insert(name.to_owned(), reason.to_owned()).is_some() {
                    return Err(wrong("no reason, or a name that stands here twice"));
                }
            }
        }
        Ok(gaps)
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (group, (passed, all)) in &self.totals {
            let _ = writeln!(text, "# total: {group} {passed} of {all} passed");
        }
        for (name, reason) in &self.reasons {
            let _ = writeln!(text, "{name}\t{reason}");
        }
        text
    }

    /// Names in the list.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.reasons.keys().map(String::as_str)
    }

    /// Passed and all cases of a group, as the head says.
    pub fn total(&self, group: &str) -> Option<(usize, usize)> {
        self.totals.get(group).copied()
    }

    /// Holds the list against what a run found. Groups of which no case ran are left as they are.
    pub fn judge(&self, verdicts: &BTreeMap<String, Verdict>) -> Judgement {
        let ran: BTreeSet<&str> = verdicts.keys().map(|name| group(name)).collect();
        let mut wrong = Vec::new();
        let mut found = Self::default();
        for (name, verdict) in verdicts {
            let known = self.reasons.get(name);
            let either = known.is_some_and(|reason| reason.starts_with(EITHER));
            let reason = match (verdict, known) {
                (Ok(()), None) => None,
                (Ok(()), Some(reason)) => {
                    if !either {
                        wrong.push(format!("passes, so its line must go: {name} ({reason})"));
                    }
                    either.then(|| reason.clone())
                }
                (Err(_), Some(reason)) if either => Some(reason.clone()),
                (Err(why), Some(_)) => Some(one_line(why)),
                (Err(why), None) => {
                    wrong.push(format!("fails: {name}: {why}"));
                    Some(one_line(why))
                }
            };
            let total = found.totals.entry(group(name).to_owned()).or_default();
            total.0 += usize::from(reason.is_none());
            total.1 += 1;
            found.reasons.extend(reason.map(|reason| (name.clone(), reason)));
        }
        for (name, reason) in &self.reasons {
            match verdicts.contains_key(name) {
                true => {}
                false if ran.contains(group(name)) => wrong.push(format!("is no case: {name}")),
                false => drop(found.reasons.insert(name.clone(), reason.clone())),
            }
        }
        for (group, total) in &self.totals {
            found.totals.entry(group.clone()).or_insert(*total);
        }
        if wrong.is_empty() && found.totals != self.totals {
            wrong.push(format!("the totals of the head are stale; found {:?}", found.totals));
        }
        let kept = self.reasons.iter().filter(|(name, _)| found.reasons.contains_key(*name));
        let reasons = kept.map(|(name, reason)| (name.clone(), reason.clone())).collect();
        let shrunk = Self { reasons, totals: found.totals.clone() };
        Judgement { wrong, found, shrunk }
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(REASON_CHARACTERS_MAX).collect()
}

/// Judges `verdicts` by the list in `file`, or rewrites it where [`REWRITE_ENV`] says so. Panics with every line
/// that is wrong.
pub fn hold_to_gaps(file: &Path, verdicts: &BTreeMap<String, Verdict>) -> Gaps {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let gaps = Gaps::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    let judgement = gaps.judge(verdicts);
    let rewritten = match std::env::var(REWRITE_ENV).ok().as_deref() {
        None | Some("") => {
            let (shown, list) = (judgement.wrong.len(), judgement.wrong.join("\n  "));
            assert!(judgement.wrong.is_empty(), "{}, {shown} lines:\n  {list}", file.display());
            return gaps;
        }
        Some("shrink") => judgement.shrunk,
        Some("all") => judgement.found,
        Some(other) => panic!("{REWRITE_ENV} is {other:?}; expected shrink or all"),
    };
    std::fs::write(file, rewritten.text()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    rewritten
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "# total: a 1 of 3 passed\n# total: b 0 of 1 passed\na/fails\twhy\na/maybe\tdepends on the CPU: x\nb/x\ty\n";

    fn verdicts(rows: &[(&str, bool)]) -> BTreeMap<String, Verdict> {
        let verdict = |passed: bool| if passed { Ok(()) } else { Err("new\n reason".to_owned()) };
        rows.iter().map(|(name, passed)| ((*name).to_owned(), verdict(*passed))).collect()
    }

    #[test]
    fn a_list_that_says_what_happened_holds() {
        let gaps = Gaps::parse(LIST).unwrap();
        for maybe in [true, false] {
            let judgement = gaps.judge(&verdicts(&[("a/fails", false), ("a/maybe", maybe), ("a/passes", true)]));
            assert_eq!(judgement.wrong, [] as [&str; 0]);
            assert_eq!(judgement.shrunk, gaps, "group b did not run and stays");
            assert_eq!(judgement.found.reasons["a/fails"], "new reason");
        }
        assert_eq!(Gaps::parse(&gaps.text()).unwrap(), gaps);
    }

    #[test]
    fn every_way_to_be_wrong_is_found() {
        let gaps = Gaps::parse(LIST).unwrap();
        let rows = [
            (
                verdicts(&[("a/fails", true), ("a/maybe", true), ("a/passes", true)]),
                "passes, so its line must go: a/fails",
            ),
            (verdicts(&[("a/fails", false), ("a/maybe", true), ("a/passes", false)]), "fails: a/passes: new"),
            (verdicts(&[("a/maybe", true), ("a/passes", true)]), "is no case: a/fails"),
            (verdicts(&[("a/fails", false), ("a/maybe", true), ("a/1", true), ("a/2", true)]), "the totals"),
        ];
        for (verdicts, wrong) in rows {
            let judgement = gaps.judge(&verdicts);
            assert!(judgement.wrong.iter().any(|line| line.starts_with(wrong)), "{wrong}: {:?}", judgement.wrong);
        }
    }

    #[test]
    fn shrinking_never_adds_a_line() {
        let gaps = Gaps::parse(LIST).unwrap();
        let judgement = gaps.judge(&verdicts(&[("a/fails", true), ("a/maybe", false), ("a/passes", false)]));
        assert_eq!(judgement.shrunk.names().collect::<Vec<_>>(), ["a/maybe", "b/x"]);
        assert_eq!(judgement.found.names().collect::<Vec<_>>(), ["a/maybe", "a/passes", "b/x"]);
        assert_eq!(judgement.found.reasons["a/passes"], "new reason");
    }

    #[test]
    fn lines_that_say_nothing_are_refused() {
        for text in ["a/x\n", "a/x\t\n", "a/x\ty\na/x\tz\n", "# total: a many of 3 passed\n", "# total: a 3\n"] {
            assert!(Gaps::parse(text).is_err(), "{text:?}");
        }
    }
}
