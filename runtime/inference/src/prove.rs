//! Step 9 of the order on the device: load, golden set, memory, latency (DESIGN 7 and 9).
//!
//! What is proven here was verified before; nothing here decides about trust. A proof holds for this device and
//! this build only.

use std::time::{Duration, Instant};

use runtime_engine::{Engine, EngineError, LoadOptions, NumericsClass, Session, catch_panic};
use runtime_tensor::{Difference, compare};

use crate::latency::Latencies;
use crate::loading::load;
use crate::{Engines, ModelFiles, ServedModel};

/// Runs of one round that are made even when the time for the round is over.
const RUNS_MIN: usize = 5;

/// How a model is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProveOptions {
    /// Threads that one run may use; 0 means 1.
    pub threads: usize,
    /// Rounds of measurement; a candidate is too slow only when it is too slow in every one.
    pub rounds: usize,
    /// Runs of candidate and active model, taken in turns, in one round.
    pub runs_per_round: usize,
    /// A candidate may take this share of the active model's p95, in percent ..
    pub slower_percent_max: u64,
    /// .. or this much more, in microseconds, whichever is more.
    pub slower_us_max: u64,
    /// The longest that the proof on one engine may take.
    pub time_max: Duration,
}

impl Default for ProveOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            rounds: 3,
            runs_per_round: 40,
            slower_percent_max: 125,
            slower_us_max: 1_000,
            time_max: Duration::from_secs(60),
        }
    }
}

/// What was measured on the engine that did best.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The engine that did best.
    pub engine: String,
    /// Every engine that passed, the best first: the chain of [`ServedModel`].
    pub engines: Vec<String>,
    /// Median time of a run, in microseconds.
    pub p50_us: u64,
    /// 95th percentile of the time of a run, in microseconds.
    pub p95_us: u64,
    /// Bytes that the session holds.
    pub memory_bytes: u64,
    /// Golden cases that were answered right.
    pub golden_cases: u64,
    /// Instruction set of the session.
    pub isa: String,
    /// Whether answers are the same bytes on every machine.
    pub numerics: NumericsClass,
}

/// Why a model may not become active on this device. Reads after "failed to".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFailure {
    /// None of the engines asked for is in this build.
    #[error("find an engine: this build has {found}, the artifact or the configuration allows {expected}")]
    NoEngine {
        /// Engines of this build.
        found: String,
        /// Engines asked for.
        expected: String,
    },
    /// The model did not load.
    #[error("load on engine {engine}: failed to {source}")]
    Load {
        /// The engine.
        engine: String,
        /// Why.
        source: EngineError,
    },
    /// The variant promises exact answers and this engine cannot.
    #[error("promise exact answers on engine {engine}: {reason}")]
    NotExact {
        /// The engine.
        engine: String,
        /// Which nodes it leaves to float arithmetic.
        reason: String,
    },
    /// There is nothing to compare answers with.
    #[error("prove the model: its golden set is empty")]
    GoldenMissing,
    /// A golden case was not answered.
    #[error("answer golden case {case} on engine {engine}: failed to {source}")]
    GoldenRun {
        /// The engine.
        engine: String,
        /// Position of the case.
        case: usize,
        /// Why.
        source: EngineError,
    },
    /// A golden case was answered wrongly.
    #[error("answer golden case {case} on engine {engine} as expected: output {output:?}: {difference}")]
    Golden {
        /// The engine.
        engine: String,
        /// Position of the case.
        case: usize,
        /// The output that differs.
        output: String,
        /// Where and how.
        difference: Difference,
    },
    /// The session holds more memory than the manifest allows.
    #[error("stay under the memory limit on engine {engine}: found {found} bytes, at most {max} are allowed")]
    Memory {
        /// The engine.
        engine: String,
        /// Bytes held.
        found: u64,
        /// The manifest's limit.
        max: u64,
    },
    /// Runs take longer than the manifest allows.
    #[error(
        "stay under the latency limit on engine {engine}: found p95 {found_us} us, at most {max_us} us are allowed"
    )]
    Latency {
        /// The engine.
        engine: String,
        /// The best round's p95.
        found_us: u64,
        /// The manifest's limit.
        max_us: u64,
    },
    /// Runs take much longer than those of the active model.
    #[error(
        "keep up with the active model on engine {engine}: found p95 {found_us} us, the active one has {active_us} us"
    )]
    Slower {
        /// The engine.
        engine: String,
        /// p95 of the round in which the candidate did best.
        found_us: u64,
        /// p95 of the active model in that round.
        active_us: u64,
    },
    /// The proof took too long.
    #[error("finish the proof on engine {engine} within {max_ms} ms")]
    Time {
        /// The engine.
        engine: String,
        /// The limit.
        max_ms: u64,
    },
}

impl ProofFailure {
    /// A short code for reports.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoEngine { .. } => "no-engine",
            Self::Load { .. } => "load-failed",
            Self::NotExact { .. } => "not-exact",
            Self::GoldenMissing => "golden-missing",
            Self::GoldenRun { .. } => "golden-run",
            Self::Golden { .. } => "golden-mismatch",
            Self::Memory { .. } => "memory-limit",
            Self::Latency { .. } => "latency-limit",
            Self::Slower { .. } => "slower-than-active",
            Self::Time { .. } => "proof-time",
        }
    }

    /// How far the proof got; of several engines the one that got furthest explains the failure.
    fn progress(&self) -> u8 {
        match self {
            Self::NoEngine { .. } | Self::GoldenMissing => 0,
            Self::Load { .. } => 1,
            Self::NotExact { .. } => 2,
            Self::GoldenRun { .. } => 3,
            Self::Golden { .. } => 4,
            Self::Memory { .. } => 5,
            Self::Latency { .. } | Self::Slower { .. } | Self::Time { .. } => 6,
        }
    }
}

/// Proves `candidate` on each engine of `order` (empty: all of `engines`), and picks the fastest that passed.
///
/// With an `active` model the two run in turns, so that whatever else the device does falls on both. An active
/// model that does not load any more is no measure, and no obstacle.
pub fn prove(
    candidate: &ModelFiles,
    engines: &Engines,
    order: &[String],
    active: Option<&ServedModel>,
    options: &ProveOptions,
) -> Result<Proof, ProofFailure> {
    if candidate.golden.cases.is_empty() {
        return Err(ProofFailure::GoldenMissing);
    }
    let names: Vec<&str> = if order.is_empty() { engines.names() } else { order.iter().map(String::as_str).collect() };
    let mut proofs = Vec::new();
    let mut failure: Option<ProofFailure> = None;
    for engine in names.iter().filter_map(|name| engines.get(name)) {
        let deadline = Instant::now() + options.time_max;
        let trial = Trial { candidate, engine: engine.as_ref(), options, deadline };
        match trial.run(|| active.and_then(|active| load_active(active, engines, options))) {
            Ok(proof) => proofs.push(proof),
            Err(found) => {
                if matches!(found, ProofFailure::NotExact { .. }) {
                    // Not a fault: an engine of floats beside one that keeps the promise.
                    tracing::info!(engine = engine.name(), failure = %found, "a model was not proven");
                } else {
                    tracing::warn!(engine = engine.name(), failure = %found, "a model was not proven");
                }
                if failure.as_ref().is_none_or(|kept| found.progress() > kept.progress()) {
                    failure = Some(found);
                }
            }
        }
    }
    // Stable, so that the preferred engine wins a tie.
    proofs.sort_by_key(|proof| proof.p95_us);
    let passed: Vec<String> = proofs.iter().map(|proof| proof.engine.clone()).collect();
    match (proofs.into_iter().next(), failure) {
        (Some(best), _) => Ok(Proof { engines: passed, ..best }),
        (None, Some(failure)) => Err(failure),
        (None, None) => Err(ProofFailure::NoEngine { found: engines.names().join(", "), expected: names.join(", ") }),
    }
}

/// The active model on the first engine that loads it.
fn load_active<'a>(
    active: &'a ServedModel,
    engines: &Engines,
    options: &ProveOptions,
) -> Option<(&'a ModelFiles, Box<dyn Session>)> {
    let load_options = LoadOptions { threads: options.threads, ..LoadOptions::default() };
    let known = active.engines.iter().filter_map(|name| engines.get(name));
    let mut loaded = known.filter_map(|engine| load(engine.as_ref(), &active.files, &load_options).ok());
    loaded.next().map(|session| (active.files.as_ref(), session))
}

/// The proof of one model on one engine.
struct Trial<'a> {
    candidate: &'a ModelFiles,
    engine: &'a dyn Engine,
    options: &'a ProveOptions,
    deadline: Instant,
}

impl Trial<'_> {
    fn run<'b>(
        &self,
        active: impl FnOnce() -> Option<(&'b ModelFiles, Box<dyn Session>)>,
    ) -> Result<Proof, ProofFailure> {
        let load_options = LoadOptions { threads: self.options.threads, ..LoadOptions::default() };
        let mut session = load(self.engine, self.candidate, &load_options)
            .map_err(|source| ProofFailure::Load { engine: self.name(), source })?;
        self.check_promise(session.as_ref())?;
        for case in 0..self.candidate.golden.cases.len() {
            self.check_golden(session.as_mut(), case)?;
        }
        let memory_bytes = session.resident_bytes();
        let max = self.candidate.limits.memory_bytes;
        if max > 0 && memory_bytes > max {
            return Err(ProofFailure::Memory { engine: self.name(), found: memory_bytes, max });
        }
        let all = self.measure(session.as_mut(), active())?;
        Ok(Proof {
            engine: self.name(),
            engines: Vec::new(),
            p50_us: all.p50_us(),
            p95_us: all.p95_us(),
            memory_bytes,
            golden_cases: self.candidate.golden.cases.len() as u64,
            isa: session.isa().to_owned(),
            numerics: session.numerics(),
        })
    }

    fn name(&self) -> String {
        self.engine.name().to_owned()
    }

    /// An exact variant is a promise about every input; the golden set alone cannot show it for a float session.
    fn check_promise(&self, session: &dyn Session) -> Result<(), ProofFailure> {
        if !self.candidate.tolerance().is_exact() || session.numerics() == NumericsClass::Exact {
            return Ok(());
        }
        let left_out = session.coverage().left_out.first();
        let reason = left_out.map_or_else(
            || "it runs this model in float arithmetic".to_owned(),
            |node| format!("{} ({}) runs in float arithmetic: {}", node.node, node.operator, node.reason),
        );
        Err(ProofFailure::NotExact { engine: self.name(), reason })
    }

    fn check_golden(&self, session: &mut dyn Session, case: usize) -> Result<(), ProofFailure> {
        let golden = &self.candidate.golden.cases[case];
        let wanted: Vec<String> = golden.outputs.iter().map(|(name, _)| name.clone()).collect();
        let answer = self.checked_run(|deadline| {
            session.reset()?;
            session.run(&golden.inputs, &wanted, Some(deadline))
        });
        let outputs = answer.map_err(|source| match source {
            EngineError::Deadline => self.time(),
            source => ProofFailure::GoldenRun { engine: self.name(), case, source },
        })?;
        for ((output, expected), (_, found)) in golden.outputs.iter().zip(&outputs) {
            compare(expected, found, self.candidate.tolerance()).map_err(|difference| ProofFailure::Golden {
                engine: self.name(),
                case,
                output: output.clone(),
                difference,
            })?;
        }
        Ok(())
    }

    fn checked_run<T>(&self, run: impl FnOnce(Instant) -> Result<T, EngineError>) -> Result<T, EngineError> {
        catch_panic(self.engine.name(), || run(self.deadline))
    }

    fn time(&self) -> ProofFailure {
        let max_ms = u64::try_from(self.options.time_max.as_millis()).unwrap_or(u64::MAX);
        ProofFailure::Time { engine: self.name(), max_ms }
    }

    /// Measures in rounds; fails when every round is over a limit. Gives the candidate's times of all rounds.
    fn measure(
        &self,
        session: &mut dyn Session,
        mut active: Option<(&ModelFiles, Box<dyn Session>)>,
    ) -> Result<Latencies, ProofFailure> {
        let mut all = Latencies::default();
        let mut rounds = Vec::new();
        for _ in 0..self.options.rounds.max(1) {
            let (own, other) = self.round(session, &mut active)?;
            all.extend(&own);
            rounds.push((own.p95_us(), other.map(|other| other.p95_us())));
        }
        let max_us = self.candidate.limits.p95_us;
        let found_us = rounds.iter().map(|(own, _)| *own).min().unwrap_or(0);
        if max_us > 0 && found_us > max_us {
            return Err(ProofFailure::Latency { engine: self.name(), found_us, max_us });
        }
        let slower = |own: u64, other: u64| {
            let by_share = u128::from(own) * 100 > u128::from(other) * u128::from(self.options.slower_percent_max);
            by_share && own > other.saturating_add(self.options.slower_us_max)
        };
        let paired: Vec<(u64, u64)> = rounds.iter().filter_map(|(own, other)| Some((*own, (*other)?))).collect();
        if let Some((found_us, active_us)) = paired.iter().min().copied()
            && paired.iter().all(|(own, other)| slower(*own, *other))
        {
            return Err(ProofFailure::Slower { engine: self.name(), found_us, active_us });
        }
        Ok(all)
    }

    /// One round: candidate and active model in turns, over their golden inputs.
    fn round(
        &self,
        session: &mut dyn Session,
        active: &mut Option<(&ModelFiles, Box<dyn Session>)>,
    ) -> Result<(Latencies, Option<Latencies>), ProofFailure> {
        let started = Instant::now();
        // Loading and golden set take their share of the time, too.
        let round_max = self.options.time_max / u32::try_from(2 * self.options.rounds.max(1)).unwrap_or(u32::MAX);
        let (mut own, mut other) = (Latencies::default(), Latencies::default());
        for run in 0..self.options.runs_per_round.max(RUNS_MIN) {
            if run >= RUNS_MIN && started.elapsed() > round_max {
                break;
            }
            let time = self.timed(self.candidate, session, run).map_err(|source| match source {
                EngineError::Deadline => self.time(),
                source => ProofFailure::GoldenRun { engine: self.name(), case: 0, source },
            })?;
            own.add(time);
            if let Some((files, active_session)) = active {
                match self.timed(files, active_session.as_mut(), run) {
                    Ok(time) => other.add(time),
                    Err(error) => {
                        tracing::warn!(%error, "the active model failed while it was measured; it is no measure");
                        *active = None;
                    }
                }
            }
        }
        Ok((own, active.is_some().then_some(other)))
    }

    fn timed(&self, files: &ModelFiles, session: &mut dyn Session, run: usize) -> Result<Duration, EngineError> {
        let cases = &files.golden.cases;
        let Some(case) = cases.get(run % cases.len().max(1)) else {
            return Err(EngineError::Internal { engine: self.name(), reason: "no golden case to measure with".into() });
        };
        self.checked_run(|deadline| {
            session.reset()?;
            let started = Instant::now();
            session.run(&case.inputs, &[], Some(deadline))?;
            Ok(started.elapsed())
        })
    }
}
