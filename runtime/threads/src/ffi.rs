//! The one place where a thread reads what another one's stack holds.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::member::Member;

/// Work that lies on the stack of [`share`], which returns only when no thread reads it any more.
#[derive(Debug)]
pub(crate) struct Work {
    /// Calls `share`'s work for every part that is left, as thread `usize` of the team.
    run: unsafe fn(*const (), usize),
    /// `share`'s `Parts`.
    parts: *const (),
    /// The next thread's number; the caller is 0.
    thread: AtomicUsize,
}

/// Everything that the threads of one call share.
struct Parts<'a, S, T, W> {
    owns: *mut S,
    output: *mut T,
    elements: usize,
    length: usize,
    next: AtomicUsize,
    work: &'a W,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

/// [`Team::share`](crate::Team::share) for more than one thread: `owns` has one element a member and one for the caller.
pub(crate) fn share<'a, S: Send, T: Send, W: Fn(&mut S, usize, &mut [T]) + Sync>(
    members: impl Iterator<Item = &'a Member> + Clone,
    owns: &mut [S],
    output: &mut [T],
    length: usize,
    work: &W,
) {
    let parts = Parts {
        owns: owns.as_mut_ptr(),
        output: output.as_mut_ptr(),
        elements: output.len(),
        length,
        next: AtomicUsize::new(0),
        work,
        panic: Mutex::new(None),
    };
    let mut given = Work { run: run::<S, T, W>, parts: (&raw const parts).cast(), thread: AtomicUsize::new(1) };
    let pointer = &raw mut given;
    members.clone().for_each(|member| member.give(pointer));
    // SAFETY: `parts` lives until this function returns; thread 0 is the caller, and no member gets that number.
    unsafe { run::<S, T, W>((&raw const parts).cast(), 0) };
    // No panic can leave before: `run` catches those of `work`.
    members.for_each(Member::take_back);
    if let Some(panic) = parts.panic.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        resume_unwind(panic);
    }
}

/// Does what the pointer names, as a member of the team.
pub(crate) fn join(work: &AtomicPtr<Work>) {
    let work = work.load(Ordering::Relaxed);
    // SAFETY: a member is here only between `give` and the end of `take_back`, and `share` keeps the work alive that long.
    unsafe {
        let thread = (*work).thread.fetch_add(1, Ordering::Relaxed);
        ((*work).run)((*work).parts, thread);
    }
}

/// Does parts until none is left.
///
/// `parts` points to a living `Parts<S, T, W>`, and no other thread has the number `thread`, which is below the number
/// of owns.
unsafe fn run<S: Send, T: Send, W: Fn(&mut S, usize, &mut [T]) + Sync>(parts: *const (), thread: usize) {
    // SAFETY: the caller's promise. Owns are not shared between threads: each has its own number.
    let (parts, own) = unsafe {
        let parts = &*parts.cast::<Parts<'_, S, T, W>>();
        (parts, &mut *parts.owns.add(thread))
    };
    let all = catch_unwind(AssertUnwindSafe(|| {
        loop {
            let number = parts.next.fetch_add(1, Ordering::Relaxed);
            let Some(first) = number.checked_mul(parts.length).filter(|&first| first < parts.elements) else { return };
            let length = parts.length.min(parts.elements - first);
            // SAFETY: inside of the output, and no other thread has this number.
            let part = unsafe { std::slice::from_raw_parts_mut(parts.output.add(first), length) };
            (parts.work)(own, number, part);
        }
    }));
    if let Err(panic) = all {
        parts.next.store(usize::MAX / 2, Ordering::Relaxed);
        *parts.panic.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(panic);
    }
}
