//! How much of each model an engine's own kernels take: a text file, so that regions cannot quietly cover nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::{Answered, REWRITE_ENV};

const HEAD: &str = "\
# Nodes that the engine's own kernels take, one case a line: name, tab, covered, tab, all.
# Every real network stands here, and each quantized operator that is not covered wholly.
# A number that fell or rose fails the test; CASK_CONFORMANCE_REWRITE=shrink writes what rose, =all writes it anew.
";

/// Covered nodes and all nodes.
type Nodes = (u64, u64);

/// The coverage of cases by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedCoverage(BTreeMap<String, Nodes>);

fn group(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

impl ExpectedCoverage {
    /// Reads the file; the error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty()) {
            let wrong = || format!("line {}: expected a name and two numbers with tabs between: {line:?}", index + 1);
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, covered, total] = fields[..] else { return Err(wrong()) };
            let nodes = (covered.parse().map_err(|_| wrong())?, total.parse().map_err(|_| wrong())?);
            if all.insert(name.to_owned(), nodes).is_some() {
                return Err(wrong());
            }
        }
        Ok(Self(all))
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (name, (covered, total)) in &self.0 {
            let _ = writeln!(text, "{name}\t{covered}\t{total}");
        }
        text
    }

    /// What a run found: all cases of `whole_groups`, and of `part_groups` those that are not covered wholly.
    pub fn found(answered: &BTreeMap<String, Answered>, whole_groups: &[&str], part_groups: &[&str]) -> Self {
        let nodes = |(name, one): (&String, &Answered)| {
            let coverage = one.coverage.as_ref()?;
            let listed =
                whole_groups.contains(&group(name)) || (part_groups.contains(&group(name)) && !coverage.is_whole());
            listed.then(|| (name.clone(), (coverage.nodes_covered, coverage.nodes_total)))
        };
        Self(answered.iter().filter_map(nodes).collect())
    }

    /// Lines for people about where `found` is not this, for the groups that `ran`.
    fn differences(&self, found: &Self, ran: &BTreeSet<&str>) -> Vec<String> {
        let names: BTreeSet<&String> =
            self.0.keys().chain(found.0.keys()).filter(|name| ran.contains(group(name))).collect();
        let text =
            |nodes: Option<&Nodes>| nodes.map_or("not listed".into(), |(covered, all)| format!("{covered} of {all}"));
        let differs = names.into_iter().filter(|name| self.0.get(*name) != found.0.get(*name));
        differs
            .map(|name| format!("{name}: found {}, expected {}", text(found.0.get(name)), text(self.0.get(name))))
            .collect()
    }

    /// `found` where a share rose or a case is whole or new, the old number where it fell, groups that did not run as
    /// they were.
    fn risen(&self, found: &Self, ran: &BTreeSet<&str>) -> Self {
        let fell = |name: &str, new: &Nodes| self.0.get(name).is_some_and(|old| new.0 * old.1 < old.0 * new.1);
        let mut all = found.0.clone();
        for (name, old) in &self.0 {
            if !ran.contains(group(name)) || found.0.get(name).is_some_and(|new| fell(name, new)) {
                all.insert(name.clone(), *old);
            }
        }
        Self(all)
    }
}

/// Compares with the file, or rewrites it where [`REWRITE_ENV`] says so. Panics with every difference.
pub fn hold_to_coverage(file: &Path, answered: &BTreeMap<String, Answered>, found: &ExpectedCoverage) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let expected = ExpectedCoverage::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    let ran: BTreeSet<&str> = answered.keys().map(|name| group(name)).collect();
    let rewritten = match std::env::var(REWRITE_ENV).ok().as_deref() {
        None | Some("") => {
            let differences = expected.differences(found, &ran);
            assert!(differences.is_empty(), "{}:\n  {}", file.display(), differences.join("\n  "));
            return;
        }
        Some("shrink") => expected.risen(found, &ran),
        Some("all") => {
            let idle = expected.0.iter().filter(|(name, _)| !ran.contains(group(name)));
            ExpectedCoverage(idle.map(|(name, nodes)| (name.clone(), *nodes)).chain(found.0.clone()).collect())
        }
        Some(other) => panic!("{REWRITE_ENV} is {other:?}; expected shrink or all"),
    };
    std::fs::write(file, rewritten.text()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

#[cfg(test)]
mod tests {
    use runtime_engine::Coverage;

    use super::*;

    fn coverage(text: &str) -> ExpectedCoverage {
        ExpectedCoverage::parse(text).unwrap()
    }

    #[test]
    fn what_fell_and_what_rose_differ() {
        let expected = coverage("a/same\t3\t4\na/fell\t3\t4\na/rose\t3\t4\na/gone\t3\t4\nb/idle\t1\t1\n");
        let found = coverage("a/same\t3\t4\na/fell\t0\t4\na/rose\t4\t4\n");
        let ran = BTreeSet::from(["a"]);
        let differences = expected.differences(&found, &ran);
        assert_eq!(differences.len(), 3, "{differences:?}");
        assert!(differences.contains(&"a/fell: found 0 of 4, expected 3 of 4".to_owned()), "{differences:?}");
        assert_eq!(expected.differences(&expected, &ran), [] as [&str; 0]);
        let risen = coverage("a/same\t3\t4\na/fell\t3\t4\na/rose\t4\t4\nb/idle\t1\t1\n");
        assert_eq!(expected.risen(&found, &ran), risen);
        assert_eq!(coverage(&risen.text()), risen);
    }

    #[test]
    fn whole_operators_are_not_listed_and_whole_networks_are() {
        let one = |covered| {
            let coverage = Coverage { nodes_total: 2, nodes_covered: covered, ..Coverage::default() };
            Answered { verdict: Ok(()), coverage: Some(coverage) }
        };
        let names = [("net/a", 2), ("op/whole", 2), ("op/part", 1), ("other/x", 0)];
        let answered = names.map(|(name, covered)| (name.to_owned(), one(covered))).into();
        let found = ExpectedCoverage::found(&answered, &["net"], &["op"]);
        assert_eq!(found, coverage("net/a\t2\t2\nop/part\t1\t2\n"));
    }

    #[test]
    fn a_line_that_is_no_coverage_is_refused() {
        for text in ["a/x\t1\n", "a/x\tone\t2\n", "a/x\t1\t2\na/x\t1\t2\n"] {
            assert!(ExpectedCoverage::parse(text).is_err(), "{text:?}");
        }
    }
}
