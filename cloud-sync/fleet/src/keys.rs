//! Making a fleet: keys, the first root, the device CA. Needs neither a running `fleet serve` nor the folder's lock.

use std::collections::BTreeMap;

use cloud_sync_protocol::FleetId;
use runtime_trust::author;
use runtime_trust::keyfile::{self, KeyFileError, Protection};
use runtime_trust::{KeyError, PublicKey, Role, RoleKeys, Root, SigningKey};

use crate::certificates;
use crate::error::FleetError;
use crate::folder::FleetFolder;
use crate::keyring::{DEPLOY, DEVICE_CA, KeyFile, KeyringError, RELEASE, ROOT};
use crate::settings::Settings;

/// How long the first root is good, in seconds: ten years. Devices in the field must outlive it or be rotated.
pub const ROOT_LIFETIME_S: u64 = 3653 * 24 * 60 * 60;

/// What a new fleet looks like.
#[derive(Debug, Clone)]
pub struct NewFleet {
    /// Its name.
    pub fleet: FleetId,
    /// Public keys held elsewhere that count for a role, too.
    pub trusted: Vec<(&'static str, PublicKey)>,
    /// How many keys of a role must sign; one unless it says otherwise.
    pub thresholds: BTreeMap<&'static str, u32>,
    /// How long the root is good, in seconds.
    pub root_lifetime_s: u64,
}

/// Makes a fleet in `folder`: root, release and deploy keys, the device CA, the root of trust and the settings.
/// Fails without changing anything when a key or root is there already.
pub fn create(folder: &FleetFolder, new: &NewFleet, protection: Protection<'_>, now: u64) -> Result<Root, FleetError> {
    refuse_existing(folder)?;
    let keys: BTreeMap<&'static str, SigningKey> =
        [ROOT, RELEASE, DEPLOY].into_iter().map(|role| (role, SigningKey::generate())).collect();
    let root_bytes = first_root(new, &keys, now)?;
    let root = Root::pin(&root_bytes).map_err(FleetError::not_trusted("make a root that devices take"))?;
    let authority = certificates::new_authority(&new.fleet, now)?;

    for path in [folder.path().to_owned(), folder.keys(), folder.tls(), folder.trust()] {
        runtime_disk::create_folder(&path)?;
    }
    for (role, key) in &keys {
        write_key(folder, role, keyfile::seal_key_as(key, role, protection))?;
    }
    let authority_file = keyfile::seal_pkcs8(&authority.key_der, &authority.public, DEVICE_CA, protection);
    write_key(folder, DEVICE_CA, authority_file)?;
    runtime_disk::write_atomic(&folder.device_ca(), authority.certificate_pem.as_bytes())?;
    if !runtime_disk::exists(&folder.settings())? {
        let settings = Settings::new(new.fleet.clone());
        runtime_disk::write_atomic(&folder.settings(), settings.to_text().as_bytes())?;
    }
    runtime_disk::write_atomic(&folder.root_version(root.version()), &root_bytes)?;
    // Last: with root.json the fleet exists.
    runtime_disk::write_atomic(&folder.root(), &root_bytes)?;
    Ok(root)
}

/// Makes one key of a role into a file, for a person or machine that holds it elsewhere.
pub fn create_single(path: &std::path::Path, role: &str, protection: Protection<'_>) -> Result<PublicKey, FleetError> {
    if runtime_disk::exists(path)? {
        let found = path.display().to_string();
        let folder = path.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
        return Err(FleetError::FleetExists { folder, found });
    }
    let key = SigningKey::generate();
    let bytes = keyfile::seal_key_as(&key, role, protection)
        .map_err(|source| KeyringError::File { path: path.to_owned(), source })?;
    runtime_disk::write_private(path, &bytes)?;
    Ok(key.public())
}

/// The public key that a key file names, without opening it.
pub fn public_of(file: &KeyFile) -> Result<PublicKey, FleetError> {
    let malformed =
        |reason: String| KeyringError::File { path: file.path().to_owned(), source: KeyFileError::Malformed(reason) };
    let bytes: [u8; 32] = file
        .facts()
        .public
        .as_slice()
        .try_into()
        .map_err(|_| malformed(format!("a public key of {} bytes", file.facts().public.len())))?;
    Ok(PublicKey::ed25519(bytes).map_err(|error: KeyError| malformed(error.to_string()))?)
}

fn refuse_existing(folder: &FleetFolder) -> Result<(), FleetError> {
    let roles = [ROOT, RELEASE, DEPLOY, DEVICE_CA].map(|role| folder.key(role));
    for path in roles.into_iter().chain([folder.root(), folder.device_ca()]) {
        if runtime_disk::exists(&path)? {
            let folder = folder.path().display().to_string();
            return Err(FleetError::FleetExists { folder, found: path.display().to_string() });
        }
    }
    Ok(())
}

fn first_root(new: &NewFleet, keys: &BTreeMap<&'static str, SigningKey>, now: u64) -> Result<Vec<u8>, FleetError> {
    let role_keys = |role: &'static str| {
        let elsewhere = new.trusted.iter().filter(|(of, _)| *of == role).map(|(_, key)| key.clone());
        let all: Vec<PublicKey> = keys.get(role).map(SigningKey::public).into_iter().chain(elsewhere).collect();
        RoleKeys::new(new.thresholds.get(role).copied().unwrap_or(1), all)
    };
    let roles = BTreeMap::from([
        (Role::Root, role_keys(ROOT)),
        (Role::Targets, role_keys(RELEASE)),
        (Role::Snapshot, role_keys(DEPLOY)),
        (Role::Timestamp, role_keys(DEPLOY)),
    ]);
    let expires = now.saturating_add(new.root_lifetime_s);
    let root_key = keys.get(ROOT).expect("`create` has made it");
    author::build_root(1, expires, &roles, &[root_key])
        .map_err(|error| FleetError::Usage { message: error.to_string(), hint: String::new() })
}

fn write_key(folder: &FleetFolder, role: &str, sealed: Result<Vec<u8>, KeyFileError>) -> Result<(), FleetError> {
    let path = folder.key(role);
    let bytes = sealed.map_err(|source| KeyringError::File { path: path.clone(), source })?;
    Ok(runtime_disk::write_private(&path, &bytes)?)
}
