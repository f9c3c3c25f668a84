//! One test per promise of the machine that a table can say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use runtime_trust::Digest;

use super::stage::next;
use super::*;

fn version(number: u64) -> Installed {
    let digest = Digest::of(&number.to_le_bytes());
    Installed {
        digest,
        number,
        version: format!("{number}.0.0"),
        folder: digest.to_string(),
        engine: "native".to_owned(),
    }
}

fn trust() -> Arc<[u8]> {
    b"trust".as_slice().into()
}

fn machine(memory: Memory) -> State {
    let state = State::new(memory, Denied::new(), BTreeMap::new(), None, Limits::default());
    run(state, [Event::Started], 0).0
}

/// A machine with `digits` at `active`, `last_good` behind it.
fn with_versions(active: u64, last_good: Option<u64>) -> State {
    let mut memory = Memory::new(trust());
    let model = ModelMemory {
        active: Some(version(active)),
        last_good: last_good.map(version),
        settled: true,
        ..ModelMemory::default()
    };
    memory.models.insert("digits".to_owned(), model);
    machine(memory)
}

fn run(mut state: State, events: impl IntoIterator<Item = Event>, now: u64) -> (State, Vec<Effect>) {
    let mut all = Vec::new();
    for event in events {
        let (next, effects) = step(state, event, now);
        state = next;
        all.extend(effects);
    }
    (state, all)
}

fn started_job(effects: &[Effect]) -> Option<JobId> {
    effects.iter().find_map(|effect| match effect {
        Effect::Start { job, .. } => Some(*job),
        _ => None,
    })
}

fn active(state: &State, model: &str) -> Option<u64> {
    state.memory().models.get(model)?.active.as_ref().map(|version| version.number)
}

fn checked(job: JobId, sequence: u64, number: u64) -> Event {
    Event::DeploymentChecked { job, sequence, models: vec![("digits".to_owned(), version(number).digest)] }
}

fn proven(job: JobId, sequence: Option<u64>, number: u64) -> Event {
    let models = vec![("digits".to_owned(), version(number))];
    Event::Proven { job, proven: Proven { trust: trust(), sequence, models } }
}

fn verdict(effects: &[Effect]) -> Option<&Verdict> {
    effects.iter().find_map(|effect| match effect {
        Effect::Continue { verdict, .. } => Some(verdict),
        _ => None,
    })
}

fn refusal(step: u8, sequence: Option<u64>, number: u64) -> End {
    End::Refused(Refusal {
        step,
        reason: "golden-answers-differ".to_owned(),
        message: "case 3 differs".to_owned(),
        model: Some("digits".to_owned()),
        digest: Some(version(number).digest),
        sequence,
    })
}

#[test]
fn the_table_has_one_row_per_stage_and_signal() {
    let mut rows = BTreeSet::new();
    let mut failures = Vec::new();
    for (from, signal, to) in TRANSITIONS {
        if !rows.insert((*from, *signal)) {
            failures.push(format!("{from:?} {signal:?} stands twice"));
        }
        if next(*from, *signal) != Some(*to) {
            failures.push(format!("{from:?} {signal:?} is shadowed: leads to {:?}, not {to:?}", next(*from, *signal)));
        }
    }
    for stage in Stage::ALL {
        // Nothing is a dead end: whatever happened, a new deployment or a choice leads on.
        let leads_on = Signal::ALL.iter().any(|signal| next(stage, *signal).is_some_and(|to| to != stage));
        if !leads_on {
            failures.push(format!("{stage:?} is a dead end"));
        }
        if !stage.in_progress() && next(stage, Signal::Named) != Some(Stage::DeploymentAccepted) {
            failures.push(format!("{stage:?} does not take a new deployment"));
        }
        if stage.in_progress() && next(stage, Signal::Interrupted) != Some(Stage::Waiting) {
            failures.push(format!("{stage:?} cannot be interrupted"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_deployment_goes_through_every_stage() {
    let (state, effects) = run(machine(Memory::new(trust())), [Event::LinkUp], 0);
    let job = started_job(&effects).expect("a connection starts a job");
    let model = Some("digits".to_owned());
    let entered = |step| Event::Entered { job, step, model: model.clone() };
    let reserved = Event::Reserved { job, model: "digits".to_owned(), candidate: version(1) };
    let served = Event::Served { model: "digits".to_owned(), digest: version(1).digest };
    let rows = [
        (checked(job, 1, 1), Stage::DeploymentAccepted),
        (entered(5), Stage::ManifestChecked),
        (entered(6), Stage::Reserving),
        (reserved, Stage::Reserving),
        (entered(7), Stage::Downloading),
        (entered(8), Stage::Verifying),
        (entered(9), Stage::Proving),
        (proven(job, Some(1), 1), Stage::Activating),
        (served, Stage::Active),
        (Event::Ended { job, end: End::Done }, Stage::Active),
    ];
    let mut state = state;
    for (event, expected) in rows {
        let text = format!("{event:?}");
        state = step(state, event, 0).0;
        assert_eq!(state.stage("digits"), expected, "after {text}");
    }
    assert_eq!(active(&state, "digits"), Some(1));
}

#[test]
fn step_10_is_written_before_anything_serves() {
    let (state, effects) = run(with_versions(1, None), [Event::LinkUp], 0);
    let job = started_job(&effects).expect("a job");
    let (state, _) = run(state, [checked(job, 1, 2)], 0);
    let (state, effects) = run(state, [proven(job, Some(1), 2)], 0);
    let at = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted).expect("the effect is there");
    let commit = at(|effect| matches!(effect, Effect::Commit(_)));
    let serve = at(|effect| matches!(effect, Effect::Serve(_)));
    let go_on = at(|effect| matches!(effect, Effect::Continue { verdict: Verdict::Committed, .. }));
    assert!(commit < serve && serve < go_on, "{effects:?}");
    let model = &state.memory().models["digits"];
    assert_eq!(model.last_good, Some(version(1)), "the old one stays as last good");
}

#[test]
fn a_rollback_on_the_device_holds_until_a_higher_deployment() {
    let (state, effects) = run(with_versions(2, Some(1)), [Event::LinkUp], 0);
    let first = started_job(&effects).expect("a job");
    let (state, _) = run(state, [checked(first, 7, 2), Event::Ended { job: first, end: End::Nothing }], 0);
    let (state, effects) = run(state, [Event::Asked { ticket: 1, order: Order::Rollback { model: None } }], 0);
    assert_eq!(active(&state, "digits"), Some(1));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Answer { answer: Answer::Active(_), .. })));

    // The same deployment, also after a restart, is held; a higher one is followed.
    let restarted = machine(state.memory().clone());
    for (sequence, expected) in [(7, Verdict::Stop), (8, Verdict::Install)] {
        let (state, effects) = run(restarted.clone(), [Event::LinkUp], 0);
        let job = started_job(&effects).expect("a job");
        let (state, effects) = run(state, [checked(job, sequence, 2)], 0);
        assert_eq!(verdict(&effects), Some(&expected), "sequence {sequence}");
        if expected == Verdict::Install {
            let (state, _) = run(state, [proven(job, Some(sequence), 2)], 0);
            assert_eq!(state.memory().models["digits"].held_above, None, "followed: the hold is over");
        } else {
            assert_eq!(state.stage("digits"), Stage::Held);
        }
    }
}

#[test]
fn a_rollback_under_the_floor_is_refused() {
    let mut state = with_versions(2, Some(1));
    state.floors.insert("digits".to_owned(), 2);
    let order = Order::Rollback { model: Some("digits".to_owned()) };
    let (state, effects) = run(state, [Event::Asked { ticket: 1, order }], 0);
    let refused = effects.iter().any(
        |effect| matches!(effect, Effect::Answer { answer: Answer::Impossible { why }, .. } if why.contains("floor 2")),
    );
    assert!(refused, "{effects:?}");
    assert_eq!(active(&state, "digits"), Some(2));
}

#[test]
fn a_failed_proof_is_remembered_for_its_deployment_only() {
    let (state, effects) = run(with_versions(1, None), [Event::LinkUp], 0);
    let job = started_job(&effects).expect("a job");
    let (state, effects) = run(state, [checked(job, 3, 2), Event::Ended { job, end: refusal(9, Some(3), 2) }], 0);
    assert_eq!(state.stage("digits"), Stage::Refused);
    assert_eq!(active(&state, "digits"), Some(1));
    assert_eq!(started_job(&effects), None, "a failed proof is not tried again");
    let restarted = machine(state.memory().clone());
    for (sequence, expected) in [(3, Verdict::Stop), (4, Verdict::Install)] {
        let (state, effects) = run(restarted.clone(), [Event::LinkUp], 0);
        let job = started_job(&effects).expect("a job");
        let (state, effects) = run(state, [checked(job, sequence, 2)], 0);
        assert_eq!(verdict(&effects), Some(&expected), "sequence {sequence}");
        let reported = state.report().models[0].refusal.clone();
        assert_eq!(reported.is_some(), expected == Verdict::Stop, "the reason is reported again: {reported:?}");
    }
}

#[test]
fn a_refusal_of_a_carrier_is_not_held_against_the_version() {
    for refused_step in 1..=8 {
        let (state, effects) = run(with_versions(1, None), [Event::LinkUp], 0);
        let job = started_job(&effects).expect("a job");
        let end = refusal(refused_step, Some(3), 2);
        let (state, _) = run(state, [checked(job, 3, 2), Event::Ended { job, end }], 0);
        assert!(state.memory().refused.is_empty(), "step {refused_step}");
        assert!(state.retry.is_some(), "step {refused_step} is tried again");
    }
}

#[test]
fn retries_are_bounded_and_news_starts_the_count_again() {
    let (mut state, effects) = run(machine(Memory::new(trust())), [Event::LinkUp], 0);
    let mut job = started_job(&effects);
    let mut attempts = 0;
    let mut now = 0;
    while let Some(id) = job {
        attempts += 1;
        assert!(attempts <= 8, "retries go on");
        let (next, _) =
            run(state, [Event::Ended { job: id, end: End::Interrupted { why: "timeout".to_owned() } }], now);
        now = next.retry.map_or(now, |later| later.at);
        let (next, effects) = run(next, [Event::Tick], now);
        state = next;
        job = started_job(&effects);
    }
    assert_eq!(attempts, 8);
    let (_, effects) = run(state, [Event::LinkUp], now);
    assert!(started_job(&effects).is_some(), "a new connection tries again");
}

#[test]
fn a_newer_deployment_stops_a_download_only_when_it_passes_step_4() {
    for (sequence, stopped) in [(None, false), (Some(3), false), (Some(4), true)] {
        let (state, effects) = run(with_versions(1, None), [Event::LinkUp], 0);
        let job = started_job(&effects).expect("a job");
        let digest = Digest::of(b"newer");
        let published = Event::Published { news: News::Deployment, digest, sequence };
        let (state, effects) = run(state, [checked(job, 3, 2), published.clone()], 0);
        assert_eq!(effects.contains(&Effect::Abort { job }), stopped, "{sequence:?}");
        let (state, effects) = run(state, [Event::Ended { job, end: End::Aborted }], 0);
        let next = started_job(&effects).expect("the news is looked at after the running job");
        let (_, effects) = run(state, [Event::Ended { job: next, end: End::Nothing }, published], 0);
        assert_eq!(started_job(&effects), None, "the same bytes are no news");
    }
}

#[test]
fn three_starts_that_prove_nothing_go_back_and_a_settled_neighbour_stays() {
    let mut memory = Memory::new(trust());
    let new = ModelMemory { active: Some(version(2)), last_good: Some(version(1)), ..ModelMemory::default() };
    let old = ModelMemory { settled: true, ..new.clone() };
    memory.models.insert("new".to_owned(), new);
    memory.models.insert("old".to_owned(), old);
    for start in 1..=3 {
        let state = machine(memory);
        assert_eq!(active(&state, "new"), Some(if start < 3 { 2 } else { 1 }), "start {start}");
        assert_eq!(active(&state, "old"), Some(2), "start {start}");
        memory = state.memory().clone();
    }
}

#[test]
fn surviving_the_first_seconds_starts_the_count_again() {
    let mut memory = with_versions(2, Some(1)).memory().clone();
    for _ in 0..10 {
        let state = machine(memory);
        let served = Event::Served { model: "digits".to_owned(), digest: version(2).digest };
        let (state, _) = run(state, [served], 1_000);
        let (state, early) = run(state, [Event::Tick], 10_999);
        assert!(!early.iter().any(|effect| matches!(effect, Effect::Save(_))), "not settled yet");
        let (state, _) = run(state, [Event::Tick], 11_000);
        assert_eq!(state.memory().models["digits"].boots_unproven, 0);
        memory = state.memory().clone();
    }
    assert_eq!(memory.models["digits"].active, Some(version(2)));
}

#[test]
fn a_start_serves_whether_its_count_can_be_written_or_not() {
    let memory = with_versions(1, None).memory().clone();
    let state = State::new(memory, Denied::new(), BTreeMap::new(), None, Limits::default());
    let (_, effects) = run(state, [Event::Started], 0);
    let serve = effects.iter().position(|effect| matches!(effect, Effect::Serve(_))).expect("it serves");
    assert!(effects[..serve].iter().any(|effect| matches!(effect, Effect::Save(_))), "counted before it is loaded");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Commit(_))), "nothing can take the step back");
}

#[test]
fn a_job_that_is_over_is_over_although_the_disk_is_full() {
    let (state, effects) = run(with_versions(1, None), [Event::LinkUp], 0);
    let job = started_job(&effects).expect("a job");
    let reserved = Event::Reserved { job, model: "digits".to_owned(), candidate: version(2) };
    let ended = Event::Ended { job, end: refusal(6, Some(3), 2) };
    let (state, effects) = run(state, [checked(job, 3, 2), reserved, ended], 0);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Commit(_))), "nothing can take the step back");
    assert!(state.job.is_none());
}

#[test]
fn a_group_falls_back_together() {
    let mut memory = Memory::new(trust());
    for name in ["a", "b"] {
        let model = ModelMemory { active: Some(version(1)), settled: true, ..ModelMemory::default() };
        memory.models.insert(name.to_owned(), model);
    }
    let (state, effects) = run(machine(memory), [Event::LinkUp], 0);
    let job = started_job(&effects).expect("a job");
    let models: Vec<(String, Installed)> = ["a", "b"].map(|name| (name.to_owned(), version(2))).into();
    let named = models.iter().map(|(name, version)| (name.clone(), version.digest)).collect();
    let checked = Event::DeploymentChecked { job, sequence: 1, models: named };
    let proven = Event::Proven { job, proven: Proven { trust: trust(), sequence: Some(1), models } };
    let (state, _) = run(state, [checked, proven], 0);
    assert_eq!((active(&state, "a"), active(&state, "b")), (Some(2), Some(2)));
    let failed = Event::ServeFailed {
        model: "b".to_owned(),
        digest: version(2).digest,
        reason: "load-failed".to_owned(),
        message: "no memory".to_owned(),
    };
    let (state, _) = run(state, [failed], 0);
    assert_eq!((active(&state, "a"), active(&state, "b")), (Some(1), Some(1)));
}

#[test]
fn a_sideload_waits_its_turn_and_interrupts_only_the_network() {
    let order = |name: &str| Order::Sideload { path: PathBuf::from(name) };
    let (state, effects) = run(with_versions(1, None), [Event::LinkUp], 0);
    let job = started_job(&effects).expect("a job");
    let (state, effects) = run(state, [Event::Asked { ticket: 1, order: order("a.cask") }], 0);
    assert_eq!(effects, [Effect::Abort { job }]);
    let (state, effects) = run(state, [Event::Ended { job, end: End::Aborted }], 0);
    let sideload = started_job(&effects).expect("the person goes first");
    let (state, effects) = run(state, [Event::Asked { ticket: 2, order: order("b.cask") }], 0);
    assert!(effects.is_empty(), "one person does not interrupt another: {effects:?}");
    let refused = Event::Ended { job: sideload, end: refusal(5, None, 2) };
    let (_, effects) = run(state, [refused], 0);
    let answered = effects.iter().any(
        |effect| matches!(effect, Effect::Answer { ticket: 1, answer: Answer::Refused(refusal) } if refusal.step == 5),
    );
    assert!(answered, "{effects:?}");
    assert!(started_job(&effects).is_some(), "the second sideload runs");
}
