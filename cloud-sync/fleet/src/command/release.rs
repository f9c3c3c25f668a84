//! Signing targets with the release key: what `artifact push` and `artifact update` share.

use std::path::PathBuf;

use clap::Args;
use cloud_sync_protocol::ModelName;
use runtime_console::{Failure, PassphraseArgs};
use runtime_trust::SigningKey;

use super::session::{Session, passphrase_for};
use super::{Context, failed, now};
use crate::admin::Request;
use crate::decide::{ReleaseChange, ReleasePlan};
use crate::error::FleetError;
use crate::fleet::Outside;
use crate::folder::FleetFolder;
use crate::keyring::{self, KeyFile, RELEASE};
use crate::report::Pushed;
use crate::trust_files::sign_release;

/// Which release keys sign.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// A release key file; may be repeated [default: every release key in the folder]
    #[arg(long = "key", value_name = "FILE", help_heading = "Keys")]
    files: Vec<PathBuf>,
}

impl KeyArgs {
    /// The key files: the named ones, else the folder's.
    pub(super) fn find(&self, folder: &FleetFolder) -> Result<Vec<KeyFile>, Failure> {
        let found = match self.files.is_empty() {
            true => keyring::find(&folder.keys(), RELEASE),
            false => self.files.iter().map(|path| KeyFile::read(path)?.expect_role(RELEASE)).collect(),
        };
        found.map_err(|error| failed(FleetError::from(error)))
    }

    /// The keys, opened.
    pub(super) fn open(&self, folder: &FleetFolder, passphrase: &PassphraseArgs) -> Result<Vec<SigningKey>, Failure> {
        let files = self.find(folder)?;
        let secret = passphrase_for(&files, RELEASE, passphrase)?;
        let opened = files.iter().map(|file| file.open(&secret)).collect::<Result<_, _>>();
        opened.map_err(|error| failed(FleetError::from(error)))
    }
}

/// Plans, signs and hands in new targets.
pub(super) async fn release(
    context: &Context,
    session: &mut Session<'_>,
    outside: &Outside,
    name: ModelName,
    change: ReleaseChange,
    keys: &KeyArgs,
    passphrase: &PassphraseArgs,
) -> Result<Pushed, Failure> {
    let plan: ReleasePlan = session.call(Request::ReleasePlan { name, change: change.clone() }).await?;
    let keys = keys.open(&context.folder, passphrase)?;
    let lifetimes = outside.settings.expiry.seconds();
    let release = sign_release(&plan, change, &outside.root, &keys, lifetimes, now()).map_err(failed)?;
    session.call(Request::ReleaseCommit { release: Box::new(release) }).await
}
