//! Listens on a loopback address and on a Unix socket, bounds connections, and stops without cutting replies.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime_inference::Inference;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::body::Budget;
use crate::limits::ServingLimits;
use crate::service::{App, Reached, answer};
use crate::settings::{ServingError, ServingSettings};
use crate::timed_io::{Phase, TimedIo};

/// Wait after a failed accept, for example when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// File mode of the Unix socket.
const SOCKET_MODE: u32 = 0o660;
/// Told to a client that finds every connection taken.
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
    content-type: application/json\r\ncontent-length: 46\r\n\r\n{\"error\":\"too many connections\",\"code\":\"busy\"}";

/// An API that listens.
#[derive(Debug)]
pub struct Serving {
    /// The address that is really listened on, with the port that the system chose.
    pub http_address: Option<SocketAddr>,
    /// The Unix socket.
    pub unix_path: Option<PathBuf>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Waits until the API stopped: after `shutdown` turned true, running requests were answered or their time was
    /// over.
    pub async fn stopped(self) {
        // The task ends by itself; it is never aborted.
        let _ = self.task.await;
    }
}

/// Starts to listen and returns. The API answers with what `inference` has at the moment of each request, and stops
/// when `shutdown` holds true or its sender is gone. Must be called inside a tokio runtime.
pub fn serve(
    settings: ServingSettings,
    inference: Arc<Inference>,
    shutdown: watch::Receiver<bool>,
) -> Result<Serving, ServingError> {
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| ServingError::NoRuntime)?;
    let limits = settings.limits;
    let app = Arc::new(App { inference, limits, budget: Budget::new(&limits) });
    let tcp = settings.http.map(bind_tcp).transpose()?;
    let unix = settings.unix.as_deref().map(bind_unix).transpose()?;
    let http_address = tcp.as_ref().map(|(_, address)| *address);
    let unix_path = settings.unix;
    let socket = unix_path.clone();
    let task = runtime.spawn(async move {
        let over_tcp = async {
            if let Some((listener, _)) = tcp {
                accept(&listener, &app, Reached::Tcp, shutdown.clone()).await;
            }
        };
        let over_unix = async {
            if let Some(listener) = unix {
                accept(&listener, &app, Reached::Unix, shutdown.clone()).await;
            }
        };
        tokio::join!(over_tcp, over_unix);
        if let Some(path) = socket {
            // A socket left behind is taken over by the next start.
            let _ = runtime_disk::remove_file(&path);
        }
    });
    Ok(Serving { http_address, unix_path, task })
}

fn bind_tcp(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServingError> {
    if !address.ip().is_loopback() {
        return Err(ServingError::NotLoopback { address });
    }
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bind().map_err(|source| ServingError::Address { address, source })
}

/// Makes the socket under another name, sets its mode, then puts it in place: at no moment is there a socket with a
/// wider mode, and a socket that a killed process left is replaced.
fn bind_unix(path: &Path) -> Result<UnixListener, ServingError> {
    let wrong = |reason: String| ServingError::Socket { path: path.to_owned(), reason };
    check_leftover(path)?;
    let mut name = path.file_name().ok_or_else(|| wrong("it is no file name".to_owned()))?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let fresh = path.with_file_name(name);
    if runtime_disk::exists(&fresh).map_err(|error| wrong(error.to_string()))? {
        runtime_disk::remove_file(&fresh).map_err(|error| wrong(error.to_string()))?;
    }
    let bind = || {
        let listener = std::os::unix::net::UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    };
    let listener = bind().map_err(|error| wrong(error.to_string()))?;
    runtime_disk::rename_durable(&fresh, path).map_err(|error| wrong(error.to_string()))?;
    Ok(listener)
}

fn check_leftover(path: &Path) -> Result<(), ServingError> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ServingError::NoSocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ServingError::InUse { path: path.to_owned() }),
        Err(_) => Ok(()),
    }
}

/// A listener of either kind.
trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    async fn next(&self) -> io::Result<Self::Stream>;

    /// Says that all connections are taken, if the client can be told at once.
    fn refuse(stream: &Self::Stream);
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn refuse(stream: &TcpStream) {
        let _ = stream.try_write(BUSY.as_bytes());
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }

    fn refuse(stream: &UnixStream) {
        let _ = stream.try_write(BUSY.as_bytes());
    }
}

async fn accept<Listener: Accept>(
    listener: &Listener,
    app: &Arc<App>,
    reached: Reached,
    mut shutdown: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(app.limits.connections_max.max(1)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.next() => accepted,
            () = stopping(&mut shutdown) => break,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            Listener::refuse(&stream);
            continue;
        };
        let (app, shutdown) = (app.clone(), shutdown.clone());
        connections.spawn(async move {
            connection(stream, app, reached, shutdown).await;
            drop(place);
        });
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(app.limits.stop_time_max, all).await.is_err() {
        tracing::warn!("requests that still run are given up");
        connections.shutdown().await;
    }
}

/// Returns when the server should stop; a sender that is gone means that nobody can say so any more.
async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Arc<App>,
    reached: Reached,
    mut shutdown: watch::Receiver<bool>,
) {
    let limits: ServingLimits = app.limits;
    let phase = Phase::default();
    let io = TokioIo::new(TimedIo::new(stream, phase.clone(), limits));
    let service = service_fn(move |request| {
        let (app, phase) = (app.clone(), phase.clone());
        async move {
            phase.answering();
            let response = answer(&app, reached, request).await;
            phase.answered();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // TimedIo tells a slow head from an idle connection, which this timer does not.
        .header_read_timeout(None)
        .max_buf_size(limits.head_bytes_max.max(8192))
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut stopping_seen = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            () = stopping(&mut shutdown), if !stopping_seen => {
                stopping_seen = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canned_reply_has_the_length_that_it_says() {
        let (head, body) = BUSY.split_once("\r\n\r\n").expect("head and body");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
