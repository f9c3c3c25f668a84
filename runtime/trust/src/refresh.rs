//! Steps 1 to 3 of the order on the device: the TUF client workflow as a state machine.
//!
//! It asks for one file after another ([`Refresh::wanted`]) and is fed bytes ([`Refresh::feed`]);
//! where they come from is the caller's business. It works on a copy: an interrupted or refused
//! refresh leaves the old state as it was, and only [`Refresh::finish`] gives the new one.
//! Numbers such as 5.3.4 are sections of the TUF specification 1.0.

mod steps;

use std::collections::BTreeSet;

use crate::document::check_size;
use crate::limits::{NAMES_MAX, ROOT_BYTES_MAX, SNAPSHOT_BYTES_MAX, TARGETS_BYTES_MAX, TIMESTAMP_BYTES_MAX};
use crate::listing::named_file;
use crate::refusal::{Reason, Refusal, Step};
use crate::{TrustState, check_name};

/// A file of the fleet's metadata.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `<N>.root.json`, the root of version N.
    Root(u64),
    /// `timestamp.json`.
    Timestamp,
    /// `snapshot.json`.
    Snapshot,
    /// `targets.json`, the top-level one.
    Targets,
    /// `<name>.json`, the targets of one artifact.
    Named(String),
}

impl std::fmt::Display for FileName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root(version) => write!(formatter, "{version}.root.json"),
            Self::Timestamp => formatter.write_str("timestamp.json"),
            Self::Snapshot => formatter.write_str("snapshot.json"),
            Self::Targets => formatter.write_str("targets.json"),
            Self::Named(name) => formatter.write_str(&named_file(name)),
        }
    }
}

/// What a [`Refresh`] asks for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The file.
    pub file: FileName,
    /// Read no more than this.
    pub bytes_max: u64,
}

/// Whether expired files are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    Enforced,
    /// For metadata that lies beside a sideloaded file: nothing there can prove that it is current.
    IgnoredForSideload,
}

/// A refresh under way.
#[derive(Clone, Debug)]
pub struct Refresh {
    state: TrustState,
    expiry: Expiry,
    /// The system's clock at the start; what is decided by is `state.clock` of it, which a new root can set back.
    system_now: u64,
    names: Vec<String>,
    at: At,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Root {
        rotations: u32,
    },
    Timestamp,
    Snapshot,
    Targets,
    /// The index into `names`.
    Named(usize),
    Done,
    Refused(Refusal),
}

impl Refresh {
    /// Begins at `state`. `system_now` is the device's own clock, fixed for the whole refresh (5.1), in
    /// seconds since 1970; not [`TrustState::clock`]: what was seen is added here, and is taken away again
    /// when a new root replaces the keys that said it. `names` are the artifacts whose targets are wanted.
    pub fn start(state: &TrustState, system_now: u64, names: &[String]) -> Self {
        Self::begin(state, system_now, names, Expiry::Enforced)
    }

    /// [`Refresh::start`] that takes expired files: only for metadata that lies beside a sideloaded
    /// artifact, where it can but raise floors and add denials. Versions still never go back.
    pub fn start_ignoring_expiry(state: &TrustState, names: &[String]) -> Self {
        Self::begin(state, 0, names, Expiry::IgnoredForSideload)
    }

    fn begin(state: &TrustState, system_now: u64, names: &[String], expiry: Expiry) -> Self {
        let different: BTreeSet<String> = names.iter().cloned().collect();
        let refused = |reason, problem: String| {
            let text = format!("refresh the fleet's metadata: {problem}");
            At::Refused(Refusal::new(Step::Size, reason, text))
        };
        let wrong_name = different.iter().find_map(|name| check_name(name).err());
        let at = match wrong_name {
            Some(error) => refused(Reason::WrongName, error.to_string()),
            None if different.len() > NAMES_MAX => refused(
                Reason::TooMany,
                format!("{} artifacts are asked for, at most {NAMES_MAX} are kept; run fewer models", different.len()),
            ),
            None => At::Root { rotations: 0 },
        };
        Self { state: state.clone(), expiry, system_now, names: different.into_iter().collect(), at }
    }

    /// The next file, or `None` when the refresh is over.
    pub fn wanted(&self) -> Option<Wanted> {
        let (file, bytes_max) = match &self.at {
            // 5.3.3: the root of version N+1.
            At::Root { .. } => (FileName::Root(self.state.root.version().saturating_add(1)), ROOT_BYTES_MAX),
            At::Timestamp => (FileName::Timestamp, TIMESTAMP_BYTES_MAX),
            At::Snapshot => (FileName::Snapshot, SNAPSHOT_BYTES_MAX),
            At::Targets => (FileName::Targets, TARGETS_BYTES_MAX),
            At::Named(index) => (FileName::Named(self.names[*index].clone()), TARGETS_BYTES_MAX),
            At::Done | At::Refused(_) => return None,
        };
        Some(Wanted { file, bytes_max })
    }

    /// Takes the file that [`Refresh::wanted`] named, or `None` when it cannot be had.
    /// After a refusal the refresh is over.
    pub fn feed(&mut self, bytes: Option<&[u8]>) -> Result<(), Refusal> {
        let next = self.step(bytes);
        match next {
            Ok(at) => {
                self.at = at;
                Ok(())
            }
            Err(refusal) => {
                self.at = At::Refused(refusal.clone());
                Err(refusal)
            }
        }
    }

    fn step(&mut self, bytes: Option<&[u8]>) -> Result<At, Refusal> {
        // Step 1: size caps.
        if let (Some(bytes), Some(wanted)) = (bytes, self.wanted()) {
            check_size(&wanted.file.to_string(), bytes, wanted.bytes_max)?;
        }
        match (&self.at, bytes) {
            (At::Root { rotations }, bytes) => self.feed_root(*rotations, bytes),
            (At::Timestamp, Some(bytes)) => self.feed_timestamp(bytes),
            (At::Snapshot, Some(bytes)) => self.feed_snapshot(bytes),
            (At::Targets, Some(bytes)) => self.feed_targets(bytes),
            (At::Named(index), Some(bytes)) => self.feed_named(*index, bytes),
            (At::Timestamp | At::Snapshot | At::Targets | At::Named(_), None) => Err(self.unavailable()),
            (At::Refused(refusal), _) => Err(refusal.clone()),
            (At::Done, _) => Err(Refusal::new(
                Step::Metadata,
                Reason::OutOfOrder,
                "refresh the fleet's metadata: it is finished, no more files are wanted",
            )),
        }
    }

    /// The new state, when every wanted file was fed and none was refused.
    pub fn finish(self) -> Result<TrustState, Refusal> {
        match self.at {
            At::Done => {
                let mut state = self.state;
                state.settle(&self.names);
                Ok(state)
            }
            At::Refused(refusal) => Err(refusal),
            _ => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> Refusal {
        let file = self.wanted().map_or_else(String::new, |wanted| wanted.file.to_string());
        Refusal::new(
            Step::Metadata,
            Reason::Unavailable,
            format!("trust the fleet's metadata: {file} is not there; fetch it, or see that the fleet publishes it"),
        )
    }
}
