//! The agent's folder, and what a stranger may find in it.

use std::path::{Path, PathBuf};

use cloud_sync_protocol::Enrolment;
use cloud_sync_protocol::limits::ENROLMENT_BYTES_MAX;
use runtime_console::{Classified, ExitCode};
use runtime_disk::DiskError;
use serde::Serialize;

/// Where an agent keeps everything. The store's files lie in it, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentFolder {
    path: PathBuf,
}

/// `agent.json`: how to talk to the agent that runs in this folder. Gone when none runs.
#[derive(Debug, Serialize)]
struct Running {
    /// Format version: 1.
    schema: u32,
    /// The process.
    pid: u32,
    /// Where the inference API listens on TCP.
    http: Option<String>,
}

/// The folder's files cannot be used. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// Nobody enrolled this folder.
    #[error("find {}: this folder was never enrolled", .0.display())]
    NotEnrolled(PathBuf),
    /// The enrolment file is none.
    #[error("read {}: {message}", path.display())]
    Enrolment {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classified for FolderError {
    fn exit_code(&self) -> ExitCode {
        match self {
            FolderError::NotEnrolled(_) | FolderError::Enrolment { .. } => ExitCode::Usage,
            FolderError::Disk(DiskError::NoSpace { .. } | DiskError::InUse { .. }) => ExitCode::NoRoom,
            FolderError::Disk(_) => ExitCode::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            FolderError::NotEnrolled(_) => Some(
                "run `edge-agent enroll FILE` with the file that `fleet device enroll` made for this device".into(),
            ),
            FolderError::Enrolment { .. } => {
                Some("`fleet device enroll NAME --out FILE` on the operator's machine makes a new one".into())
            }
            FolderError::Disk(_) => None,
        }
    }
}

impl AgentFolder {
    /// The folder at `path`; nothing is read or made yet.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        AgentFolder { path: path.into() }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The enrolment file; it holds the device's private key.
    pub(crate) fn enrolment_file(&self) -> PathBuf {
        self.path.join("enrolment.json")
    }

    /// The admin socket.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    /// The inference API's socket.
    pub(crate) fn api_socket(&self) -> PathBuf {
        self.path.join("api.sock")
    }

    /// How to talk to the agent that runs here.
    pub(crate) fn running_file(&self) -> PathBuf {
        self.path.join("agent.json")
    }

    /// The enrolment, if this folder was enrolled.
    pub(crate) fn enrolment(&self) -> Result<Enrolment, FolderError> {
        let path = self.enrolment_file();
        let bytes = match runtime_disk::read_bounded(&path, ENROLMENT_BYTES_MAX as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Err(FolderError::NotEnrolled(path)),
            Err(error) => return Err(error.into()),
        };
        Enrolment::decode(&bytes).map_err(|error| FolderError::Enrolment { path, message: error.to_string() })
    }

    /// Says how to talk to this process.
    pub(crate) fn write_running(&self, http: Option<String>) -> Result<(), DiskError> {
        let running = Running { schema: 1, pid: std::process::id(), http };
        let mut bytes = serde_json::to_vec(&running).expect("numbers and strings serialize to JSON");
        bytes.push(b'\n');
        runtime_disk::write_atomic(&self.running_file(), &bytes)
    }
}
