//! One pool of threads for every model.
//!
//! A run borrows a [`Team`] for as long as it lasts: the caller and as many of the pool's threads as it may have and
//! are free. Between the steps of a run the team's threads spin, because a step is shorter than waking a thread; when
//! the run ends they sleep again. Sharing out work locks nothing and allocates nothing.
//!
//! A team that finds no free thread is the caller alone, so that many small models on a small machine never wait for
//! each other.
#![deny(unsafe_code)]

mod ffi;
mod member;

use std::sync::OnceLock;

use member::Member;

/// Threads that teams are made of, the callers' own not counted.
#[derive(Debug)]
pub struct Pool {
    members: Vec<Member>,
}

/// Threads that one team may have beside the caller.
const TEAM_MAX: usize = 63;

/// The caller and the threads that it has borrowed. They are given back when this is dropped.
#[derive(Debug)]
pub struct Team<'a> {
    pool: &'a [Member],
    /// Which members of the pool it has.
    positions: [u16; TEAM_MAX],
    count: usize,
}

impl Pool {
    /// A team of at most `limit` threads, the caller counted, from the pool of this process, which has one thread less
    /// than the machine. A team of one starts no thread: a device that runs on one has no others.
    pub fn shared_team(limit: usize) -> Team<'static> {
        static SHARED: OnceLock<Pool> = OnceLock::new();
        if limit <= 1 {
            return Team::of(&[], limit);
        }
        SHARED.get_or_init(|| Pool::new(Self::cores().saturating_sub(1))).team(limit)
    }

    /// Threads of the largest team that this machine can use, the caller counted.
    pub fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }

    /// A pool of `threads` threads; fewer where the operating system gives no more.
    pub fn new(threads: usize) -> Self {
        let members = (0..threads.min(usize::from(u16::MAX))).map_while(|number| Member::start(number).ok()).collect();
        Self { members }
    }

    /// A team of at most `limit` threads, the caller counted.
    pub fn team(&self, limit: usize) -> Team<'_> {
        Team::of(&self.members, limit)
    }
}

impl Drop for Team<'_> {
    fn drop(&mut self) {
        self.members().for_each(Member::give_back);
    }
}

impl<'a> Team<'a> {
    /// The caller and the free ones of `pool`.
    fn of(pool: &'a [Member], limit: usize) -> Self {
        let mut team = Self { pool, positions: [0; TEAM_MAX], count: 0 };
        for (position, member) in pool.iter().enumerate() {
            if team.size() >= limit || team.count == TEAM_MAX {
                break;
            }
            if member.borrow() {
                // Not more members than a u16 counts.
                team.positions[team.count] = position as u16;
                team.count += 1;
            }
        }
        team
    }

    fn members(&self) -> impl Iterator<Item = &Member> + Clone {
        self.positions[..self.count].iter().map(|&position| &self.pool[usize::from(position)])
    }

    /// Threads, the caller counted.
    pub fn size(&self) -> usize {
        self.count + 1
    }

    /// Cuts `output` into parts of `length` elements (the last may be shorter) and calls
    /// `work(own, number, part)` for each, on every thread of the team, each with an `own` of its own.
    ///
    /// Returns when all parts are done. Parts go to whichever thread is free. A panic in `work` is the caller's when all
    /// threads have stopped.
    ///
    /// Panics when there are fewer `owns` than threads, or `length` is 0.
    pub fn share<S: Send, T: Send>(
        &self,
        owns: &mut [S],
        output: &mut [T],
        length: usize,
        work: impl Fn(&mut S, usize, &mut [T]) + Sync,
    ) {
        assert!(length > 0 && owns.len() >= self.size(), "an own for every thread, and parts that are not empty");
        if self.size() == 1 || output.len() <= length {
            for (number, part) in output.chunks_mut(length).enumerate() {
                work(&mut owns[0], number, part);
            }
            return;
        }
        ffi::share(self.members(), owns, output, length, &work);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_part_is_done_once_and_every_thread_has_its_own() {
        let pool = Pool::new(3);
        for size in [1, 2, 4, 9] {
            let team = pool.team(size);
            assert_eq!(team.size(), size.min(4));
            let mut owns = vec![0usize; team.size()];
            for length in [1, 7, 100, 1_000] {
                let mut output = vec![0usize; 1_000];
                team.share(&mut owns, &mut output, length, |own, number, part| {
                    *own += 1;
                    for (index, place) in part.iter_mut().enumerate() {
                        *place += number * length + index + 1;
                    }
                });
                assert!(output.iter().enumerate().all(|(index, &value)| value == index + 1), "{size} {length}");
            }
            let parts: usize = owns.iter().sum();
            assert_eq!(parts, 1_000 + 143 + 10 + 1);
        }
    }

    #[test]
    fn threads_are_borrowed_once_and_given_back() {
        let pool = Pool::new(2);
        let first = pool.team(2);
        let second = pool.team(5);
        let third = pool.team(5);
        assert_eq!([first.size(), second.size(), third.size()], [2, 2, 1]);
        drop(first);
        assert_eq!(pool.team(5).size(), 2);
    }

    #[test]
    fn a_panic_is_the_callers_and_the_team_goes_on() {
        let pool = Pool::new(1);
        let team = pool.team(2);
        let mut output = vec![0; 64];
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            team.share(&mut [(), ()], &mut output, 1, |(), number, _| assert!(number != 40, "on purpose"));
        }));
        assert!(broken.is_err());
        let done = AtomicUsize::new(0);
        team.share(&mut [(), ()], &mut output, 1, |(), _, _| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 64);
    }

    #[test]
    fn many_runs_in_turn_and_teams_beside_each_other() {
        let pool = Pool::new(2);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let team = pool.team(2);
                        let mut owns = vec![0u64; team.size()];
                        let mut output = vec![0u64; 32];
                        for _ in 0..20 {
                            team.share(&mut owns, &mut output, 4, |own, _, part| {
                                *own += 1;
                                part.iter_mut().for_each(|place| *place += 1);
                            });
                        }
                        assert_eq!(output, [20; 32]);
                    }
                });
            }
        });
    }
}
