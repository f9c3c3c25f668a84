//! What `edge-agent status` shows.

use runtime_console::table;
use runtime_inference::Inference;
use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::machine::{Installed, LinkState, Refusal, State};

/// The version of the status object.
const STATUS_SCHEMA: u32 = 1;

/// The agent's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) schema: u32,
    /// Whether an agent runs in this folder.
    pub(crate) running: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) http: Option<String>,
    pub(crate) fleet: Option<String>,
    pub(crate) device: Option<String>,
    pub(crate) channel: Option<String>,
    /// `up` or `down`.
    pub(crate) link: String,
    /// Why it is down.
    pub(crate) link_problem: Option<String>,
    /// The highest deployment sequence that was accepted.
    pub(crate) sequence: Option<u64>,
    /// The highest one that was seen and verified.
    pub(crate) sequence_seen: Option<u64>,
    /// Whether something is being installed.
    pub(crate) busy: bool,
    pub(crate) clock: Clock,
    /// The latest refusal of anything.
    pub(crate) refusal: Option<RefusalShown>,
    pub(crate) models: Vec<ModelShown>,
}

/// What the agent takes the time to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// The system's clock, in seconds since 1970.
    pub(crate) system_unix: u64,
    /// The time that is used: the system's, or a later one that is known to have been.
    pub(crate) used_unix: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModelShown {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) active: Option<VersionShown>,
    pub(crate) last_good: Option<VersionShown>,
    pub(crate) candidate: Option<VersionShown>,
    pub(crate) refusal: Option<RefusalShown>,
    /// Deployments up to this sequence are not followed: a person chose the version.
    pub(crate) held_above: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionShown {
    pub(crate) digest: String,
    pub(crate) version: String,
    pub(crate) number: u64,
    /// The engine that answers, or that proved it.
    pub(crate) engine: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusalShown {
    pub(crate) digest: Option<String>,
    pub(crate) sequence: Option<u64>,
    pub(crate) step: u8,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl From<&Refusal> for RefusalShown {
    fn from(refusal: &Refusal) -> Self {
        RefusalShown {
            digest: refusal.digest.map(|digest| digest.to_string()),
            sequence: refusal.sequence,
            step: refusal.step,
            reason: refusal.reason.clone(),
            message: refusal.message.clone(),
        }
    }
}

pub(crate) fn version(installed: &Installed) -> VersionShown {
    VersionShown {
        digest: installed.digest.to_string(),
        version: installed.version.clone(),
        number: installed.number,
        engine: (!installed.engine.is_empty()).then(|| installed.engine.clone()),
    }
}

impl Status {
    /// The status of a device in `state`; `running` says how to talk to the process, if it is a daemon.
    pub(crate) fn of(
        device: &Device,
        state: &State,
        inference: Option<&Inference>,
        running: Option<(u32, Option<String>)>,
    ) -> Status {
        let report = state.report();
        let trust = runtime_trust::TrustState::parse(&state.memory().trust).ok();
        let identity = device.identity.as_ref();
        let accepted = identity.and_then(|identity| trust.as_ref()?.sequence(identity.channel.as_str()));
        let (link, link_problem) = match report.link {
            LinkState::Up => ("up", None),
            LinkState::Down { why } => ("down", Some(why)),
        };
        let models = report.models.iter().map(|model| {
            let answering = inference.and_then(|inference| inference.metadata(&model.name, None));
            let active = model.active.as_ref().map(|active| VersionShown {
                engine: answering.map(|metadata| metadata.engine).or_else(|| version(active).engine),
                ..version(active)
            });
            ModelShown {
                name: model.name.clone(),
                state: model.stage.name().to_owned(),
                active,
                last_good: model.last_good.as_ref().map(version),
                candidate: model.candidate.as_ref().map(version),
                refusal: model.refusal.as_ref().map(RefusalShown::from),
                held_above: model.held_above,
            }
        });
        let used_unix = trust.as_ref().map_or(device.unix(), |trust| trust.clock(device.unix()));
        Status {
            schema: STATUS_SCHEMA,
            running: running.is_some(),
            pid: running.as_ref().map(|(pid, _)| *pid),
            http: running.and_then(|(_, http)| http),
            fleet: identity.map(|identity| identity.fleet.to_string()),
            device: identity.map(|identity| identity.device.to_string()),
            channel: identity.map(|identity| identity.channel.to_string()),
            link: link.to_owned(),
            link_problem,
            sequence: accepted,
            sequence_seen: report.sequence_seen,
            busy: report.busy,
            clock: Clock { system_unix: crate::clock::system_unix(), used_unix },
            refusal: report.refusal.as_ref().map(RefusalShown::from),
            models: models.collect(),
        }
    }

    /// For people.
    pub(crate) fn human(&self) -> String {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let mut lines = vec![match (self.running, self.pid) {
            (true, Some(pid)) => format!("agent     runs as process {pid}, API at {}", or_none(&self.http)),
            _ => "agent     does not run".to_owned(),
        }];
        match (&self.device, &self.fleet, &self.channel) {
            (Some(device), Some(fleet), Some(channel)) => {
                lines.push(format!("device    {device} of fleet {fleet}, channel {channel}"));
            }
            _ => lines.push("device    not enrolled".to_owned()),
        }
        lines.push(match &self.link_problem {
            Some(problem) if self.running => format!("link      {}: {problem}", self.link),
            _ => format!("link      {}", self.link),
        });
        let sequence = self.sequence.map_or_else(|| "none yet".to_owned(), |sequence| sequence.to_string());
        lines.push(format!("accepted  deployment {sequence}"));
        if self.clock.used_unix > self.clock.system_unix {
            let behind = self.clock.used_unix - self.clock.system_unix;
            lines.push(format!("clock     is {behind} s behind what is known to have been; the later time is used"));
        }
        let shown = |version: &Option<VersionShown>| {
            version
                .as_ref()
                .map_or_else(|| "-".to_owned(), |version| format!("{} (#{})", version.version, version.number))
        };
        let rows: Vec<Vec<String>> = self
            .models
            .iter()
            .map(|model| {
                let engine = model.active.as_ref().and_then(|active| active.engine.clone());
                vec![
                    model.name.clone(),
                    model.state.clone(),
                    shown(&model.active),
                    shown(&model.last_good),
                    or_none(&engine),
                ]
            })
            .collect();
        let mut text = lines.join("\n");
        text.push_str("\n\n");
        if rows.is_empty() {
            text.push_str("no models\n");
        } else {
            text.push_str(&table(&["model", "state", "active", "last good", "engine"], &rows));
        }
        for model in &self.models {
            if let Some(refusal) = &model.refusal {
                text.push_str(&format!(
                    "\n{}: refused in step {} ({}): {}\n",
                    model.name, refusal.step, refusal.reason, refusal.message
                ));
            }
            if let Some(above) = model.held_above {
                text.push_str(&format!(
                    "\n{}: chosen on this device; held until a deployment above {above}\n",
                    model.name
                ));
            }
        }
        text
    }
}
