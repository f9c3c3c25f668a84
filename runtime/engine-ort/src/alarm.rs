//! Ends a run at its deadline.
//!
//! One thread a session, started with the first deadline. It sleeps until the earliest deadline that it has heard of,
//! so that a request, whose deadline is nearly always later than the last one's, costs two locks and no wake-up.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ort::session::RunOptions;

/// A session's alarm.
pub(crate) struct Alarm {
    shared: Arc<Shared>,
    /// Whether a thread watches; when none could be started, a deadline is looked at before and after a run only.
    watched: bool,
}

struct Shared {
    options: RunOptions,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Of the run at work.
    deadline: Option<Instant>,
    /// When the watcher wakes by itself; `None`: not before it is told.
    wakes: Option<Instant>,
    /// Whether the run options say stop.
    rang: bool,
    closed: bool,
}

impl Alarm {
    pub(crate) fn new() -> ort::Result<Self> {
        let options = RunOptions::new()?;
        let shared = Arc::new(Shared { options, state: Mutex::default(), changed: Condvar::new() });
        Ok(Self { shared, watched: false })
    }

    /// Watches over a run until the guard is dropped.
    pub(crate) fn set(&mut self, deadline: Instant) -> ort::Result<Set<'_>> {
        if !self.watched {
            let shared = Arc::clone(&self.shared);
            self.watched =
                std::thread::Builder::new().name("ort-deadline".to_owned()).spawn(move || shared.watch()).is_ok();
        }
        let mut state = self.shared.lock();
        if state.rang {
            self.shared.options.unterminate()?;
            state.rang = false;
        }
        state.deadline = Some(deadline);
        if state.wakes.is_none_or(|wakes| deadline < wakes) {
            self.shared.changed.notify_one();
        }
        drop(state);
        Ok(Set { shared: &self.shared })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

/// A run under watch.
pub(crate) struct Set<'a> {
    shared: &'a Shared,
}

impl Set<'_> {
    /// What the run must be given, so that it can be stopped.
    pub(crate) fn options(&self) -> &RunOptions {
        &self.shared.options
    }
}

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.shared.lock().deadline = None;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            match state.deadline.filter(|_| !state.rang) {
                Some(deadline) if deadline <= now => {
                    // An error leaves the run to end by itself; the deadline is looked at again after it.
                    state.rang = self.options.terminate().is_ok();
                    state.deadline = None;
                }
                Some(deadline) => {
                    state.wakes = Some(deadline);
                    let waited = self.changed.wait_timeout(state, deadline - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    state.wakes = None;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}
