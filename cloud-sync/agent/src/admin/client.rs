//! A command's side of the admin socket. Blocks.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use runtime_console::{ExitCode, Failure};
use serde::de::DeserializeOwned;

use super::message::{ADMIN_SCHEMA, Answered, Asked, LINE_BYTES_MAX, Outcome, Request, line};
use crate::folder::AgentFolder;

/// A connection to the agent that runs in a folder.
pub(crate) struct AdminClient {
    stream: UnixStream,
}

impl AdminClient {
    /// Connects; `None` when no agent runs in `folder`.
    pub(crate) fn connect(folder: &AgentFolder) -> Result<Option<AdminClient>, Failure> {
        let path = folder.admin_socket();
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(Some(AdminClient { stream })),
            // A socket that nobody listens on was left by an agent that died.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
            Err(error) => {
                let message = format!("failed to reach the agent at {}: {error}", path.display());
                Err(Failure::new(ExitCode::Unreachable, message).with_hint("run the command as the agent's own user"))
            }
        }
    }

    /// Asks one thing and waits for the answer.
    pub(crate) fn ask<T: DeserializeOwned>(mut self, request: Request) -> Result<T, Failure> {
        let unreachable = |what: &str| Failure::new(ExitCode::Unreachable, format!("failed to ask the agent: {what}"));
        let bytes = line(&Asked { schema: ADMIN_SCHEMA, request });
        if bytes.len() > LINE_BYTES_MAX {
            let message = format!("the request has {} bytes, the agent takes {LINE_BYTES_MAX}", bytes.len());
            return Err(Failure::usage(message).with_hint("send large inputs to the HTTP API"));
        }
        self.stream.write_all(&bytes).map_err(|error| unreachable(&error.to_string()))?;
        let mut answer = Vec::new();
        // The answer comes from a process of the same user, and is bounded all the same.
        let limited = (&self.stream).take(LINE_BYTES_MAX as u64);
        BufReader::new(limited).read_until(b'\n', &mut answer).map_err(|error| unreachable(&error.to_string()))?;
        if answer.is_empty() {
            return Err(unreachable("it closed the connection").with_hint("see the agent's log"));
        }
        let answered: Answered = serde_json::from_slice(&answer).map_err(|error| unreachable(&error.to_string()))?;
        if answered.schema != ADMIN_SCHEMA {
            return Err(unreachable(&format!("it answers in version {}, expected {ADMIN_SCHEMA}", answered.schema))
                .with_hint("use the edge-agent program that runs as the agent"));
        }
        match answered.outcome {
            Outcome::Reply(value) => serde_json::from_value(value).map_err(|error| unreachable(&error.to_string())),
            Outcome::Failed(failed) => Err(failed.into()),
        }
    }
}
