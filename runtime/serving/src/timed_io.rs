//! A connection with a clock: cuts clients that are slow with a request's head, idle for too long, or do not take
//! their reply. Slow bodies are cut where bodies are read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::limits::ServingLimits;

const WAITING_FOR_FIRST: u8 = 0;
const IN_HEAD: u8 = 1;
const ANSWERING: u8 = 2;
const IDLE: u8 = 3;

/// Which part of a request a connection is in; shared with whoever answers its requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase(Arc<AtomicU8>);

impl Phase {
    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }

    /// A request's head is complete.
    pub(crate) fn answering(&self) {
        self.set(ANSWERING);
    }

    /// The reply is on its way; what comes next is another request.
    pub(crate) fn answered(&self) {
        self.set(IDLE);
    }
}

/// Told to a client whose head took too long, if it still listens.
const SLOW_HEAD: &str = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n\
    content-length: 61\r\n\r\n{\"error\":\"the request's head took too long\",\"code\":\"timeout\"}";

/// A stream with deadlines.
#[derive(Debug)]
pub(crate) struct TimedIo<Stream> {
    stream: Stream,
    phase: Phase,
    limits: ServingLimits,
    /// The phase for which `read_by` was set.
    timed_phase: Option<u8>,
    read_by: Pin<Box<Sleep>>,
    write_by: Option<Pin<Box<Sleep>>>,
}

impl<Stream> TimedIo<Stream> {
    pub(crate) fn new(stream: Stream, phase: Phase, limits: ServingLimits) -> Self {
        let read_by = Box::pin(tokio::time::sleep(limits.head_time_max));
        Self { stream, phase, limits, timed_phase: Some(WAITING_FOR_FIRST), read_by, write_by: None }
    }

    fn read_time_max(&self, phase: u8) -> Option<Duration> {
        match phase {
            WAITING_FOR_FIRST | IN_HEAD => Some(self.limits.head_time_max),
            IDLE => Some(self.limits.idle_time_max),
            _ => None,
        }
    }

    /// Polls the clock of the phase that the connection is in.
    fn poll_read_time(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let phase = self.phase.get();
        let Some(time_max) = self.read_time_max(phase) else {
            self.timed_phase = None;
            return Poll::Pending;
        };
        if self.timed_phase != Some(phase) {
            self.timed_phase = Some(phase);
            self.read_by.as_mut().reset(Instant::now() + time_max);
        }
        self.read_by.as_mut().poll(context)
    }

    /// Polls the clock of a write that makes no progress.
    fn poll_write_time(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let time_max = self.limits.write_pause_max;
        self.write_by.get_or_insert_with(|| Box::pin(tokio::time::sleep(time_max))).as_mut().poll(context)
    }

    fn written<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_by = None;
            return result;
        }
        self.poll_write_time(context)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its reply")))
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> AsyncRead for TimedIo<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(context, buffer);
        if result.is_ready() {
            let phase = this.phase.get();
            if buffer.filled().len() > before && (phase == WAITING_FOR_FIRST || phase == IDLE) {
                this.phase.set(IN_HEAD);
            }
            return result;
        }
        if this.poll_read_time(context).is_pending() {
            return Poll::Pending;
        }
        if this.phase.get() == IN_HEAD {
            // One try: a client that is not ready to read has lost its right to be told.
            let _ = Pin::new(&mut this.stream).poll_write(context, SLOW_HEAD.as_bytes());
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends nothing")))
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedIo<Stream> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_flush(context);
        this.written(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_shutdown(context);
        this.written(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canned_reply_has_the_length_that_it_says() {
        let (head, body) = SLOW_HEAD.split_once("\r\n\r\n").expect("head and body");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
