//! The program `fleet`: keys, artifact store, rollouts, devices; it serves chunks over MQTT.
//!
//! [`Fleet`] is an open fleet folder with every change that a command can make; [`serve`] is the controller's loop
//! over a link; the rest is what they are made of. The truth is an append-only log of [events](event) in the artifact
//! store; [`State`] is folded from it, [decisions](decide) are pure functions of it.
//!
//! Invariants: the event log is never rewritten; what a device would refuse is never made current
//! ([`trust_files::rehearse`]); release's key is opened by commands that a person starts, never by `fleet serve`;
//! what devices report is a cache and is never trusted.
//!
//! Never here: types of the MQTT client (they live in `cloud-sync/link`); a message per device; chunks as retained
//! messages.

pub mod admin;
mod answer;
#[cfg(feature = "embedded-broker")]
pub mod broker;
pub mod certificates;
mod command;
pub mod decide;
pub mod devices;
mod error;
pub mod event;
mod fleet;
mod folder;
mod handle;
pub mod keyring;
pub mod keys;
mod log;
mod objects;
mod publish;
mod push;
mod remembered;
pub mod report;
#[cfg(feature = "s3")]
mod s3;
mod serve;
mod settings;
mod state;
pub mod trust_files;

pub use command::main_from;
pub use error::FleetError;
pub use fleet::{Fleet, Outside, open_authority};
pub use folder::{FOLDER_DEFAULT, FleetFolder, SocketAddress};
pub use log::{EventLog, LogError};
pub use objects::{Kind, Objects, ObjectsError};
pub use publish::{Publication, Retained};
pub use push::Package;
pub use remembered::{BrokerAddress, RememberedBroker, RememberedError};
pub use serve::{Clock, serve};
pub use settings::{BrokerSettings, ExpiryDays, FLEET_DEFAULT, Lifetimes, SETTINGS_SCHEMA, Settings, SettingsError};
pub use state::{Artifact, EnrolledDevice, FoldError, NamedArtifacts, State, TrustSet};
