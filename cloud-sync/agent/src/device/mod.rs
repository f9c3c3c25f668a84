//! The device as the agent sees it: its store, what is trusted, what it can run. Blocks; knows no network.

pub(crate) mod memory;
pub(crate) mod model;

use std::sync::Arc;

use cloud_sync_protocol::{ChannelId, DeviceId, Enrolment, FleetId};
use cloud_sync_store::{ErrorClass, Store, StoreError};
use runtime_artifact::Variant;
use runtime_console::{Classified, ExitCode};
use runtime_inference::{Engines, ServedModel, read_machine};
use runtime_trust::{StateError, TrustState};
use targets_profile::Profile;

use crate::clock;
use crate::config::{OrtLibrary, Settings};
use crate::folder::AgentFolder;
use crate::machine::{Installed, Memory, Serving, State};

/// Who this device is in its fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The fleet.
    pub(crate) fleet: FleetId,
    /// The device.
    pub(crate) device: DeviceId,
    /// The channel that it follows.
    pub(crate) channel: ChannelId,
}

impl Identity {
    /// As the enrolment file says.
    pub(crate) fn of(enrolment: &Enrolment) -> Self {
        Identity {
            fleet: enrolment.fleet.clone(),
            device: enrolment.device.clone(),
            channel: enrolment.channel.clone(),
        }
    }
}

/// The folder cannot be used. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The trusted state inside the store's state.
    #[error("read the trusted state in {folder}")]
    Trust {
        /// The agent's folder.
        folder: String,
        /// What is wrong.
        #[source]
        source: StateError,
    },
    /// There is no root to trust anything by.
    #[error("find a trusted root in {folder}: this folder was never enrolled")]
    NoRoot {
        /// The agent's folder.
        folder: String,
    },
}

impl Classified for DeviceError {
    fn exit_code(&self) -> ExitCode {
        match self {
            DeviceError::Store(error) => match error.class() {
                ErrorClass::NotTrusted => ExitCode::NotTrusted,
                ErrorClass::Unsupported => ExitCode::Unsupported,
                ErrorClass::Damaged => ExitCode::DamagedStore,
                ErrorClass::NoRoomOrInUse => ExitCode::NoRoom,
                ErrorClass::Other => ExitCode::DamagedStore,
            },
            DeviceError::Trust { .. } => ExitCode::DamagedStore,
            DeviceError::NoRoot { .. } => ExitCode::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            DeviceError::Store(error) if error.class() == ErrorClass::Damaged => Some(
                "move the folder aside, then `edge-agent enroll` again with a fresh enrolment file: models come back \
                 with the next deployment, or with `edge-agent install`"
                    .to_owned(),
            ),
            DeviceError::Store(StoreError::InUse { .. }) => {
                Some("one agent per folder: stop the other one, or use another --dir".to_owned())
            }
            DeviceError::Store(_) => None,
            DeviceError::Trust { .. } => {
                Some("move the folder aside and enroll again; do not copy a folder between devices".to_owned())
            }
            DeviceError::NoRoot { .. } => Some(
                "`edge-agent enroll FILE` joins a fleet; `edge-agent install FILE.cask --root ROOT` works without one"
                    .to_owned(),
            ),
        }
    }
}

/// Everything that a job needs of the device; shared between threads.
pub(crate) struct Device {
    pub(crate) folder: AgentFolder,
    pub(crate) store: Store,
    pub(crate) identity: Option<Identity>,
    pub(crate) profile: Profile,
    pub(crate) engines: Engines,
    pub(crate) settings: Settings,
    /// The time in the enrolment file, in seconds since 1970; 0 without one.
    pub(crate) enrolled_unix: u64,
}

impl Device {
    /// Opens the agent's folder for this process alone.
    pub(crate) fn open(
        folder: &AgentFolder,
        enrolment: Option<&Enrolment>,
        settings: Settings,
    ) -> Result<Arc<Device>, DeviceError> {
        Ok(Self::over(Store::open(folder.path())?, folder, enrolment, settings))
    }

    /// The device over a store that is open.
    pub(crate) fn over(
        store: Store,
        folder: &AgentFolder,
        enrolment: Option<&Enrolment>,
        settings: Settings,
    ) -> Arc<Device> {
        let engines = settings.open_engines();
        if let Some(Err(error)) = engines.ort_library() {
            let engines = engines.names().join(", ");
            match settings.ort_library {
                OrtLibrary::File(_) => tracing::warn!(engines, "the engine ort is left out: failed to {error}"),
                _ => tracing::info!(engines, "the engine ort is left out: failed to {error}"),
            }
        }
        let mut profile = read_machine(&engines);
        if !settings.engines.is_empty() {
            // What the configuration rules out, no variant may require.
            let known = std::mem::take(&mut profile.engine_order);
            profile.engine_order = settings.engines.iter().filter(|name| known.contains(name)).cloned().collect();
        }
        let identity = enrolment.map(Identity::of);
        let enrolled_unix = enrolment.map_or(0, |enrolment| enrolment.time);
        Arc::new(Device { folder: folder.clone(), store, identity, profile, engines, settings, enrolled_unix })
    }

    /// The system's clock in seconds since 1970, or a later time that is known to have been: the enrolment, the build.
    pub(crate) fn unix(&self) -> u64 {
        clock::plausible_unix().max(self.enrolled_unix)
    }

    /// The trusted state that was last written.
    pub(crate) fn trust(&self) -> Result<TrustState, DeviceError> {
        let folder = || self.folder.path().display().to_string();
        let bytes = self.store.state().trust;
        if bytes.is_empty() {
            return Err(DeviceError::NoRoot { folder: folder() });
        }
        TrustState::parse(&bytes).map_err(|source| DeviceError::Trust { folder: folder(), source })
    }

    /// The state machine at the start of a process.
    pub(crate) fn machine(&self, trust: &TrustState) -> State {
        let memory = memory::load(&self.store.state());
        let sequence = self.identity.as_ref().and_then(|identity| trust.sequence(identity.channel.as_str()));
        let mut limits = self.settings.limits.clone();
        limits.salt = self.salt();
        State::new(memory, memory::denied(trust), memory::floors(trust), sequence, limits)
    }

    /// A number that differs between devices and stays the same on one.
    pub(crate) fn salt(&self) -> u64 {
        let name = self.identity.as_ref().map_or("", |identity| identity.device.as_str());
        let digest = runtime_trust::Digest::of(name.as_bytes());
        digest.as_bytes().iter().take(8).fold(0, |salt, byte| (salt << 8) | u64::from(*byte))
    }

    /// What a job works with, from here on.
    pub(crate) fn site(&self, trust: TrustState, memory: Memory) -> Site<'_> {
        Site {
            store: &self.store,
            trust,
            memory,
            identity: self.identity.as_ref(),
            profile: &self.profile,
            engines: &self.engines,
            settings: &self.settings,
            unix: self.unix(),
        }
    }

    /// Reads what is to answer from its slots.
    pub(crate) fn active_model(&self, serving: &Serving) -> Result<runtime_inference::ActiveModel, String> {
        let primary = served(&self.store, &self.profile, &serving.active)?;
        // A last good version that cannot be read is one rung less, not a reason to answer nothing.
        let last_good = serving.last_good.as_ref().and_then(|good| {
            served(&self.store, &self.profile, good)
                .inspect_err(|error| tracing::warn!(model = serving.model, error, "the last good version is not ready"))
                .ok()
        });
        Ok(runtime_inference::ActiveModel { primary, last_good })
    }
}

/// What a job works with: the device, and what was trusted and installed when it began.
pub(crate) struct Site<'a> {
    pub(crate) store: &'a Store,
    pub(crate) trust: TrustState,
    pub(crate) memory: Memory,
    pub(crate) identity: Option<&'a Identity>,
    pub(crate) profile: &'a Profile,
    pub(crate) engines: &'a Engines,
    pub(crate) settings: &'a Settings,
    /// The clock when the job began: see [`Device::unix`]. One moment for all of its checks.
    pub(crate) unix: u64,
}

impl Site<'_> {
    /// Whether `planned_bytes` more fit into what the configuration allows; the error is how many bytes are missing.
    pub(crate) fn check_budget(&self, planned_bytes: u64) -> Result<(), u64> {
        let Some(bytes_max) = self.settings.space_bytes_max else { return Ok(()) };
        let mut used_bytes = 0_u64;
        let mut counted = std::collections::BTreeSet::new();
        for model in self.memory.models.values() {
            for version in [&model.active, &model.last_good].into_iter().flatten() {
                if counted.insert(version.folder.as_str()) {
                    used_bytes = used_bytes.saturating_add(model::slot_bytes(self.store, self.profile, version));
                }
            }
        }
        match used_bytes.saturating_add(planned_bytes).checked_sub(bytes_max) {
            None | Some(0) => Ok(()),
            Some(missing_bytes) => Err(missing_bytes),
        }
    }

    /// The engines that a variant may run on, the preferred one first.
    pub(crate) fn engines_for(&self, variant: &Variant) -> Vec<String> {
        let allowed = |name: &&String| variant.requires.engine.as_ref().is_none_or(|engine| engine == *name);
        self.profile.engine_order.iter().filter(allowed).cloned().collect()
    }

    /// An installed version, ready to be run.
    pub(crate) fn served(&self, version: &Installed) -> Result<ServedModel, String> {
        served(self.store, self.profile, version)
    }
}

/// Reads an installed version from its slot. The text says why it cannot be.
fn served(store: &Store, profile: &Profile, version: &Installed) -> Result<ServedModel, String> {
    let (files, variant) = model::open(store, profile, version)?;
    let required = variant.requires.engine;
    let mut engines: Vec<String> = Vec::new();
    // The engine that proved it goes first; the others are the next rung.
    if !version.engine.is_empty() {
        engines.push(version.engine.clone());
    }
    for name in &profile.engine_order {
        if required.as_ref().is_none_or(|engine| engine == name) && !engines.contains(name) {
            engines.push(name.clone());
        }
    }
    Ok(ServedModel { files: Arc::new(files), engines })
}
