//! The decisions of one fetch, without the link: what to send next, what to wait for, what to give up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cloud_sync_protocol::Request;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::FetchSettings;
use super::window::{Patience, Window};
use crate::backoff::Backoff;
use crate::carrier::{FetchReport, NotFetched};

/// One request's way so far.
struct Wanted {
    request: Request,
    backoff: Backoff,
    attempts: u32,
    wrong: u32,
    not_found: u32,
}

struct Flight {
    index: usize,
    sent: Instant,
    deadline: Instant,
    /// Still counts against the window; false once its time was over, while its answer is still welcome.
    awaited: bool,
}

/// One fetch: every request is fresh, on the way, waiting to be asked again, or finished.
pub(super) struct Run {
    settings: FetchSettings,
    wanted: BTreeMap<usize, Wanted>,
    fresh: VecDeque<usize>,
    again: BTreeSet<(Instant, usize)>,
    flights: BTreeMap<u64, Flight>,
    window: Window,
    patience: Patience,
    report: FetchReport,
}

impl Run {
    pub(super) fn new(requests: Vec<Request>, settings: FetchSettings) -> Self {
        let mut seen = BTreeSet::new();
        let wanted: BTreeMap<usize, Wanted> = requests
            .into_iter()
            .filter(|request| seen.insert(request.subject()))
            .map(|request| Wanted {
                request,
                backoff: Backoff::new(settings.backoff),
                attempts: 0,
                wrong: 0,
                not_found: 0,
            })
            .enumerate()
            .collect();
        Self {
            settings,
            fresh: wanted.keys().copied().collect(),
            wanted,
            again: BTreeSet::new(),
            flights: BTreeMap::new(),
            window: Window::new(settings.window_max),
            patience: Patience::new(settings.first_patience),
            report: FetchReport::default(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(super) fn report(self) -> FetchReport {
        FetchReport { window_min: self.window.size_min_seen(), ..self.report }
    }

    /// An answer that nobody waits for.
    pub(super) fn duplicate(&mut self) {
        self.report.duplicates += 1;
    }

    fn awaited(&self) -> usize {
        self.flights.values().filter(|flight| flight.awaited).count()
    }

    pub(super) fn next_to_send(&mut self) -> Option<Request> {
        if self.awaited() >= self.window.size() {
            return None;
        }
        let now = Instant::now();
        let index = match self.again.first() {
            Some(&(due, index)) if due <= now => {
                self.again.pop_first();
                index
            }
            _ => self.fresh.pop_front()?,
        };
        // sent() looks the request up again by its place at the front.
        self.fresh.push_front(index);
        Some(self.wanted[&index].request)
    }

    pub(super) fn sent(&mut self, request: Request, number: u64) {
        let index = self.fresh.pop_front().expect("next_to_send put it there");
        let wanted = self.wanted.get_mut(&index).expect("only wanted requests are queued");
        debug_assert_eq!(wanted.request, request);
        wanted.attempts += 1;
        let sent = Instant::now();
        let deadline = sent + self.patience.wait(wanted.attempts);
        self.flights.insert(number, Flight { index, sent, deadline, awaited: true });
        self.report.requests += 1;
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let flights = self.flights.values().filter(|flight| flight.awaited).map(|flight| flight.deadline).min();
        let room = self.awaited() < self.window.size();
        let again = self.again.first().map(|(due, _)| *due).filter(|_| room);
        flights.into_iter().chain(again).min()
    }

    pub(super) fn open_request(&self, number: u64) -> Option<Request> {
        let flight = self.flights.get(&number)?;
        self.wanted.get(&flight.index).map(|wanted| wanted.request)
    }

    pub(super) fn taken(&mut self, number: u64, bytes: u64) {
        let flight = self.flights.remove(&number).expect("open_request found it");
        let wanted = &self.wanted[&flight.index];
        if wanted.attempts == 1 {
            // Of a repeated request nobody knows which copy was answered (RFC 6298, Karn's rule).
            self.patience.measured(flight.sent.elapsed());
        }
        self.window.answered();
        self.report.taken += 1;
        self.report.taken_bytes += bytes;
        self.finish(flight.index);
    }

    /// Forgets a request and all that is still on the way for it.
    fn finish(&mut self, index: usize) {
        self.wanted.remove(&index);
        self.flights.retain(|_, flight| flight.index != index);
        self.again.retain(|(_, other)| *other != index);
        self.fresh.retain(|other| *other != index);
    }

    /// Asks again after a wait, or gives up for `reason` when `give_up` says so.
    fn retry(
        &mut self,
        number: u64,
        wait_min: Duration,
        random: &mut ChaCha8Rng,
        give_up: impl FnOnce(&mut Wanted) -> Option<NotFetched>,
    ) {
        let Some(flight) = self.flights.remove(&number) else { return };
        let Some(wanted) = self.wanted.get_mut(&flight.index) else { return };
        if let Some(why) = give_up(wanted) {
            self.report.not_fetched.push((wanted.request.subject(), why));
            self.finish(flight.index);
        } else if flight.awaited {
            let wait = wanted.backoff.wait(random).max(wait_min);
            self.again.insert((Instant::now() + wait, flight.index));
        }
    }

    pub(super) fn wrong(&mut self, number: u64, why: String, random: &mut ChaCha8Rng) {
        let wrong_max = self.settings.wrong_max;
        self.retry(number, Duration::ZERO, random, |wanted| {
            wanted.wrong += 1;
            (wanted.wrong >= wrong_max).then_some(NotFetched::Wrong(why))
        });
    }

    pub(super) fn not_found(&mut self, number: u64, random: &mut ChaCha8Rng) {
        let not_found_max = self.settings.not_found_max;
        self.retry(number, Duration::ZERO, random, |wanted| {
            wanted.not_found += 1;
            (wanted.not_found >= not_found_max).then_some(NotFetched::NotFound)
        });
    }

    pub(super) fn no_answer(&mut self, number: u64, wait_min: Duration, random: &mut ChaCha8Rng) {
        let attempts_max = self.settings.attempts_max;
        self.retry(number, wait_min, random, |wanted| {
            (wanted.attempts >= attempts_max).then_some(NotFetched::NoAnswer)
        });
    }

    pub(super) fn busy(&mut self, number: u64, next_number: u64, wait_min: Duration, random: &mut ChaCha8Rng) {
        self.window.trouble(number, next_number);
        self.no_answer(number, wait_min, random);
    }

    /// The broker dropped a message for its quota. It does not say which: every request on the way keeps waiting.
    pub(super) fn quota_exceeded(&mut self, next_number: u64) {
        let newest = self.flights.keys().next_back().copied().unwrap_or(next_number);
        self.window.trouble(newest, next_number);
    }

    /// Requests whose time is over: asked again, or given up. A late answer is still welcome until then.
    pub(super) fn expire(&mut self, next_number: u64, random: &mut ChaCha8Rng) {
        let now = Instant::now();
        let late: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.awaited && flight.deadline <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.window.trouble(number, next_number);
            let flight = self.flights.get_mut(&number).expect("it was just listed");
            let wanted = self.wanted.get_mut(&flight.index).expect("finish removes the flights of a request");
            if wanted.attempts >= self.settings.attempts_max {
                self.report.not_fetched.push((wanted.request.subject(), NotFetched::NoAnswer));
                let index = flight.index;
                self.finish(index);
                continue;
            }
            flight.awaited = false;
            self.again.insert((now + wanted.backoff.wait(random), flight.index));
        }
    }

    /// The connection ended: what was on the way is asked again without counting as an attempt.
    pub(super) fn lost_connection(&mut self) {
        for flight in std::mem::take(&mut self.flights).into_values() {
            let Some(wanted) = self.wanted.get_mut(&flight.index) else { continue };
            if flight.awaited {
                wanted.attempts -= 1;
                self.fresh.push_front(flight.index);
            }
        }
    }
}
