//! One install job: a source, a desk, and the order of checks, on a thread that may block.

use std::sync::Arc;

use runtime_inference::Proof;
use runtime_trust::{Digest, TrustState};

use crate::device::{Device, memory};
use crate::executor::Shared;
use crate::machine::{End, Event, Installed, JobId, Memory, Proven, Verdict};
use crate::order::{self, Desk, Source};

/// How a job talks to the state machine, wherever that runs.
pub(crate) trait Line {
    /// Tells something.
    fn tell(&mut self, event: Event);
    /// Tells something and waits for the machine's word.
    fn ask(&mut self, event: Event) -> Verdict;
    /// Whether the job was told to stop.
    fn is_aborted(&self) -> bool;
}

/// Runs a job to its end. A panic in it is an interruption of the job, not the end of the agent.
pub(crate) fn run(
    device: &Device,
    start: (TrustState, Memory),
    source: &mut dyn Source,
    desk: &mut JobDesk<'_>,
) -> End {
    let (trust, memory) = start;
    let site = device.site(trust, memory);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| order::install(&site, source, desk)));
    caught.unwrap_or_else(|_| End::Interrupted {
        why: "a bug in the agent ended the install: please report it with the lines above it in the log".to_owned(),
    })
}

/// A job's desk over a line.
pub(crate) struct JobDesk<'a> {
    pub(crate) job: JobId,
    pub(crate) line: &'a mut dyn Line,
    pub(crate) shared: Arc<Shared>,
}

impl Desk for JobDesk<'_> {
    fn trust_refreshed(&mut self, trust: &TrustState) {
        self.line.tell(Event::TrustRefreshed {
            job: self.job,
            trust: trust.to_bytes().into(),
            denied: memory::denied(trust),
            floors: memory::floors(trust),
        });
    }

    fn deployment_checked(&mut self, sequence: u64, models: Vec<(String, Digest)>) -> Verdict {
        self.line.ask(Event::DeploymentChecked { job: self.job, sequence, models })
    }

    fn entered(&mut self, step: u8, model: Option<&str>) {
        tracing::debug!(job = self.job, step, model);
        self.line.tell(Event::Entered { job: self.job, step, model: model.map(str::to_owned) });
    }

    fn reserved(&mut self, model: &str, candidate: Installed) {
        self.line.tell(Event::Reserved { job: self.job, model: model.to_owned(), candidate });
    }

    fn proof(&mut self, model: &str, digest: &Digest, proof: &Proof) {
        tracing::info!(
            model,
            engine = proof.engine,
            p50_us = proof.p50_us,
            p95_us = proof.p95_us,
            memory_bytes = proof.memory_bytes,
            golden_cases = proof.golden_cases,
            "proven on this device"
        );
        self.shared.proved(*digest, proof.clone());
    }

    fn proven(&mut self, proven: Proven) -> Verdict {
        self.line.ask(Event::Proven { job: self.job, proven })
    }

    fn is_aborted(&self) -> bool {
        self.line.is_aborted()
    }
}
