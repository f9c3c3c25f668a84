//! A fleet to ask: the running `fleet serve`, or the folder opened by this command.

use std::time::Duration;

use runtime_console::{Failure, PassphraseArgs};
use runtime_disk::DiskError;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{failed, now};
use crate::admin::{self, Needs, Request};
use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::folder::FleetFolder;
use crate::keyring::{self, KeyFile};

/// How often a folder that another command holds is tried again, and how long apart: a command takes moments.
const LOCK_TRIES: u32 = 30;
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Whom requests go to.
pub(crate) enum Session<'a> {
    /// A `fleet serve` answers in the folder.
    Served {
        /// The folder.
        folder: &'a FleetFolder,
    },
    /// This command holds the folder.
    Held {
        /// The open fleet.
        fleet: Box<Fleet>,
        /// Where its passphrase comes from.
        passphrase: &'a PassphraseArgs,
    },
}

impl<'a> Session<'a> {
    /// Finds out who holds the folder.
    pub(crate) async fn open(folder: &'a FleetFolder, passphrase: &'a PassphraseArgs) -> Result<Self, Failure> {
        let mut tries = 0;
        loop {
            if admin::connect(folder).await.map_err(failed)?.is_some() {
                return Ok(Session::Served { folder });
            }
            match Fleet::open(folder).await {
                Ok(fleet) => return Ok(Session::Held { fleet: Box::new(fleet), passphrase }),
                Err(FleetError::Disk(DiskError::InUse { .. })) if tries < LOCK_TRIES => tries += 1,
                Err(error) => return Err(failed(error)),
            }
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
    }

    /// Whether a `fleet serve` answers.
    pub(crate) fn is_served(&self) -> bool {
        matches!(self, Session::Served { .. })
    }

    /// Asks.
    pub(crate) async fn call<T: DeserializeOwned>(&mut self, request: Request) -> Result<T, Failure> {
        match self {
            Session::Served { folder } => {
                let stream = admin::connect(folder).await.map_err(failed)?.ok_or_else(|| {
                    Failure::new(runtime_console::ExitCode::Unreachable, "`fleet serve` has just ended")
                })?;
                admin::call(stream, &request).await
            }
            Session::Held { fleet, passphrase } => {
                unlock(fleet, request.needs(), passphrase)?;
                let reply = fleet.handle(request, now()).await.map_err(failed)?;
                Ok(serde_json::from_value(reply).expect("a report reads what it wrote"))
            }
        }
    }
}

fn unlock(fleet: &mut Fleet, needs: Needs, passphrase: &PassphraseArgs) -> Result<(), Failure> {
    let role = match needs {
        Needs::Nothing => return Ok(()),
        Needs::Deploy => keyring::DEPLOY,
        Needs::DeviceCa => keyring::DEVICE_CA,
    };
    let files = keyring::find(&fleet.folder().keys(), role).map_err(|error| failed(FleetError::from(error)))?;
    let secret = passphrase_for(&files, role, passphrase)?;
    let opened = match needs {
        Needs::DeviceCa => fleet.unlock_authority(&secret),
        _ => fleet.unlock_deploy(&secret),
    };
    opened.map_err(failed)
}

/// The passphrase of key files; empty, and nobody is asked, when none of them is encrypted.
pub(crate) fn passphrase_for(
    files: &[KeyFile],
    what: &str,
    args: &PassphraseArgs,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let encrypted = files.iter().any(|file| file.facts().encrypted);
    let secret = if encrypted { args.read(&format!("{what} key"), false)? } else { Vec::new() };
    Ok(Zeroizing::new(secret))
}
