//! The socket itself: listening, asking, and the lines in between.

use std::path::PathBuf;
use std::time::Duration;

use runtime_console::{ExitCode, Failure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{ADMIN_SCHEMA, AdminError, ErrorReply, Request};
use crate::folder::FleetFolder;

/// The longest request, in bytes: two targets files of 48 KiB as JSON strings fit well.
const REQUEST_BYTES_MAX: u64 = 512 * 1024;
/// The longest reply, in bytes.
const REPLY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a client may take to send its line.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client waits for the reply.
const REPLY_PATIENCE: Duration = Duration::from_secs(60);
/// Connections that are served at a time; further ones wait.
const CALLS_WAITING_MAX: usize = 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestLine {
    schema: u32,
    request: Request,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyLine {
    schema: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReply>,
}

/// A request that arrived, and where its answer goes.
#[derive(Debug)]
pub struct AdminCall {
    /// The request.
    pub request: Request,
    /// The answer's way back.
    pub reply: oneshot::Sender<Result<serde_json::Value, Failure>>,
}

/// The socket, listening. Dropping it removes the socket.
#[derive(Debug)]
pub struct AdminSocket {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl AdminSocket {
    /// Listens in `folder`, whose lock the caller holds: a socket that lies there is a leftover.
    pub fn listen(folder: &FleetFolder) -> Result<(Self, mpsc::Receiver<AdminCall>), AdminError> {
        let path = folder.socket();
        let failed = |action| {
            let path = path.clone();
            move |source: std::io::Error| AdminError::Socket { action, path, source }
        };
        if runtime_disk::exists(&path)? {
            runtime_disk::remove_file(&path)?;
        }
        let address = folder.socket_address()?;
        let listener = UnixListener::bind(address.path()).map_err(failed("listen on"))?;
        let owner_only = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::chmod(address.path(), owner_only).map_err(|error| failed("restrict")(error.into()))?;
        let (calls, receiver) = mpsc::channel(CALLS_WAITING_MAX);
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(serve(stream, calls.clone()))),
                    Err(error) => {
                        // Out of file descriptors: wait a little instead of spinning.
                        tracing::warn!(%error, "the admin socket does not accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        Ok((AdminSocket { path, task }, receiver))
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        self.task.abort();
        // A socket that stays is swept up by the next `fleet serve`.
        let _ = runtime_disk::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, calls: mpsc::Sender<AdminCall>) {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => {}
        _ => return,
    }
    let mut stream = BufReader::new(stream);
    let line = match answer(&mut stream, calls).await {
        Ok(reply) => ReplyLine { schema: ADMIN_SCHEMA, reply: Some(reply), error: None },
        Err(failure) => ReplyLine { schema: ADMIN_SCHEMA, reply: None, error: Some((&failure).into()) },
    };
    let mut bytes = serde_json::to_vec(&line).expect("a value of serde_json serializes");
    bytes.push(b'\n');
    // A client that went away gets no reply.
    let _ = stream.get_mut().write_all(&bytes).await;
}

async fn answer(
    stream: &mut BufReader<UnixStream>,
    calls: mpsc::Sender<AdminCall>,
) -> Result<serde_json::Value, Failure> {
    let read = timeout(READ_PATIENCE, read_line(stream, REQUEST_BYTES_MAX)).await;
    let bytes = read.map_err(|_| Failure::usage("the request did not arrive in time"))?.map_err(Failure::usage)?;
    let line: RequestLine = parse(&bytes).map_err(Failure::usage)?;
    let (reply, answer) = oneshot::channel();
    let ended = || Failure::new(ExitCode::Unreachable, "`fleet serve` is ending");
    calls.send(AdminCall { request: line.request, reply }).await.map_err(|_| ended())?;
    answer.await.map_err(|_| ended())?
}

/// Whether a `fleet serve` answers in `folder`: a connection to it, or none.
pub async fn connect(folder: &FleetFolder) -> Result<Option<UnixStream>, AdminError> {
    // A folder that does not exist has no socket address either.
    if !runtime_disk::exists(&folder.socket())? {
        return Ok(None);
    }
    let address = folder.socket_address()?;
    match UnixStream::connect(address.path()).await {
        Ok(stream) => Ok(Some(stream)),
        // A leftover of a `fleet serve` that was killed, or removed just now.
        Err(error) if matches!(error.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound) => {
            Ok(None)
        }
        Err(source) => Err(AdminError::Socket { action: "connect to", path: folder.socket(), source }),
    }
}

/// Sends a request over a fresh connection and waits for its reply.
pub async fn call<T: DeserializeOwned>(stream: UnixStream, request: &Request) -> Result<T, Failure> {
    let failed = |what: String| Failure::classified(&AdminError::Line(what));
    let line = RequestLine { schema: ADMIN_SCHEMA, request: request.clone() };
    let mut bytes = serde_json::to_vec(&line).expect("names, numbers and texts serialize to JSON");
    bytes.push(b'\n');
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(&bytes).await.map_err(|error| failed(error.to_string()))?;
    let read = timeout(REPLY_PATIENCE, read_line(&mut stream, REPLY_BYTES_MAX)).await;
    let bytes = read.map_err(|_| failed("no reply in time".to_owned()))?.map_err(failed)?;
    let line: ReplyLine = parse(&bytes).map_err(failed)?;
    match (line.reply, line.error) {
        (Some(reply), None) => serde_json::from_value(reply).map_err(|error| failed(error.to_string())),
        (None, Some(error)) => Err(error.into()),
        _ => Err(failed("a reply that is neither a result nor an error".to_owned())),
    }
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin), bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    let read = stream.take(bytes_max).read_until(b'\n', &mut line).await;
    read.map_err(|error| error.to_string())?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        Some(_) if line.len() as u64 + 1 >= bytes_max => Err(format!("a line of more than {bytes_max} bytes")),
        _ => Err("the connection ended before the line".to_owned()),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct OnlySchema {
        schema: u32,
    }
    let OnlySchema { schema } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if schema != ADMIN_SCHEMA {
        return Err(format!("schema {schema}, this build speaks {ADMIN_SCHEMA}"));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
