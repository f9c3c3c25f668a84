//! Fetches objects by digest over request and reply, many at a time.
//!
//! Each request carries a number in its correlation data. An answer counts only when it repeats a number that is
//! still open, so a copy of an answer, or one that somebody made up, changes nothing. What an answer carries is
//! judged by the taker's digest check alone.

mod run;
mod window;

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

use crate::backoff::BackoffSettings;
use crate::carrier::{FetchError, FetchReport, ObjectCarrier, Take, Verdict};
use crate::error::LinkError;
use crate::handle::{Delivery, Diverted, Link, Message, Publish};
use crate::shared::LinkState;

use run::Run;

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
            run.duplicate();
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
            // Left over from an earlier fetcher with the same seed: what was asked for is still to come.
            Ok(reply) if reply.subject != request.subject() => {
                run.duplicate();
                return Ok(());
            }
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
