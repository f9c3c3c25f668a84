//! The fleet folder: which file lies where, and how the admin socket is addressed.
//!
//! ```text
//! fleet.toml               settings
//! keys/root.key            release.key, deploy.key, device-ca.key: encrypted key files
//! tls/device-ca.pem        the certificate that signs devices; for the broker's configuration
//! tls/server.pem, .key     the embedded broker's certificate, made anew at each start
//! trust/root.json          the root of trust, and <N>.root.json for each version
//! trust/*.json             the newest timestamp, snapshot, targets and targets/<name>: copies for people
//! objects/                 chunks, manifests, signed files, and the event log (the truth)
//! devices.json             what devices last reported: a cache
//! broker.json              the port that the embedded broker keeps, and the broker that `serve` used last
//! serve.json               written while `fleet serve` runs: process and broker
//! admin.sock, lock         while a `fleet` process works on the folder
//! ```

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cloud_sync_protocol::ModelName;
use runtime_disk::DiskError;

/// The default of `--dir`.
pub const FOLDER_DEFAULT: &str = "./fleet";

/// The longest path of a Unix socket that fits every Unix, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// Paths inside one fleet folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetFolder {
    path: PathBuf,
}

impl FleetFolder {
    /// The folder at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FleetFolder { path: path.into() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `fleet.toml`.
    pub fn settings(&self) -> PathBuf {
        self.path.join("fleet.toml")
    }

    /// The folder with the key files.
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// The key file of a role.
    pub fn key(&self, role: &str) -> PathBuf {
        self.keys().join(format!("{role}.key"))
    }

    /// The folder with certificates.
    pub fn tls(&self) -> PathBuf {
        self.path.join("tls")
    }

    /// The certificate of the device CA.
    pub fn device_ca(&self) -> PathBuf {
        self.tls().join("device-ca.pem")
    }

    /// The folder with the trust files.
    pub fn trust(&self) -> PathBuf {
        self.path.join("trust")
    }

    /// The newest root.
    pub fn root(&self) -> PathBuf {
        self.trust().join("root.json")
    }

    /// One version of the root, under the name that TUF gives it.
    pub fn root_version(&self, version: u64) -> PathBuf {
        self.trust().join(format!("{version}.root.json"))
    }

    /// The copy of one artifact name's targets.
    pub fn named_targets(&self, name: &ModelName) -> PathBuf {
        self.trust().join("targets").join(format!("{name}.json"))
    }

    /// The cache of what devices reported.
    pub fn devices(&self) -> PathBuf {
        self.path.join("devices.json")
    }

    /// What is remembered about brokers.
    pub fn broker(&self) -> PathBuf {
        self.path.join("broker.json")
    }

    /// What a running `fleet serve` says about itself.
    pub fn serve(&self) -> PathBuf {
        self.path.join("serve.json")
    }

    /// The admin socket.
    pub fn socket(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    /// A path that names the admin socket and is short enough for a socket address.
    pub fn socket_address(&self) -> Result<SocketAddress, DiskError> {
        let path = self.socket();
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(SocketAddress { path, _folder: None });
        }
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let folder = rustix::fs::open(&self.path, flags, rustix::fs::Mode::empty()).map_err(|error| DiskError::Io {
            path: self.path.clone(),
            action: "open",
            source: error.into(),
        })?;
        let path = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&folder).to_string());
        Ok(SocketAddress { path: path.join("admin.sock"), _folder: Some(folder) })
    }
}

/// Where the admin socket is bound or connected to; keep it until that is done.
#[derive(Debug)]
pub struct SocketAddress {
    path: PathBuf,
    // A long path goes through /proc/self/fd, which holds as long as the folder is open.
    _folder: Option<OwnedFd>,
}

impl SocketAddress {
    /// The address as a path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_deep_folder_still_has_a_socket() {
        let temporary = tempfile::tempdir().expect("a folder");
        let deep = temporary.path().join("d".repeat(120));
        runtime_disk::create_folder(&deep).expect("a deep folder");
        let folder = FleetFolder::new(&deep);
        let address = folder.socket_address().expect("an address");
        assert!(address.path().as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        let _listener = UnixListener::bind(address.path()).expect("a socket");
        assert!(folder.socket().exists(), "the socket lies in the folder");
        let again = folder.socket_address().expect("an address");
        UnixStream::connect(again.path()).expect("a connection");
    }
}
