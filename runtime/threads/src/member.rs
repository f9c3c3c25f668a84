//! One thread of the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::thread::Thread;

use crate::ffi::Work;

/// Spins between two looks at whether the thread that is waited for might need this core.
const SPINS: u32 = 2_000;

/// What a thread and those who borrow it share.
#[derive(Debug)]
pub(crate) struct Shared {
    borrowed: AtomicBool,
    closed: AtomicBool,
    /// Work given and work done; they differ while the thread is at work.
    given: AtomicU64,
    done: AtomicU64,
    work: AtomicPtr<Work>,
}

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
            given: AtomicU64::new(0),
            done: AtomicU64::new(0),
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

    /// Gives the thread work. The caller has borrowed it, and waits for [`Self::wait`] before `work` goes away.
    pub(crate) fn give(&self, work: *mut Work) {
        self.shared.work.store(work, Ordering::Relaxed);
        self.shared.given.fetch_add(1, Ordering::Release);
    }

    /// Waits until the thread has done what it was given.
    pub(crate) fn wait(&self) {
        let given = self.shared.given.load(Ordering::Relaxed);
        let mut spins = 0;
        while self.shared.done.load(Ordering::Acquire) != given {
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
        let given = shared.given.load(Ordering::Acquire);
        if given != shared.done.load(Ordering::Relaxed) {
            crate::ffi::join(&shared.work);
            shared.done.store(given, Ordering::Release);
            spins = 0;
        } else if shared.closed.load(Ordering::Acquire) {
            return;
        } else if shared.borrowed.load(Ordering::Acquire) {
            pause(&mut spins);
        } else {
            // Woken by `borrow`; woken for nothing does no harm.
            std::thread::park();
        }
    }
}
