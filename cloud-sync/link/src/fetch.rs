//! Fetches objects by digest over request and reply, many at a time.
//!
//! Each request carries a number in its correlation data. An answer counts only when it repeats a number that is
//! still open, so a copy of an answer, or one that somebody made up, changes nothing. What an answer carries is
//! judged by the taker's digest check alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use cloud_sync_protocol::{DeviceId, FleetId, Offer, Reply, ReplyBody, Request, Topic, WhyDeclined};
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use runtime_trust::Digest;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::{Backoff, BackoffSettings};
use crate::carrier::{FetchError, FetchReport, NotFetched, ObjectCarrier, Take, Verdict};
use crate::error::LinkError;
use crate::handle::{Delivery, Diverted, Link, Message, Publish};
use crate::shared::LinkState;
use crate::window::{Patience, Window};

/// Bounds of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchSettings {
    /// Requests on the way at a time.
    pub window_max: usize,
    /// Times that one object is asked for without an answer before it is given up.
    pub attempts_max: u32,
    /// Wrong copies of one object before it is given up.
    pub wrong_max: u32,
    /// Answers "not found" for one object before it is given up: another server may have it already.
    pub not_found_max: u32,
    /// Time to wait for the first answer; later ones follow the measured round trip.
    pub first_patience: Duration,
    /// Time that the link may be down before the fetch ends with [`FetchError::Offline`].
    pub offline_patience: Duration,
    /// Waits before an object is asked for again.
    pub backoff: BackoffSettings,
    /// Seed of jitter and of the correlation data.
    pub seed: u64,
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            window_max: 16,
            attempts_max: 8,
            wrong_max: 3,
            not_found_max: 2,
            first_patience: Duration::from_secs(5),
            offline_patience: Duration::from_secs(60),
            backoff: BackoffSettings {
                first: Duration::from_millis(200),
                longest: Duration::from_secs(10),
                stable_after: Duration::MAX,
            },
            seed: 0,
        }
    }
}

/// Answers that wait for the fetching task: two windows, so that late copies cannot push out an awaited one.
const ANSWERS_PER_WINDOW: usize = 2;
/// The broker drops a request that it could not deliver for so long; by then it was asked again.
const REQUEST_EXPIRY: Duration = Duration::from_secs(60);

/// Fetches over a link what servers of the fleet answer. One per device connection: two would take each other's
/// answers.
#[derive(Debug)]
pub struct ChunkFetcher {
    link: Link,
    request_topic: String,
    chunk_topic: String,
    answers: Diverted,
    settings: FetchSettings,
    random: ChaCha8Rng,
    nonce: u64,
    next_number: u64,
}

impl ChunkFetcher {
    /// Subscribes to the device's reply topic and keeps its messages away from the link's events.
    pub fn new(link: &Link, fleet: &FleetId, device: &DeviceId, settings: FetchSettings) -> Result<Self, LinkError> {
        let chunk_topic = Topic::Chunk(fleet.clone(), device.clone()).to_string();
        let answers = link.divert(chunk_topic.clone(), settings.window_max.max(1) * ANSWERS_PER_WINDOW)?;
        link.subscribe(chunk_topic.clone())?;
        let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
        Ok(Self {
            link: link.clone(),
            request_topic: Topic::Request(fleet.clone(), device.clone()).to_string(),
            chunk_topic,
            answers,
            settings,
            nonce: random.random(),
            random,
            next_number: 0,
        })
    }

    /// Fetches the objects named in `wanted`; `take` checks and keeps each. Objects named twice are fetched once.
    pub async fn fetch(
        &mut self,
        wanted: &[Digest],
        take: &mut Take<'_>,
        abort: watch::Receiver<bool>,
    ) -> Result<FetchReport, FetchError> {
        let requests = wanted.iter().map(|digest| Request::Chunk { digest: *digest });
        let mut take = |request: &Request, body: ReplyBody| match body {
            ReplyBody::Object(bytes) => take(&request.subject(), bytes),
            _ => Verdict::Wrong("the answer is no object".to_owned()),
        };
        self.run(requests.collect(), &mut take, abort).await
    }

    /// Fetches the offer that goes with a manifest; `None` when the fleet has none.
    pub async fn offer(&mut self, manifest: Digest, abort: watch::Receiver<bool>) -> Result<Option<Offer>, FetchError> {
        let mut found = None;
        let mut take = |_: &Request, body: ReplyBody| {
            let ReplyBody::Offer(bytes) = body else { return Verdict::Wrong("the answer is no offer".to_owned()) };
            match Offer::decode(&bytes) {
                Ok(offer) if offer.manifest == manifest => {
                    found = Some(offer);
                    Verdict::Taken
                }
                Ok(_) => Verdict::Wrong("the offer is for another manifest".to_owned()),
                Err(error) => Verdict::Wrong(error.to_string()),
            }
        };
        self.run(vec![Request::Offer { manifest }], &mut take, abort).await?;
        Ok(found)
    }

    async fn run(
        &mut self,
        requests: Vec<Request>,
        take: &mut (dyn FnMut(&Request, ReplyBody) -> Verdict + Send),
        mut abort: watch::Receiver<bool>,
    ) -> Result<FetchReport, FetchError> {
        let mut state = self.link.state();
        let mut quota = self.link.shared().quota_errors();
        quota.mark_unchanged();
        let mut run = Run::new(requests, self.settings);
        // Answers to an earlier, aborted fetch.
        while self.answers.try_recv().is_some() {}
        let mut down_since = None;
        let mut abort_is_gone = false;
        loop {
            if *abort.borrow_and_update() {
                return Err(FetchError::Aborted);
            }
            let link_state = state.borrow_and_update().clone();
            match link_state {
                LinkState::Closed => return Err(FetchError::Link(LinkError::Closed)),
                LinkState::Up => {
                    down_since = None;
                    self.send_due(&mut run)?;
                }
                LinkState::Down(_) => {
                    down_since.get_or_insert_with(Instant::now);
                    run.lost_connection();
                }
            }
            if run.is_done() {
                return Ok(run.report());
            }
            let deadline = match down_since {
                Some(since) => since + self.settings.offline_patience,
                None => run.next_deadline().unwrap_or_else(Instant::now),
            };
            tokio::select! {
                biased;
                // A sender that is gone can abort nothing any more.
                changed = abort.changed(), if !abort_is_gone => abort_is_gone = changed.is_err(),
                answer = self.answers.recv() => match answer {
                    Some(message) => self.answered(&mut run, message, take)?,
                    None => return Err(FetchError::Link(LinkError::Closed)),
                },
                _ = quota.changed() => run.quota_exceeded(self.next_number),
                _ = state.changed() => {}
                () = tokio::time::sleep_until(deadline) => match down_since {
                    Some(since) => return Err(FetchError::Offline { waited: since.elapsed() }),
                    None => run.expire(self.next_number, &mut self.random),
                },
            }
        }
    }

    fn send_due(&mut self, run: &mut Run) -> Result<(), LinkError> {
        while let Some(request) = run.next_to_send() {
            let number = self.next_number;
            self.next_number += 1;
            let mut correlation = BytesMut::with_capacity(16);
            correlation.put_u64_le(self.nonce);
            correlation.put_u64_le(number);
            let options = Publish {
                retain: false,
                delivery: Delivery::AtLeastOnceWhileConnected,
                correlation: Some(correlation.freeze()),
                expiry: Some(REQUEST_EXPIRY),
            };
            self.link.publish(self.request_topic.clone(), request.encode(), options)?;
            run.sent(request, number);
        }
        Ok(())
    }

    fn answered(
        &mut self,
        run: &mut Run,
        message: Message,
        take: &mut (dyn FnMut(&Request, ReplyBody) -> Verdict + Send),
    ) -> Result<(), FetchError> {
        let number = message.correlation.as_deref().and_then(|data| {
            let (nonce, number) = data.split_first_chunk::<8>()?;
            (u64::from_le_bytes(*nonce) == self.nonce).then_some(())?;
            Some(u64::from_le_bytes(number.try_into().ok()?))
        });
        let Some((number, request)) = number.and_then(|number| Some((number, run.open_request(number)?))) else {
            run.report.duplicates += 1;
            return Ok(());
        };
        let why = match Reply::decode(&message.payload) {
            Err(error) => error.to_string(),
            Ok(Reply { body: ReplyBody::Declined(declined), .. }) => {
                let wait = Duration::from_millis(declined.retry_after_ms.into());
                tracing::debug!(why = ?declined.why, message = %declined.message, "a server declined");
                match declined.why {
                    WhyDeclined::NotFound => run.not_found(number, &mut self.random),
                    WhyDeclined::Busy => run.busy(number, self.next_number, wait, &mut self.random),
                    WhyDeclined::BadRequest | WhyDeclined::Unavailable => {
                        run.no_answer(number, wait, &mut self.random);
                    }
                }
                return Ok(());
            }
            Ok(reply) if reply.subject != request.subject() => "the answer is about something else".to_owned(),
            Ok(reply) => {
                let bytes = match &reply.body {
                    ReplyBody::Object(bytes) | ReplyBody::Offer(bytes) => bytes.len() as u64,
                    ReplyBody::Declined(_) => 0,
                };
                match take(&request, reply.body) {
                    Verdict::Taken => {
                        run.taken(number, bytes);
                        return Ok(());
                    }
                    Verdict::Stop(why) => return Err(FetchError::Stopped(why)),
                    Verdict::Wrong(why) => why,
                }
            }
        };
        tracing::debug!(subject = %request.subject(), %why, "a wrong answer");
        run.wrong(number, why, &mut self.random);
        Ok(())
    }
}

impl Drop for ChunkFetcher {
    fn drop(&mut self) {
        // A link that ended has no subscriptions left to end.
        let _ = self.link.unsubscribe(std::mem::take(&mut self.chunk_topic));
    }
}

impl ObjectCarrier for ChunkFetcher {
    fn name(&self) -> &str {
        "mqtt"
    }

    fn fetch<'a>(
        &'a mut self,
        wanted: &'a [Digest],
        take: &'a mut Take<'a>,
        abort: watch::Receiver<bool>,
    ) -> BoxFuture<'a, Result<FetchReport, FetchError>> {
        ChunkFetcher::fetch(self, wanted, take, abort).boxed()
    }
}

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

/// The decisions of one fetch, without the link.
struct Run {
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
    fn new(requests: Vec<Request>, settings: FetchSettings) -> Self {
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

    fn is_done(&self) -> bool {
        self.wanted.is_empty()
    }

    fn report(self) -> FetchReport {
        FetchReport { window_min: self.window.size_min_seen(), ..self.report }
    }

    fn awaited(&self) -> usize {
        self.flights.values().filter(|flight| flight.awaited).count()
    }

    fn next_to_send(&mut self) -> Option<Request> {
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

    fn sent(&mut self, request: Request, number: u64) {
        let index = self.fresh.pop_front().expect("next_to_send put it there");
        let wanted = self.wanted.get_mut(&index).expect("only wanted requests are queued");
        debug_assert_eq!(wanted.request, request);
        wanted.attempts += 1;
        let sent = Instant::now();
        let deadline = sent + self.patience.wait(wanted.attempts);
        self.flights.insert(number, Flight { index, sent, deadline, awaited: true });
        self.report.requests += 1;
    }

    fn next_deadline(&self) -> Option<Instant> {
        let flights = self.flights.values().filter(|flight| flight.awaited).map(|flight| flight.deadline).min();
        let room = self.awaited() < self.window.size();
        let again = self.again.first().map(|(due, _)| *due).filter(|_| room);
        flights.into_iter().chain(again).min()
    }

    fn open_request(&self, number: u64) -> Option<Request> {
        let flight = self.flights.get(&number)?;
        self.wanted.get(&flight.index).map(|wanted| wanted.request)
    }

    fn taken(&mut self, number: u64, bytes: u64) {
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

    fn wrong(&mut self, number: u64, why: String, random: &mut ChaCha8Rng) {
        let wrong_max = self.settings.wrong_max;
        self.retry(number, Duration::ZERO, random, |wanted| {
            wanted.wrong += 1;
            (wanted.wrong >= wrong_max).then_some(NotFetched::Wrong(why))
        });
    }

    fn not_found(&mut self, number: u64, random: &mut ChaCha8Rng) {
        let not_found_max = self.settings.not_found_max;
        self.retry(number, Duration::ZERO, random, |wanted| {
            wanted.not_found += 1;
            (wanted.not_found >= not_found_max).then_some(NotFetched::NotFound)
        });
    }

    fn no_answer(&mut self, number: u64, wait_min: Duration, random: &mut ChaCha8Rng) {
        let attempts_max = self.settings.attempts_max;
        self.retry(number, wait_min, random, |wanted| {
            (wanted.attempts >= attempts_max).then_some(NotFetched::NoAnswer)
        });
    }

    fn busy(&mut self, number: u64, next_number: u64, wait_min: Duration, random: &mut ChaCha8Rng) {
        self.window.trouble(number, next_number);
        self.no_answer(number, wait_min, random);
    }

    /// The broker dropped a message for its quota. It does not say which: every request on the way keeps waiting.
    fn quota_exceeded(&mut self, next_number: u64) {
        let newest = self.flights.keys().next_back().copied().unwrap_or(next_number);
        self.window.trouble(newest, next_number);
    }

    /// Requests whose time is over: asked again, or given up. A late answer is still welcome until then.
    fn expire(&mut self, next_number: u64, random: &mut ChaCha8Rng) {
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
    fn lost_connection(&mut self) {
        for flight in std::mem::take(&mut self.flights).into_values() {
            let Some(wanted) = self.wanted.get_mut(&flight.index) else { continue };
            if flight.awaited {
                wanted.attempts -= 1;
                self.fresh.push_front(flight.index);
            }
        }
    }
}
