//! A search for sequences of events, crashes included, that break what `machine` promises.
//!
//! The world below carries out effects as the real executor does: in order, a commit that fails takes its step
//! back, a crash may come after any effect, and a restart knows only what was last committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use runtime_trust::Digest;

use super::*;

const MODELS: [&str; 2] = ["digits", "wake-word"];
const VERSIONS: u8 = 5;
/// Events that one action may lead to; more means that the machine feeds itself.
const EVENTS_PER_ACTION_MAX: usize = 200;

fn digest(model: usize, version: u8) -> Digest {
    Digest::of(&[u8::try_from(model).expect("two models"), version])
}

fn installed(model: usize, version: u8) -> Installed {
    let digest = digest(model, version);
    Installed {
        digest,
        number: u64::from(version),
        version: format!("{version}.0.0"),
        folder: digest.to_string(),
        engine: "native".to_owned(),
    }
}

/// The trusted state as the machine's opaque bytes: the sequence accepted, and how much of the deny-list is known.
fn trust(sequence: u64, denied: usize) -> Arc<[u8]> {
    let mut bytes = sequence.to_le_bytes().to_vec();
    bytes.extend((denied as u64).to_le_bytes());
    bytes.into()
}

fn trust_parts(bytes: &[u8]) -> (u64, usize) {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    (number(0), usize::try_from(number(8)).expect("a short list"))
}

#[derive(Debug, Clone)]
enum Action {
    LinkUp,
    LinkDown,
    /// A deployment of a version for each model (0: leaves it out).
    Deploy([u8; 2]),
    /// The job does its next step.
    Advance,
    /// Several at once, so that whole installs are common.
    AdvanceMany,
    Interrupt,
    Refuse(u8),
    Tick(u64),
    Crash,
    /// The process dies after this many effects of the next step.
    CrashAfter(usize),
    /// The disk is full for the next commit.
    CommitFails,
    /// The next version chosen does not come up.
    ServeFails,
    Sideload(usize, u8),
    Rollback(Option<usize>),
    Deny(usize, u8),
    /// A word of a job long gone.
    Stale(u8),
}

fn action() -> impl Strategy<Value = Action> {
    let version = 1..=VERSIONS;
    prop_oneof![
        4 => Just(Action::LinkUp),
        1 => Just(Action::LinkDown),
        4 => (0..=VERSIONS, 0..=VERSIONS).prop_map(|(a, b)| Action::Deploy([a, b])),
        8 => Just(Action::Advance),
        8 => Just(Action::AdvanceMany),
        2 => Just(Action::Interrupt),
        2 => (1..=9u8).prop_map(Action::Refuse),
        3 => prop_oneof![Just(1u64), Just(11_000), Just(400_000), Just(4_000_000)].prop_map(Action::Tick),
        3 => Just(Action::Crash),
        2 => (0..4usize).prop_map(Action::CrashAfter),
        1 => Just(Action::CommitFails),
        1 => Just(Action::ServeFails),
        2 => (0..2usize, version.clone()).prop_map(|(model, version)| Action::Sideload(model, version)),
        2 => prop_oneof![Just(None), (0..2usize).prop_map(Some)].prop_map(Action::Rollback),
        1 => (0..2usize, version).prop_map(|(model, version)| Action::Deny(model, version)),
        1 => (0..4u8).prop_map(Action::Stale),
    ]
}

struct Job {
    id: JobId,
    file: Option<(usize, u8)>,
    stage: usize,
    sequence: u64,
    models: Vec<(usize, u8)>,
    aborted: bool,
}

struct World {
    state: State,
    now: u64,
    disk: Memory,
    slots: BTreeSet<String>,
    served: BTreeMap<String, Digest>,
    job: Option<Job>,
    verdict: Option<Verdict>,
    deployment: Option<(u64, [u8; 2])>,
    sequence: u64,
    denied: Vec<(usize, u8)>,
    /// Versions that passed step 9 and whose step 10 was written.
    proven: BTreeSet<Digest>,
    /// A chosen version did not come up since the last write: its group has fallen back.
    failing: bool,
    /// The job's step 10 is being taken: other writes say nothing about its deployment.
    choosing: bool,
    crash_after: Option<usize>,
    commit_fails: bool,
    serve_fails: bool,
    tickets: BTreeSet<Ticket>,
    next_ticket: Ticket,
}

impl World {
    fn new() -> Self {
        let disk = Memory::new(trust(0, 0));
        let mut world = World {
            state: load(&disk, &[]),
            now: 0,
            disk,
            slots: BTreeSet::new(),
            served: BTreeMap::new(),
            job: None,
            verdict: None,
            deployment: None,
            sequence: 0,
            denied: Vec::new(),
            proven: BTreeSet::new(),
            failing: false,
            choosing: false,
            crash_after: None,
            commit_fails: false,
            serve_fails: false,
            tickets: BTreeSet::new(),
            next_ticket: 0,
        };
        world.feed(Event::Started);
        world
    }

    /// Takes events in until nothing follows, or the process dies.
    fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut count = 0;
        while let Some(event) = events.pop_front() {
            count += 1;
            assert!(count < EVENTS_PER_ACTION_MAX, "the machine feeds itself: {event:?}");
            self.failing |= matches!(event, Event::ServeFailed { .. });
            let before = self.state.clone();
            let (state, effects) = step(before.clone(), event, self.now);
            self.state = state;
            let mut effects = effects.into_iter();
            while let Some(effect) = effects.next() {
                if self.crash_after.take_if(|left| *left == 0).is_some() {
                    self.crash();
                    return;
                }
                if let Some(left) = &mut self.crash_after {
                    *left -= 1;
                }
                if matches!(effect, Effect::Commit(_)) && std::mem::take(&mut self.commit_fails) {
                    self.state = before;
                    for left in effects.by_ref() {
                        match left {
                            Effect::Continue { .. } => self.verdict = Some(Verdict::NotWritten("full".to_owned())),
                            Effect::Answer { ticket, .. } => assert!(self.tickets.remove(&ticket)),
                            _ => {}
                        }
                    }
                    events.push_back(Event::CommitFailed { why: "full".to_owned() });
                    break;
                }
                self.carry_out(effect, &mut events);
            }
        }
        self.check();
    }

    fn carry_out(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Commit(memory) => self.write(memory),
            Effect::Save(memory) => {
                if !std::mem::take(&mut self.commit_fails) {
                    self.write(memory);
                }
            }
            Effect::Serve(servings) => self.serve(servings, events),
            Effect::Withdraw { model, .. } => drop(self.served.remove(&model)),
            Effect::Start { job, source } => {
                assert!(self.job.is_none(), "two jobs at once");
                let file = match source {
                    Source::Network => None,
                    Source::File(path) => {
                        let text = path.to_string_lossy().into_owned();
                        let (model, version) = text.split_once('-').expect("made by this test");
                        Some((model.parse().expect("a number"), version.parse().expect("a number")))
                    }
                };
                self.verdict = None;
                self.job = Some(Job { id: job, file, stage: 0, sequence: 0, models: Vec::new(), aborted: false });
            }
            Effect::Abort { job } => {
                let running = self.job.as_mut().expect("a running job");
                assert_eq!(running.id, job);
                running.aborted = true;
            }
            Effect::Continue { job, verdict } => {
                if self.job.as_ref().is_some_and(|running| running.id == job) {
                    self.verdict = Some(verdict);
                }
            }
            Effect::Answer { ticket, .. } => assert!(self.tickets.remove(&ticket), "ticket {ticket} answered twice"),
            Effect::Sweep => {
                assert!(self.job.is_none(), "sweeping under a job");
                let keep = self.disk.folders();
                self.slots.retain(|folder| keep.contains(folder.as_str()));
            }
            Effect::Report | Effect::Log { .. } => {}
        }
    }

    /// Loads all or none, as the serving path does.
    fn serve(&mut self, servings: Vec<Serving>, events: &mut VecDeque<Event>) {
        for Serving { model, active, last_good } in &servings {
            for version in [Some(active), last_good.as_ref()].into_iter().flatten() {
                assert!(self.slots.contains(&version.folder), "{model}: serving a slot that is not there");
            }
        }
        if std::mem::take(&mut self.serve_fails) {
            let Serving { model, active, .. } = servings.last().expect("the machine never serves nothing").clone();
            let (reason, message) = ("load-failed".to_owned(), "on purpose".to_owned());
            events.push_back(Event::ServeFailed { model, digest: active.digest, reason, message });
            return;
        }
        for Serving { model, active, .. } in servings {
            self.served.insert(model.clone(), active.digest);
            events.push_back(Event::Served { model, digest: active.digest });
        }
    }

    /// One durable step: checks the change from the old memory to the new one.
    fn write(&mut self, new: Memory) {
        let known = &self.denied[..trust_parts(&new.trust).1];
        let is_denied =
            |digest: &Digest| known.iter().any(|(model, version)| digest == &self::digest(*model, *version));
        for (name, old) in &self.disk.models {
            let now = new.models.get(name).cloned().unwrap_or_default();
            // A fall back is written with the next step that can be: the disk may have been full at the time.
            let may_fall = self.failing || old.boots_unproven >= 2;
            let mut fallen = old.clone();
            let from_fallen = may_fall && fallen.fall_back() && lost(&fallen, &now, is_denied).is_none();
            if let Some(lost) = lost(old, &now, is_denied).filter(|_| !from_fallen) {
                panic!("{name}: {lost}: {old:?} -> {now:?}");
            }
        }
        self.check_together(&new);
        self.disk = new;
        self.failing = false;
    }

    /// A version that becomes active for the first time does so with all of its deployment.
    fn check_together(&mut self, new: &Memory) {
        let Some(job) = &self.job else { return };
        let is_new = |(model, version): &(usize, u8)| {
            let name = MODELS[*model];
            let digest = digest(*model, *version);
            let active = |memory: &Memory| {
                memory.models.get(name).and_then(|model| model.active.as_ref()).is_some_and(|v| v.digest == digest)
            };
            (active(&self.disk), active(new))
        };
        let changes: Vec<(bool, bool)> = job.models.iter().map(is_new).collect();
        if self.choosing && changes.contains(&(false, true)) {
            assert!(changes.iter().all(|(_, now)| *now), "part of a deployment became active: {:?}", job.models);
            self.proven.extend(job.models.iter().map(|(model, version)| digest(*model, *version)));
        }
    }

    fn check(&self) {
        for (name, model) in &self.disk.models {
            for version in [&model.active, &model.last_good].into_iter().flatten() {
                assert!(self.slots.contains(&version.folder), "{name}: the slot of {version:?} is gone");
                assert!(self.proven.contains(&version.digest), "{name}: {version:?} was never proven here");
            }
        }
        for (name, digest) in &self.served {
            let model = self.disk.models.get(name).expect("served models are remembered");
            let known = [&model.active, &model.last_good].into_iter().flatten().any(|v| v.digest == *digest);
            assert!(known, "{name}: serves a version that a restart would not know");
            assert!(!self.state.is_denied(name, digest), "{name}: serves a denied version");
        }
        assert!(self.tickets.len() <= 6, "people are waiting: {:?}", self.tickets);
    }

    fn crash(&mut self) {
        self.served.clear();
        self.failing = false;
        self.job = None;
        self.verdict = None;
        self.crash_after = None;
        self.tickets.clear();
        self.now = 0;
        self.state = load(&self.disk, &self.denied);
        self.feed(Event::Started);
    }

    /// The job's next step, as the order of checks takes it.
    fn advance(&mut self) {
        let (accepted, known) = trust_parts(&self.state.memory().trust);
        let Some(job) = &mut self.job else { return };
        let id = job.id;
        if job.aborted {
            self.end(End::Aborted);
            return;
        }
        let waits = matches!(job.stage, 2 | 6) && job.file.is_none() || job.stage == 6;
        if waits {
            match self.verdict.take() {
                Some(Verdict::Install) => {}
                Some(Verdict::Committed) => return self.end(End::Done),
                Some(Verdict::Stop) => return self.end(End::Nothing),
                Some(Verdict::NotWritten(why)) => return self.end(End::Interrupted { why }),
                None => return,
            }
        }
        job.stage += 1;
        match job.stage {
            1 => {
                let denied = deny_lists(&self.denied);
                let bytes = trust(accepted, self.denied.len().max(known));
                self.feed(Event::TrustRefreshed { job: id, trust: bytes, denied, floors: BTreeMap::new() });
            }
            2 => self.name_models(id, accepted),
            3 => {
                for (model, _) in job.models.clone() {
                    let model = Some(MODELS[model].to_owned());
                    self.feed(Event::Entered { job: id, step: 5, model });
                }
            }
            4 => self.reserve(id),
            5 => {
                for step in [8, 9] {
                    self.feed(Event::Entered { job: id, step, model: None });
                }
            }
            _ => {
                let sequence = job.file.is_none().then_some(job.sequence);
                let models = job.models.iter().map(|(m, v)| (MODELS[*m].to_owned(), installed(*m, *v))).collect();
                let bytes = trust(sequence.unwrap_or(accepted), known);
                let proven = Proven { trust: bytes, sequence, models };
                self.choosing = true;
                self.feed(Event::Proven { job: id, proven });
                self.choosing = false;
            }
        }
    }

    fn name_models(&mut self, id: JobId, accepted: u64) {
        let job = self.job.as_mut().expect("the caller has one");
        if let Some(file) = job.file {
            job.models = vec![file];
            return;
        }
        let Some((sequence, versions)) = self.deployment.filter(|(sequence, _)| *sequence > accepted) else {
            return self.end(End::Nothing);
        };
        job.sequence = sequence;
        job.models = versions.into_iter().enumerate().filter(|(_, version)| *version > 0).collect();
        let models = job.models.iter().map(|(m, v)| (MODELS[*m].to_owned(), digest(*m, *v))).collect();
        self.feed(Event::DeploymentChecked { job: id, sequence, models });
    }

    fn reserve(&mut self, id: JobId) {
        self.feed(Event::Entered { job: id, step: 6, model: None });
        let models = self.job.as_ref().map(|job| job.models.clone()).unwrap_or_default();
        for (model, version) in models {
            if self.denied.contains(&(model, version)) {
                let mut refusal = refusal(5, None);
                refusal.reason = "denied".to_owned();
                return self.end(End::Refused(refusal));
            }
            let candidate = installed(model, version);
            self.slots.insert(candidate.folder.clone());
            self.feed(Event::Reserved { job: id, model: MODELS[model].to_owned(), candidate });
            if self.job.as_ref().is_none_or(|job| job.id != id) {
                return;
            }
        }
        self.feed(Event::Entered { job: id, step: 7, model: None });
    }

    fn end(&mut self, end: End) {
        let Some(job) = self.job.take() else { return };
        self.feed(Event::Ended { job: job.id, end });
    }

    fn ask(&mut self, order: Order) {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket);
        self.feed(Event::Asked { ticket: self.next_ticket, order });
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::LinkUp => self.feed(Event::LinkUp),
            Action::LinkDown => self.feed(Event::LinkDown { why: "cable".to_owned() }),
            Action::Deploy(versions) => {
                self.sequence += 1;
                self.deployment = Some((self.sequence, versions));
                let digest = Digest::of(&self.sequence.to_le_bytes());
                self.feed(Event::Published { news: News::Deployment, digest, sequence: Some(self.sequence) });
            }
            Action::Advance => self.advance(),
            Action::AdvanceMany => (0..9).for_each(|_| self.advance()),
            Action::Interrupt => self.end(End::Interrupted { why: "timeout".to_owned() }),
            Action::Refuse(step) => {
                let Some(job) = &self.job else { return };
                let digest = job.models.first().map(|(model, version)| digest(*model, *version));
                let mut refusal = refusal(step, digest);
                refusal.sequence = (job.file.is_none() && job.sequence > 0).then_some(job.sequence);
                self.end(End::Refused(refusal));
            }
            Action::Tick(ms) => {
                self.now += ms;
                self.feed(Event::Tick);
            }
            Action::Crash => self.crash(),
            Action::CrashAfter(effects) => self.crash_after = Some(effects),
            Action::CommitFails => self.commit_fails = true,
            Action::ServeFails => self.serve_fails = true,
            Action::Sideload(model, version) => {
                self.ask(Order::Sideload { path: PathBuf::from(format!("{model}-{version}")) });
            }
            Action::Rollback(model) => {
                self.ask(Order::Rollback { model: model.map(|model| MODELS[model].to_owned()) });
            }
            Action::Deny(model, version) => {
                if !self.denied.contains(&(model, version)) {
                    self.denied.push((model, version));
                }
            }
            Action::Stale(kind) => self.feed(stale(kind)),
        }
    }
}

/// What a model lost on the way from `old` to `now` that only the deny-list may take.
fn lost(old: &ModelMemory, now: &ModelMemory, is_denied: impl Fn(&Digest) -> bool) -> Option<&'static str> {
    let was = old.active.as_ref()?;
    if !is_denied(&was.digest) && now.versions().all(|version| version.digest != was.digest) {
        return Some("the version that was active is forgotten");
    }
    let all_denied = [&old.active, &old.last_good].into_iter().flatten().all(|version| is_denied(&version.digest));
    (now.active.is_none() && !all_denied).then_some("nothing is active any more")
}

fn refusal(step: u8, digest: Option<Digest>) -> Refusal {
    Refusal {
        step,
        reason: "on-purpose".to_owned(),
        message: "on purpose".to_owned(),
        model: None,
        digest,
        sequence: None,
    }
}

fn stale(kind: u8) -> Event {
    match kind {
        0 => Event::Ended { job: 0, end: End::Done },
        1 => Event::TrustRefreshed { job: 0, trust: trust(99, 0), denied: Denied::new(), floors: BTreeMap::new() },
        2 => Event::Reserved { job: 0, model: MODELS[0].to_owned(), candidate: installed(0, 1) },
        _ => Event::Served { model: MODELS[0].to_owned(), digest: digest(0, 1) },
    }
}

fn deny_lists(denied: &[(usize, u8)]) -> Denied {
    let mut lists = Denied::new();
    for (model, version) in denied {
        lists.entry(MODELS[*model].to_owned()).or_default().insert(digest(*model, *version));
    }
    lists
}

fn load(disk: &Memory, denied: &[(usize, u8)]) -> State {
    let (sequence, known) = trust_parts(&disk.trust);
    let denied = deny_lists(&denied[..known]);
    State::new(disk.clone(), denied, BTreeMap::new(), (sequence > 0).then_some(sequence), Limits::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_loses_the_last_good_model(actions in proptest::collection::vec(action(), 1..70)) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
    }
}

/// A device that could not write its fall back, and then installs the next version, has lost nothing.
#[test]
fn a_fall_back_that_could_not_be_written_is_made_up_for_by_the_next_install() {
    let mut world = World::new();
    world.act(Action::LinkUp);
    world.act(Action::AdvanceMany);
    for version in [1, 3] {
        world.act(Action::Deploy([version, 0]));
        world.act(Action::AdvanceMany);
    }
    world.act(Action::Crash);
    world.act(Action::Crash);
    world.act(Action::CommitFails);
    world.act(Action::Crash);
    assert_eq!(world.served["digits"], digest(0, 1), "version 3 never survived a start");
    world.act(Action::Deploy([2, 0]));
    world.act(Action::LinkUp);
    world.act(Action::AdvanceMany);
    let digits = &world.disk.models["digits"];
    assert_eq!(digits.active, Some(installed(0, 2)));
    assert_eq!(digits.last_good, Some(installed(0, 1)), "the proven version stands behind the new one");
}

/// The search above would pass if nothing ever became active: this path must.
#[test]
fn the_world_installs_falls_back_and_denies() {
    let mut world = World::new();
    world.act(Action::LinkUp);
    world.act(Action::AdvanceMany);
    world.act(Action::Deploy([1, 1]));
    world.act(Action::AdvanceMany);
    assert_eq!(world.served.len(), 2, "both models of the deployment answer: {:?}", world.state.report());
    world.act(Action::Deploy([2, 0]));
    world.act(Action::AdvanceMany);
    assert_eq!(world.served["digits"], digest(0, 2));
    for _ in 0..3 {
        world.act(Action::Crash);
    }
    assert_eq!(world.served["digits"], digest(0, 1), "the third start that proves nothing goes to the last good");
    assert_eq!(world.served["wake-word"], digest(1, 1), "with nothing to fall back to it stays");
    world.act(Action::Deny(0, 1));
    world.act(Action::LinkUp);
    world.act(Action::AdvanceMany);
    assert!(!world.served.contains_key("digits"), "the deny-list may take the last version away");
    assert!(world.served.contains_key("wake-word"));
}
