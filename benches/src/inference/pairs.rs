//! Two sides in turn, in short samples, until the time is over.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::measure::median;

/// The shortest that one sample lasts; clock and branch predictor are noise below.
const SAMPLE: Duration = Duration::from_millis(2);

/// Pairs taken however long they last.
const PAIRS_MIN: usize = 5;

/// Pairs taken at most.
const PAIRS_MAX: usize = 20_000;

/// Runs of one sample at most.
const RUNS_MAX: u32 = 100_000;

/// A run that lasts longer than this needs no run before it to fill the caches.
const WARM: Duration = Duration::from_millis(20);

/// The longest wait for the other side's threads to sleep.
const SETTLE_LIMIT: Duration = Duration::from_millis(200);

/// What the pairs of one case say.
#[derive(Debug, Clone, Serialize)]
pub struct Pairs {
    /// Median time of one run of the native engine, in microseconds.
    pub native_us: f64,
    /// ONNX Runtime's.
    pub ort_us: f64,
    /// ONNX Runtime's median divided by ours.
    pub ratio: f64,
    /// First and third quartile of the ratios of the single pairs.
    pub ratio_quartiles: (f64, f64),
    /// Pairs of samples.
    pub pairs: usize,
    /// Runs in one sample, ours and ONNX Runtime's.
    pub runs_per_sample: (u32, u32),
}

/// Runs both sides in turn for `budget`. With `threads` above 1 each sample waits until the process is quiet:
/// a thread pool whose threads spin after their work would take the other side's cores.
pub(crate) fn alternate(
    budget: Duration,
    threads: u16,
    mut native: impl FnMut() -> Result<()>,
    mut ort: impl FnMut() -> Result<()>,
) -> Result<Pairs> {
    let quiet = threads > 1;
    let native_runs = runs_per_sample(&mut native)?;
    let ort_runs = runs_per_sample(&mut ort)?;
    let mut samples = Vec::new();
    let start = Instant::now();
    while samples.len() < PAIRS_MIN || (start.elapsed() < budget && samples.len() < PAIRS_MAX) {
        // Which side goes first changes, so that a drift of the machine's clock favours nobody.
        samples.push(if samples.len() % 2 == 0 {
            let own = sample(&mut native, native_runs, quiet)?;
            (own, sample(&mut ort, ort_runs, quiet)?)
        } else {
            let other = sample(&mut ort, ort_runs, quiet)?;
            (sample(&mut native, native_runs, quiet)?, other)
        });
    }
    Ok(summary(&samples, (native_runs, ort_runs)))
}

/// Runs that last at least [`SAMPLE`], after enough of them to have warmed up.
fn runs_per_sample(side: &mut impl FnMut() -> Result<()>) -> Result<u32> {
    let mut shortest = Duration::MAX;
    let start = Instant::now();
    for run in 0..50 {
        let began = Instant::now();
        side()?;
        shortest = shortest.min(began.elapsed());
        if run >= 2 && start.elapsed() > Duration::from_millis(50) {
            break;
        }
    }
    let runs = SAMPLE.as_nanos().div_ceil(shortest.as_nanos().max(1));
    Ok(u32::try_from(runs).unwrap_or(RUNS_MAX).clamp(1, RUNS_MAX))
}

/// Seconds of one run, over `runs` of them.
fn sample(side: &mut impl FnMut() -> Result<()>, runs: u32, quiet: bool) -> Result<f64> {
    if quiet {
        settle();
    }
    // The other side has just filled the caches: one run is not counted.
    let began = Instant::now();
    side()?;
    if runs == 1 && began.elapsed() > WARM {
        return Ok(began.elapsed().as_secs_f64());
    }
    let began = Instant::now();
    for _ in 0..runs {
        side()?;
    }
    Ok(began.elapsed().as_secs_f64() / f64::from(runs))
}

/// Sleeps until no thread of this process uses the processor.
fn settle() {
    const STEP: Duration = Duration::from_millis(1);
    let used = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let start = Instant::now();
    while start.elapsed() < SETTLE_LIMIT {
        let before = used();
        std::thread::sleep(STEP);
        // A sleeping process still wakes to look: a twentieth of the step is no thread at work.
        if used().saturating_sub(before) < STEP / 20 {
            return;
        }
    }
}

fn summary(samples: &[(f64, f64)], runs_per_sample: (u32, u32)) -> Pairs {
    let native = median(samples.iter().map(|pair| pair.0).collect());
    let ort = median(samples.iter().map(|pair| pair.1).collect());
    let mut ratios: Vec<f64> = samples.iter().map(|(own, other)| other / own).collect();
    ratios.sort_by(f64::total_cmp);
    let quarter = ratios.len() / 4;
    Pairs {
        native_us: native * 1e6,
        ort_us: ort * 1e6,
        ratio: ort / native,
        ratio_quartiles: (ratios[quarter], ratios[ratios.len() - 1 - quarter]),
        pairs: samples.len(),
        runs_per_sample,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_of_medians_and_the_quartiles_of_pairs() {
        let samples = [(1.0, 2.0), (2.0, 2.0), (1.0, 4.0), (1.0, 3.0), (1.0, 2.0), (4.0, 2.0), (1.0, 2.0), (1.0, 2.0)];
        let pairs = summary(&samples, (1, 2));
        assert_eq!((pairs.native_us, pairs.ort_us, pairs.ratio, pairs.pairs), (1e6, 2e6, 2.0, 8));
        assert_eq!(pairs.ratio_quartiles, (2.0, 2.0));
    }

    #[test]
    fn both_sides_run_and_an_error_ends_it() {
        let (mut own, mut other) = (0_u32, 0_u32);
        let count = |counter: &mut u32| {
            *counter += 1;
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        };
        let pairs = alternate(Duration::from_millis(1), 1, || count(&mut own), || count(&mut other)).expect("no error");
        assert!(own > 5 && other > 5 && pairs.pairs >= PAIRS_MIN, "{own} {other} {pairs:?}");
        assert!(alternate(Duration::from_millis(1), 2, || Ok(()), || anyhow::bail!("broken")).is_err());
    }
}
