//! One thread of the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
use std::thread::Thread;

use crate::ffi::Work;

/// Spins between two looks at whether the thread that is waited for might need this core.
const SPINS: u32 = 2_000;

/// Spins of a thread that was given back before it sleeps: some tens of microseconds.
const LINGER: u32 = 4 * SPINS;

/// What a thread and those who borrow it share.
#[derive(Debug)]
pub(crate) struct Shared {
    borrowed: AtomicBool,
    closed: AtomicBool,
    /// [`IDLE`], [`GIVEN`] or [`AT_WORK`].
    state: AtomicU8,
    work: AtomicPtr<Work>,
}

/// There is no work.
const IDLE: u8 = 0;
/// There is work, and the thread has not begun: it may still be taken back.
const GIVEN: u8 = 1;
/// The thread reads the work.
const AT_WORK: u8 = 2;

/// A thread of the pool, as those see it who borrow it.
#[derive(Debug)]
pub(crate) struct Member {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Member {
    pub(crate) fn start(number: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            borrowed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            state: AtomicU8::new(IDLE),
            work: AtomicPtr::new(std::ptr::null_mut()),
        });
        let own = shared.clone();
        let handle = std::thread::Builder::new().name(format!("cask-{number}")).spawn(move || live(&own))?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Takes the thread for a team and wakes it; `false` when another team has it.
    pub(crate) fn borrow(&self) -> bool {
        let taken = self.shared.borrowed.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if taken {
            self.thread.unpark();
        }
        taken
    }

    pub(crate) fn give_back(&self) {
        self.shared.borrowed.store(false, Ordering::Release);
    }

    /// Gives the thread work. The caller has borrowed it, and calls [`Self::take_back`] before `work` goes away.
    pub(crate) fn give(&self, work: *mut Work) {
        self.shared.work.store(work, Ordering::Relaxed);
        self.shared.state.store(GIVEN, Ordering::Release);
    }

    /// Takes the work back from a thread that has not begun it; waits for one that has.
    ///
    /// A thread that finds no core in time, on a machine that is busy, so costs its team nothing.
    pub(crate) fn take_back(&self) {
        let state = &self.shared.state;
        let mut spins = 0;
        while state.compare_exchange(GIVEN, IDLE, Ordering::Acquire, Ordering::Acquire) == Err(AT_WORK) {
            pause(&mut spins);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Waits a moment without sleeping, but lets others run when it takes long.
fn pause(spins: &mut u32) {
    *spins += 1;
    if spins.is_multiple_of(SPINS) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

/// The life of a thread: sleep, spin while borrowed, work.
fn live(shared: &Shared) {
    let mut spins = 0;
    loop {
        if shared.state.compare_exchange(GIVEN, AT_WORK, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            crate::ffi::join(&shared.work);
            shared.state.store(IDLE, Ordering::Release);
            spins = 0;
        } else if shared.closed.load(Ordering::Acquire) {
            return;
        } else if shared.borrowed.load(Ordering::Acquire) {
            pause(&mut spins);
            spins %= SPINS;
        } else if spins < LINGER {
            // The next run often begins at once, and waking takes longer than a small one.
            pause(&mut spins);
        } else {
            // Woken by `borrow`; woken for nothing does no harm.
            std::thread::park();
            spins = 0;
        }
    }
}
