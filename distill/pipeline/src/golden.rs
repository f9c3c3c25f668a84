//! Golden cases: validation samples with the answers that every device must repeat.

use std::collections::BTreeMap;

use runtime_artifact::{GoldenCase, GoldenSet};

use crate::data::Part;
use crate::error::Result;
use crate::runner::Runner;

/// Chooses up to `cases` samples, class after class so that each is there, and answers them with `runner`.
pub(crate) fn make(part: &Part, runner: &mut Runner, cases: usize) -> Result<GoldenSet> {
    let mut set = GoldenSet::default();
    let input = runner.input().name.clone();
    let output = runner.output().to_owned();
    for at in choose(part, cases) {
        let x = part.rows(&[at])?;
        let answer = runner.run(&x)?;
        set.cases.push(GoldenCase { inputs: vec![(input.clone(), x)], outputs: vec![(output.clone(), answer)] });
    }
    Ok(set)
}

/// Positions of the chosen samples: the first of each class, then the second of each, and so on.
fn choose(part: &Part, cases: usize) -> Vec<usize> {
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for at in 0..part.len() {
        classes.entry(part.y.as_ref().map_or(0, |labels| labels[at])).or_default().push(at);
    }
    let rounds = classes.values().map(Vec::len).max().unwrap_or(0);
    let order = (0..rounds).flat_map(|round| classes.values().filter_map(move |members| members.get(round)));
    order.take(cases).copied().collect()
}
