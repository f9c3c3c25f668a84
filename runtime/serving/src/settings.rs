//! Where the API listens, and why it may not.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::limits::ServingLimits;

/// Where to listen and within which limits.
#[derive(Clone, Debug, Default)]
pub struct ServingSettings {
    /// A loopback address; port 0 takes a free one.
    pub http: Option<SocketAddr>,
    /// Path of a Unix socket, made with mode 0660.
    pub unix: Option<PathBuf>,
    /// Limits of the API.
    pub limits: ServingLimits,
}

/// Why the API cannot listen. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// The address can be reached from other machines.
    #[error("listen on {address}: it is no loopback address; the API has no login, use 127.0.0.1 or a Unix socket")]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be taken.
    #[error("listen on {address}: {source}; set another http.listen, or port 0 for a free port")]
    Address {
        /// The address asked for.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Another process listens on the socket.
    #[error("listen on {path}: another process answers there", path = path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path is there and is no socket.
    #[error("listen on {path}: there is something that is no socket; it is left alone", path = path.display())]
    NoSocket {
        /// The path asked for.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("listen on {path}: {reason}", path = path.display())]
    Socket {
        /// The path asked for.
        path: PathBuf,
        /// The system's answer.
        reason: String,
    },
    /// There is no async runtime to listen in.
    #[error("listen: there is no tokio runtime")]
    NoRuntime,
}
