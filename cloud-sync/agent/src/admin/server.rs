//! The agent's side of the admin socket.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runtime_console::Failure;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use super::message::{ADMIN_SCHEMA, Answered, Asked, Failed, LINE_BYTES_MAX, Outcome, Request, line};

/// Requests at the same time; each may hold a line of the largest size.
const CONNECTIONS_MAX: usize = 8;
/// Time for a peer to send its line, and to take its answer.
const LINE_TIME_MAX: Duration = Duration::from_secs(30);
/// Wait after a failed accept, for example when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Only the agent's own user.
const SOCKET_MODE: u32 = 0o600;

/// What answers requests.
pub(crate) trait AdminService: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Request) -> impl Future<Output = Result<serde_json::Value, Failure>> + Send;
}

/// Listens on `path` until `shutdown` holds true. The caller holds the folder's lock, so that whatever lies at
/// `path` was left by an agent that died.
pub(crate) fn serve<S: AdminService>(
    path: &Path,
    service: Arc<S>,
    mut shutdown: watch::Receiver<bool>,
) -> std::io::Result<()> {
    if let Err(error) = runtime_disk::remove_file(path)
        && !error.is_not_found()
    {
        return Err(std::io::Error::other(error.to_string()));
    }
    let listener = UnixListener::bind(path)?;
    // Whoever connects in between is still asked who it is.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let service = service.clone();
            tokio::spawn(async move {
                if let Err(error) = converse(stream, service.as_ref()).await {
                    tracing::debug!(%error, "a conversation on the admin socket ended");
                }
                drop(place);
            });
        }
    });
    Ok(())
}

async fn converse<S: AdminService>(mut stream: UnixStream, service: &S) -> std::io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    let outcome = if peer == own || peer == 0 {
        match read(&mut stream).await? {
            Ok(request) => match service.answer(request).await {
                Ok(value) => Outcome::Reply(value),
                Err(failure) => Outcome::Failed(Failed::from(&failure)),
            },
            Err(why) => Outcome::Failed(Failed::from(&Failure::usage(why))),
        }
    } else {
        tracing::warn!(peer, own, "another user tried the admin socket");
        Outcome::Failed(Failed::from(&Failure::usage(format!("user {peer} may not: the agent runs as user {own}"))))
    };
    let answer = line(&Answered { schema: ADMIN_SCHEMA, outcome });
    tokio::time::timeout(LINE_TIME_MAX, stream.write_all(&answer)).await??;
    Ok(())
}

/// Reads the one line. The inner error is the peer's fault and is told to it.
async fn read(stream: &mut UnixStream) -> std::io::Result<Result<Request, String>> {
    let mut bytes = Vec::new();
    let mut limited = BufReader::new(stream.take(LINE_BYTES_MAX as u64 + 1));
    tokio::time::timeout(LINE_TIME_MAX, limited.read_until(b'\n', &mut bytes)).await??;
    if bytes.len() > LINE_BYTES_MAX {
        return Ok(Err(format!("the line is longer than {LINE_BYTES_MAX} bytes")));
    }
    let asked: Asked = match serde_json::from_slice(&bytes) {
        Ok(asked) => asked,
        Err(error) => return Ok(Err(format!("the line is no request: {error}"))),
    };
    if asked.schema != ADMIN_SCHEMA {
        return Ok(Err(format!("the request has version {}, expected {ADMIN_SCHEMA}", asked.schema)));
    }
    Ok(Ok(asked.request))
}
