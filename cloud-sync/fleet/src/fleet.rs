//! A fleet folder, open: state, store, keys. What commands change about it stands in `changes`.

mod brokers;
mod changes;

use bytes::Bytes;
use runtime_disk::FolderLock;
use runtime_trust::limits::{ROOT_BYTES_MAX, TARGETS_BYTES_MAX};
use runtime_trust::{Root, SigningKey};

use crate::certificates::DeviceAuthority;
use crate::devices::{DEVICES_BYTES_MAX, DeviceIndex};
use crate::error::FleetError;
use crate::event::TrustFile;
use crate::folder::FleetFolder;
use crate::keyring::{self, DEPLOY, DEVICE_CA, KeyFile};
use crate::log::EventLog;
use crate::objects::{Kind, Objects};
use crate::remembered::RememberedBroker;
use crate::settings::{SETTINGS_BYTES_MAX, Settings};
use crate::state::State;
use crate::trust_files::CurrentFiles;

/// The longest certificate file that is read, in bytes.
const CERTIFICATE_BYTES_MAX: u64 = 64 * 1024;

/// A fleet folder that this process holds.
#[derive(Debug)]
pub struct Fleet {
    folder: FleetFolder,
    settings: Settings,
    objects: Objects,
    log: EventLog,
    state: State,
    root: Root,
    files: CurrentFiles,
    devices: DeviceIndex,
    broker: RememberedBroker,
    deploy: Vec<SigningKey>,
    authority: Option<DeviceAuthority>,
    _lock: FolderLock,
}

/// What every command can read without the folder's lock.
#[derive(Debug, Clone)]
pub struct Outside {
    /// `fleet.toml`.
    pub settings: Settings,
    /// The root of trust.
    pub root: Root,
}

impl Outside {
    /// Reads settings and root.
    pub fn read(folder: &FleetFolder) -> Result<Self, FleetError> {
        let missing = |missing: &'static str| {
            let folder = folder.path().display().to_string();
            move |error: runtime_disk::DiskError| {
                if error.is_not_found() { FleetError::NoFleet { folder, missing } } else { error.into() }
            }
        };
        let text = runtime_disk::read_bounded(&folder.settings(), SETTINGS_BYTES_MAX).map_err(missing("fleet.toml"))?;
        let settings = Settings::parse(&String::from_utf8_lossy(&text))?;
        let root = runtime_disk::read_bounded(&folder.root(), ROOT_BYTES_MAX).map_err(missing("trust/root.json"))?;
        let root = Root::pin(&root).map_err(FleetError::not_trusted("read trust/root.json"))?;
        Ok(Outside { settings, root })
    }

    /// The artifact store that the settings name.
    pub fn objects(&self, folder: &FleetFolder) -> Result<Objects, FleetError> {
        Ok(Objects::open(folder.path(), &self.settings.store)?)
    }
}

impl Fleet {
    /// Takes the folder's lock and reads everything. No key is open yet.
    pub async fn open(folder: &FleetFolder) -> Result<Self, FleetError> {
        let Outside { settings, root } = Outside::read(folder)?;
        let lock = FolderLock::acquire(folder.path())?;
        let objects = Objects::open(folder.path(), &settings.store)?;
        let (log, records) = EventLog::open(objects.clone()).await?;
        let state = State::fold(&records)?;
        let files = read_files(&objects, &state).await?;
        let devices = match runtime_disk::read_bounded(&folder.devices(), DEVICES_BYTES_MAX) {
            Ok(bytes) => DeviceIndex::decode(&bytes).unwrap_or_else(|| {
                tracing::warn!("devices.json is damaged and left out; devices report again when they connect");
                DeviceIndex::default()
            }),
            Err(error) if error.is_not_found() => DeviceIndex::default(),
            Err(error) => return Err(error.into()),
        };
        let broker = RememberedBroker::read(folder)?;
        let fleet = Fleet {
            folder: folder.clone(),
            settings,
            objects,
            log,
            state,
            root,
            files,
            devices,
            broker,
            deploy: Vec::new(),
            authority: None,
            _lock: lock,
        };
        fleet.write_copies()?;
        Ok(fleet)
    }

    /// The key files that `fleet serve` needs open: every deploy key and the device CA's.
    pub fn service_keys(folder: &FleetFolder) -> Result<Vec<KeyFile>, FleetError> {
        let mut files = keyring::find(&folder.keys(), DEPLOY)?;
        files.extend(keyring::find(&folder.keys(), DEVICE_CA)?);
        Ok(files)
    }

    /// Opens the deploy keys.
    pub fn unlock_deploy(&mut self, passphrase: &[u8]) -> Result<(), FleetError> {
        let files = keyring::find(&self.folder.keys(), DEPLOY)?;
        self.deploy = files.iter().map(|file| file.open(passphrase)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Opens the device CA.
    pub fn unlock_authority(&mut self, passphrase: &[u8]) -> Result<(), FleetError> {
        self.authority = Some(open_authority(&self.folder, passphrase)?);
        Ok(())
    }

    /// The folder.
    pub fn folder(&self) -> &FleetFolder {
        &self.folder
    }

    /// `fleet.toml`.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The artifact store.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What the log says.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The root of trust.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The exact bytes of the current trust files.
    pub fn files(&self) -> &CurrentFiles {
        &self.files
    }

    /// What devices last reported.
    pub fn devices(&self) -> &DeviceIndex {
        &self.devices
    }

    /// What devices last reported, for whoever hears them.
    pub fn devices_mut(&mut self) -> &mut DeviceIndex {
        &mut self.devices
    }

    /// The device CA, when its key is open.
    pub fn authority(&self) -> Result<&DeviceAuthority, FleetError> {
        self.authority.as_ref().ok_or(FleetError::Locked { role: DEVICE_CA })
    }

    /// Writes what devices last reported into the cache file.
    pub fn save_devices(&self) -> Result<(), FleetError> {
        if let Some(bytes) = self.devices.encode() {
            runtime_disk::write_atomic(&self.folder.devices(), &bytes)?;
        }
        Ok(())
    }

    /// The copies of the trust files, for people and other programs. The store has the truth.
    fn write_copies(&self) -> Result<(), FleetError> {
        if self.state.trust().is_none() {
            return Ok(());
        }
        let trust = self.folder.trust();
        runtime_disk::create_folder(&trust.join("targets"))?;
        let mut copies = vec![
            (trust.join("targets.json"), &self.files.targets),
            (trust.join("snapshot.json"), &self.files.snapshot),
            (trust.join("timestamp.json"), &self.files.timestamp),
        ];
        copies.extend(self.files.names.iter().map(|(name, bytes)| (self.folder.named_targets(name), bytes)));
        for (path, bytes) in copies {
            let same = runtime_disk::read_bounded(&path, TARGETS_BYTES_MAX).is_ok_and(|found| found == **bytes);
            if !same {
                runtime_disk::write_atomic(&path, bytes)?;
            }
        }
        Ok(())
    }
}

/// The device CA of a folder.
pub fn open_authority(folder: &FleetFolder, passphrase: &[u8]) -> Result<DeviceAuthority, FleetError> {
    let files = keyring::find(&folder.keys(), DEVICE_CA)?;
    let file = files.first().expect("`find` gives at least one");
    let certificate = read_text(&folder.device_ca())?;
    Ok(DeviceAuthority::open(&certificate, &file.open_pkcs8(passphrase)?)?)
}

/// A PEM file.
pub(crate) fn read_text(path: &std::path::Path) -> Result<String, FleetError> {
    let bytes = runtime_disk::read_bounded(path, CERTIFICATE_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| FleetError::Usage {
        message: format!("read {}: it is no PEM text", path.display()),
        hint: String::new(),
    })
}

async fn read_files(objects: &Objects, state: &State) -> Result<CurrentFiles, FleetError> {
    let Some(trust) = state.trust() else { return Ok(CurrentFiles::default()) };
    let read = async |file: &TrustFile| -> Result<Bytes, FleetError> {
        let bytes = objects.expect(Kind::Metadata, &file.digest, file.bytes).await?;
        if let Some(damage) = objects.damaged(Kind::Metadata, &file.digest, &bytes) {
            // It is published all the same: a device that names the damage is better than one that hears nothing.
            tracing::error!(%damage, "a trust file is damaged; push the artifact again to sign it anew");
        }
        Ok(bytes)
    };
    let mut names = std::collections::BTreeMap::new();
    for (name, file) in &trust.names {
        names.insert(name.clone(), read(file).await?);
    }
    Ok(CurrentFiles {
        timestamp: read(&trust.timestamp).await?,
        snapshot: read(&trust.snapshot).await?,
        targets: read(&trust.targets).await?,
        names,
    })
}
