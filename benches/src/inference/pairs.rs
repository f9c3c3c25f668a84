//! Two sides in turn, in short samples, until the time is over.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::clock::{Clock, waited};
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

/// The share of a sample that its threads may have waited for a core before it counts as disturbed.
const DISTURBED: f64 = 0.05;

/// The longest wait for the other side's threads to sleep.
const SETTLE_LIMIT: Duration = Duration::from_millis(200);

/// What the pairs of one case say.
#[derive(Debug, Clone, Serialize)]
pub struct Pairs {
    /// Median time of one run of the native engine, in microseconds: processor time of the process where a run has
    /// one thread, wall time where it has more.
    pub native_us: f64,
    /// ONNX Runtime's.
    pub ort_us: f64,
    /// The same medians by the wall clock, which also counts what other programs took from this one.
    pub native_wall_us: f64,
    /// ONNX Runtime's.
    pub ort_wall_us: f64,
    /// ONNX Runtime's median divided by ours.
    pub ratio: f64,
    /// First and third quartile of the ratios of the single pairs.
    pub ratio_quartiles: (f64, f64),
    /// Pairs of samples that count.
    pub pairs: usize,
    /// Pairs left out, as other programs held the cores meanwhile (rows of more than one thread).
    pub pairs_left_out: usize,
    /// Whether other programs disturbed nearly every pair, so that those count which they did.
    pub disturbed: bool,
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
    let native_runs = runs_per_sample(&mut native)?;
    let ort_runs = runs_per_sample(&mut ort)?;
    let mut samples = Vec::new();
    let start = Instant::now();
    while samples.len() < PAIRS_MIN || (start.elapsed() < budget && samples.len() < PAIRS_MAX) {
        // Which side goes first changes, so that a drift of the machine's clock favours nobody.
        samples.push(if samples.len() % 2 == 0 {
            let own = sample(&mut native, native_runs, threads)?;
            (own, sample(&mut ort, ort_runs, threads)?)
        } else {
            let other = sample(&mut ort, ort_runs, threads)?;
            (sample(&mut native, native_runs, threads)?, other)
        });
    }
    // Only where enough is left: an engine that starts more threads than there are cores disturbs itself.
    let calm: Vec<_> = samples.iter().filter(|(own, other)| !own.disturbed && !other.disturbed).copied().collect();
    let disturbed = calm.len() < PAIRS_MIN;
    let counted = if disturbed { &samples } else { &calm };
    let pairs_left_out = samples.len() - counted.len();
    Ok(Pairs { pairs_left_out, disturbed, ..summary(counted, (native_runs, ort_runs)) })
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

/// Seconds of one run, by the chosen clock and by the wall clock.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    wall: f64,
    disturbed: bool,
}

/// Measures one run, over `runs` of them.
fn sample(side: &mut impl FnMut() -> Result<()>, runs: u32, threads: u16) -> Result<Sample> {
    let clock = Clock::of(threads);
    if threads > 1 {
        settle();
    }
    let timed = |side: &mut dyn FnMut() -> Result<()>, runs: u32| -> Result<Sample> {
        let waiting = if threads > 1 { waited() } else { Duration::ZERO };
        let (wall, start) = (Clock::Wall.now(), clock.now());
        for _ in 0..runs {
            side()?;
        }
        let (seconds, wall) = (clock.since(start).as_secs_f64(), Clock::Wall.since(wall).as_secs_f64());
        let waiting = if threads > 1 { waited().saturating_sub(waiting) } else { Duration::ZERO };
        Ok(Sample {
            seconds: seconds / f64::from(runs),
            wall: wall / f64::from(runs),
            disturbed: waiting.as_secs_f64() > DISTURBED * wall,
        })
    };
    // The other side has just filled the caches: one run is not counted.
    let first = timed(side, 1)?;
    if first.seconds > WARM.as_secs_f64() { Ok(first) } else { timed(side, runs) }
}

/// Sleeps until no thread of this process uses the processor.
fn settle() {
    /// Longer than a tick of any kernel (10 ms): what another core's thread has used is known from tick to tick only,
    /// and a thread that spins looks asleep for a shorter time.
    const STEP: Duration = Duration::from_millis(12);
    let start = Instant::now();
    while start.elapsed() < SETTLE_LIMIT {
        let before = Clock::Processor.now();
        std::thread::sleep(STEP);
        // A sleeping process still wakes to look: a twentieth of the step is no thread at work.
        if Clock::Processor.since(before) < STEP / 20 {
            return;
        }
    }
}

fn summary(samples: &[(Sample, Sample)], runs_per_sample: (u32, u32)) -> Pairs {
    let middle = |figure: fn(&(Sample, Sample)) -> f64| median(samples.iter().map(figure).collect());
    let (native, ort) = (middle(|pair| pair.0.seconds), middle(|pair| pair.1.seconds));
    let mut ratios: Vec<f64> = samples.iter().map(|(own, other)| other.seconds / own.seconds).collect();
    ratios.sort_by(f64::total_cmp);
    let quarter = ratios.len() / 4;
    Pairs {
        native_us: native * 1e6,
        ort_us: ort * 1e6,
        native_wall_us: middle(|pair| pair.0.wall) * 1e6,
        ort_wall_us: middle(|pair| pair.1.wall) * 1e6,
        ratio: ort / native,
        ratio_quartiles: (ratios[quarter], ratios[ratios.len() - 1 - quarter]),
        pairs: samples.len(),
        pairs_left_out: 0,
        disturbed: false,
        runs_per_sample,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm(seconds: f64) -> Sample {
        Sample { seconds, wall: seconds, disturbed: false }
    }

    #[test]
    fn the_ratio_is_of_medians_and_the_quartiles_of_pairs() {
        let samples = [(1.0, 2.0), (2.0, 2.0), (1.0, 4.0), (1.0, 3.0), (1.0, 2.0), (4.0, 2.0), (1.0, 2.0), (1.0, 2.0)]
            .map(|(own, other)| (calm(own), calm(other)));
        let pairs = summary(&samples, (1, 2));
        assert_eq!((pairs.native_us, pairs.ort_us, pairs.ratio, pairs.pairs), (1e6, 2e6, 2.0, 8));
        assert_eq!(pairs.ratio_quartiles, (2.0, 2.0));
    }

    #[test]
    fn both_sides_run_and_an_error_ends_it() {
        let (mut own, mut other) = (0_u32, 0_u32);
        let count = |counter: &mut u32| {
            *counter += 1;
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(500) {}
            Ok(())
        };
        let pairs = alternate(Duration::from_millis(1), 1, || count(&mut own), || count(&mut other)).expect("no error");
        assert!(own > 5 && other > 5 && pairs.pairs >= PAIRS_MIN, "{own} {other} {pairs:?}");
        assert!(alternate(Duration::from_millis(1), 2, || Ok(()), || anyhow::bail!("broken")).is_err());
    }
}
