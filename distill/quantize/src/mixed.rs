//! Automatic mixed precision: the most sensitive nodes stay in float until a measure holds.

use crate::quantize::Quantized;
use crate::refine::Refined;
use crate::sensitivity::{LayerSensitivity, Ranking};
use crate::{QuantizeError, QuantizeOptions};

/// Tells which limits the bytes of a model break; none when it is good enough. An error stops the search.
pub type Measure<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Vec<String>, String>;

/// One choice of nodes that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct MixedAttempt {
    /// Labels of the ranked nodes that stay in float.
    pub left_in_float: Vec<String>,
    /// Bytes of the model.
    pub bytes: u64,
    /// Limits that it breaks.
    pub broken: Vec<String>,
}

/// What the search came to.
#[derive(Clone, Debug)]
pub struct Mixed {
    /// The model that met every limit, or the one that broke the fewest.
    pub quantized: Quantized,
    /// Options that make it again.
    pub options: QuantizeOptions,
    /// Which of [`attempts`](Self::attempts) it is.
    pub chosen: usize,
    /// Everything that was measured, in order.
    pub attempts: Vec<MixedAttempt>,
}

impl Mixed {
    /// Whether all limits hold.
    pub fn met(&self) -> bool {
        self.attempts[self.chosen].broken.is_empty()
    }
}

/// Leaves nodes of `ranking` in float until `measure` finds no broken limit; measures at most `attempts_max` models,
/// at least one.
///
/// Two orders are tried: by noise alone, and by noise for each byte that float costs, nodes without weights first;
/// the second finds what a limit of bytes forbids the first. In each order, prefixes of 1, 2, 4 nodes and so on
/// are measured, then halves of the last step. Where limits pull both ways, nodes are left out one by one unless that
/// breaks another limit. At the end nodes that turned out not to matter go back to integers.
pub fn mixed_precision(
    refined: &Refined,
    options: &QuantizeOptions,
    ranking: &Ranking,
    attempts_max: usize,
    measure: Measure<'_>,
) -> Result<Mixed, QuantizeError> {
    let mut search = Search { refined, options, measure, attempts: Vec::new(), best: None, attempts_max };
    let layers: Vec<&LayerSensitivity> = ranking.layers.iter().collect();
    if !search.holds(&[])? {
        let found = search.prefix(&layers)? || search.prefix(&by_noise_and_byte(&layers))?;
        if !found {
            search.one_by_one(&layers)?;
        }
    }
    search.put_back(&layers)?;
    let Some((chosen, quantized, options)) = search.best else {
        return Err(QuantizeError::NothingToDo { reason: "no choice of nodes was measured".to_owned() });
    };
    Ok(Mixed { quantized, options, chosen, attempts: search.attempts })
}

/// Nodes whose float form costs no bytes, then those that take away the most noise for a byte.
fn by_noise_and_byte<'a>(layers: &[&'a LayerSensitivity]) -> Vec<&'a LayerSensitivity> {
    // Noise relative to the signal, in the logarithm: what counts is the order.
    let gain = |layer: &LayerSensitivity| match layer.bytes_saved {
        0 => f64::INFINITY,
        bytes => -layer.sqnr_db - 10.0 * (bytes as f64).log10(),
    };
    let mut order = layers.to_vec();
    order.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
    order
}

struct Search<'a> {
    refined: &'a Refined,
    options: &'a QuantizeOptions,
    measure: Measure<'a>,
    attempts: Vec<MixedAttempt>,
    attempts_max: usize,
    best: Option<(usize, Quantized, QuantizeOptions)>,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.attempts.len() >= self.attempts_max.max(1)
    }

    /// Measures the model with these nodes in float; `false` also when the budget of attempts is used up.
    fn holds(&mut self, left: &[&LayerSensitivity]) -> Result<bool, QuantizeError> {
        let names: Vec<String> = left.iter().map(|layer| layer.node.clone()).collect();
        if let Some(known) = self.attempts.iter().find(|attempt| attempt.left_in_float == names) {
            return Ok(known.broken.is_empty());
        }
        if self.is_over() {
            return Ok(false);
        }
        let mut options = self.options.clone();
        options.skip.extend(names.iter().cloned());
        let quantized = match self.refined.make(&options) {
            // Nothing is left to quantize: no answer to the question.
            Err(QuantizeError::NothingToDo { .. }) => return Ok(false),
            other => other?,
        };
        let bytes = quantized.model.write();
        let broken = (self.measure)(&bytes).map_err(|reason| QuantizeError::Measure { reason })?;
        let attempt = MixedAttempt { left_in_float: names, bytes: bytes.len() as u64, broken };
        tracing::debug!(left = attempt.left_in_float.len(), bytes = attempt.bytes, broken = ?attempt.broken, "measured");
        let rank = |attempt: &MixedAttempt| (attempt.broken.len(), attempt.left_in_float.len(), attempt.bytes);
        let better = self.best.as_ref().is_none_or(|(best, ..)| rank(&attempt) < rank(&self.attempts[*best]));
        let holds = attempt.broken.is_empty();
        self.attempts.push(attempt);
        if better {
            self.best = Some((self.attempts.len() - 1, quantized, options));
        }
        Ok(holds)
    }

    /// Looks for a short prefix of `order` that holds.
    fn prefix(&mut self, order: &[&LayerSensitivity]) -> Result<bool, QuantizeError> {
        let (mut broken, mut length) = (0, 1);
        while !self.holds(&order[..length.min(order.len())])? {
            if length >= order.len() || self.is_over() {
                return Ok(false);
            }
            (broken, length) = (length, length * 2);
        }
        let mut holding = length.min(order.len());
        while holding - broken > 1 && !self.is_over() {
            let middle = broken + (holding - broken) / 2;
            if self.holds(&order[..middle])? {
                holding = middle;
            } else {
                broken = middle;
            }
        }
        Ok(true)
    }

    /// Leaves out one node after the other unless that breaks one more limit.
    fn one_by_one(&mut self, order: &[&LayerSensitivity]) -> Result<(), QuantizeError> {
        let mut left: Vec<&LayerSensitivity> = Vec::new();
        let mut broken = self.broken(&left);
        for &layer in order {
            left.push(layer);
            if self.holds(&left)? {
                return Ok(());
            }
            match (self.broken(&left), broken) {
                (Some(now), Some(before)) if now <= before => broken = Some(now),
                _ => {
                    left.pop();
                }
            }
        }
        Ok(())
    }

    /// Limits broken by an attempt that was measured.
    fn broken(&self, left: &[&LayerSensitivity]) -> Option<usize> {
        let same = |attempt: &&MixedAttempt| attempt.left_in_float.iter().eq(left.iter().map(|layer| &layer.node));
        self.attempts.iter().find(same).map(|attempt| attempt.broken.len())
    }

    /// Tries to give each node that stayed in float back to integers, the least sensitive first.
    fn put_back(&mut self, layers: &[&LayerSensitivity]) -> Result<(), QuantizeError> {
        let Some((best, ..)) = &self.best else { return Ok(()) };
        let found = &self.attempts[*best];
        if !found.broken.is_empty() {
            return Ok(());
        }
        let mut left: Vec<&LayerSensitivity> =
            layers.iter().copied().filter(|layer| found.left_in_float.contains(&layer.node)).collect();
        for position in (0..left.len()).rev() {
            let mut fewer = left.clone();
            fewer.remove(position);
            if !fewer.is_empty() && self.holds(&fewer)? {
                left = fewer;
            }
        }
        Ok(())
    }
}
