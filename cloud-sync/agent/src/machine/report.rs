//! What the machine tells the fleet and the person.

use super::stage::Stage;
use super::state::State;
use super::{Effect, Installed, LinkState, Refusal};

/// A snapshot of the state for people and the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The connection.
    pub link: LinkState,
    /// The highest sequence that passed step 4.
    pub sequence_seen: Option<u64>,
    /// Whether an install job runs.
    pub busy: bool,
    /// The latest refusal, of whatever.
    pub refusal: Option<Refusal>,
    /// Per model name, in order.
    pub models: Vec<ModelReport>,
}

/// One model's part of a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelReport {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub stage: Stage,
    /// The version that answers.
    pub active: Option<Installed>,
    /// The version behind it.
    pub last_good: Option<Installed>,
    /// The version on its way.
    pub candidate: Option<Installed>,
    /// The latest refusal, until a later version becomes active.
    pub refusal: Option<Refusal>,
    /// Deployments up to this sequence are not followed.
    pub held_above: Option<u64>,
}

impl State {
    /// A snapshot for people and the fleet.
    pub fn report(&self) -> Report {
        let mut names: Vec<&String> =
            self.memory.models.keys().chain(self.stages.keys()).chain(self.refusals.keys()).collect();
        names.sort();
        names.dedup();
        let model = |name: &&String| {
            let memory = self.memory.models.get(*name).cloned().unwrap_or_default();
            ModelReport {
                name: (*name).clone(),
                stage: self.stage(name),
                active: memory.active,
                last_good: memory.last_good,
                candidate: memory.candidate,
                refusal: self.refusals.get(*name).cloned(),
                held_above: memory.held_above,
            }
        };
        Report {
            link: self.link.clone(),
            sequence_seen: self.sequence_seen,
            busy: self.job.is_some(),
            refusal: self.refusal.clone(),
            models: names.iter().map(model).collect(),
        }
    }
}

/// The regular report is due.
pub(crate) fn due(state: &mut State, now: u64, effects: &mut Vec<Effect>) {
    if state.report_at <= now {
        state.report_at = now.saturating_add(state.limits.report_ms);
        effects.push(Effect::Report);
    }
}
