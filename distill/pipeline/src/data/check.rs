//! Checks of data: values that are no numbers, labels out of range, classes without samples, leakage.

use std::collections::{BTreeMap, BTreeSet};

use runtime_tensor::Tensor;
use runtime_trust::Digest;
use serde::Serialize;

use super::can_be_nan;

/// Something about the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// `error` stops a run, `warning` does not.
    pub(crate) level: &'static str,
    /// What was found, where, and what was expected.
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn error(text: String) -> Self {
        Finding { level: "error", text }
    }

    pub(crate) fn warning(text: String) -> Self {
        Finding { level: "warning", text }
    }
}

/// The first value of `x` that is no finite number.
pub(crate) fn check_values(place: &str, x: &Tensor) -> Option<Finding> {
    if !can_be_nan(x.element()) {
        return None;
    }
    let at = (0..x.len()).find(|at| !x.value_f64(*at).is_some_and(f64::is_finite))?;
    let size = (x.len() / x.shape()[0].max(1)).max(1);
    let value = x.value_f64(at).unwrap_or(f64::NAN);
    Some(Finding::error(format!(
        "{place}: found {value} in sample {} (element {}), expected finite numbers",
        at / size,
        at % size
    )))
}

/// The first label that is not below `classes`.
pub(crate) fn check_labels(place: &str, labels: &[u32], classes: usize) -> Option<Finding> {
    let at = labels.iter().position(|label| *label as usize >= classes)?;
    Some(Finding::error(format!(
        "{place}: found label {} at sample {at}, expected 0 to {}",
        labels[at],
        classes.saturating_sub(1)
    )))
}

/// Classes from 0 to `classes` without a sample.
pub(super) fn empty_classes(labels: &[u32], classes: usize) -> Vec<usize> {
    let seen: BTreeSet<usize> = labels.iter().map(|label| *label as usize).collect();
    (0..classes).filter(|class| !seen.contains(class)).collect()
}

/// How many samples of `part` also stand in `other`, and one example of each side.
pub(super) fn leakage(part: &[Digest], other: &[Digest]) -> Option<(usize, usize, usize)> {
    let positions: BTreeMap<&Digest, usize> = other.iter().enumerate().map(|(at, digest)| (digest, at)).collect();
    let mut shared = part.iter().enumerate().filter_map(|(at, digest)| positions.get(digest).map(|other| (at, *other)));
    let first = shared.next()?;
    Some((1 + shared.count(), first.0, first.1))
}
