//! Interleaved rounds of two sides, and what they say.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

/// One comparison: ours against a peer, round by round.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// What was compared.
    pub name: String,
    /// Our throughput at the median, in MB/s (10^6 bytes).
    pub ours_mb_s: f64,
    /// The peer's.
    pub peer_mb_s: f64,
    /// Median over the rounds of peer's time divided by ours: above 1 we are faster.
    pub ratio: f64,
    /// The smallest and the largest ratio of a round.
    pub ratio_range: (f64, f64),
    /// Rounds.
    pub rounds: usize,
    /// What the peer is.
    pub peer: String,
}

/// Runs both sides `rounds` times in turn over the same `bytes`.
pub fn compare(
    name: &str,
    peer: &str,
    bytes: u64,
    rounds: usize,
    mut ours: impl FnMut() -> Result<()>,
    mut theirs: impl FnMut() -> Result<()>,
) -> Result<Comparison> {
    // The first round warms caches and is not counted.
    ours()?;
    theirs()?;
    let mut pairs = Vec::with_capacity(rounds);
    for round in 0..rounds {
        // Which side goes first changes, so that a drift of the machine's clock favours nobody.
        let pair = if round % 2 == 0 {
            let own = timed(&mut ours)?;
            (own, timed(&mut theirs)?)
        } else {
            let other = timed(&mut theirs)?;
            (timed(&mut ours)?, other)
        };
        pairs.push((pair.0.as_secs_f64(), pair.1.as_secs_f64()));
    }
    let megabytes = bytes as f64 / 1e6;
    let mut ratios: Vec<f64> = pairs.iter().map(|(own, other)| other / own).collect();
    ratios.sort_by(f64::total_cmp);
    Ok(Comparison {
        name: name.to_owned(),
        ours_mb_s: megabytes / median(pairs.iter().map(|pair| pair.0).collect()),
        peer_mb_s: megabytes / median(pairs.iter().map(|pair| pair.1).collect()),
        ratio: median(ratios.clone()),
        ratio_range: (ratios[0], ratios[ratios.len() - 1]),
        rounds,
        peer: peer.to_owned(),
    })
}

fn timed(side: &mut impl FnMut() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    side()?;
    Ok(start.elapsed())
}

/// The middle value; the lower of the two middle ones where there is no middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

impl Comparison {
    /// The row of the table.
    pub fn row(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            format!("{:.0}", self.ours_mb_s),
            format!("{:.0}", self.peer_mb_s),
            format!("{:.2}", self.ratio),
            format!("{:.2} to {:.2}", self.ratio_range.0, self.ratio_range.1),
            self.peer.clone(),
        ]
    }

    /// The head of the table.
    pub const HEADER: [&'static str; 6] = ["what", "ours MB/s", "peer MB/s", "ratio", "range", "peer"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_middle_value() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn both_sides_run_equally_often() {
        let (mut own, mut other) = (0, 0);
        let count = |counter: &mut i32| {
            *counter += 1;
            Ok(())
        };
        let comparison = compare("x", "y", 10, 5, || count(&mut own), || count(&mut other)).expect("no side fails");
        assert_eq!((own, other, comparison.rounds), (6, 6, 5));
    }
}
