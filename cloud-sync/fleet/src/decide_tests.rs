use std::collections::{BTreeMap, BTreeSet};

use cloud_sync_protocol::ModelName;
use proptest::prelude::*;
use runtime_trust::Digest;

use super::*;
use crate::event::{ArtifactRecord, Cause, EVENT_SCHEMA, Event, Record, TrustChange, TrustFile};
use crate::settings::ExpiryDays;

const NOW: u64 = 1_790_000_000;

fn name(text: &str) -> ModelName {
    ModelName::parse(text).expect("a name")
}

fn channel(text: &str) -> ChannelId {
    ChannelId::parse(text).expect("a name")
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn artifact(of: &str, number: u64) -> ArtifactRecord {
    ArtifactRecord {
        number,
        version: format!("1.0.{number}"),
        digest: digest(&format!("{of} {number}")),
        manifest_bytes: 1000,
        chunks: 2,
        stored_bytes: 2000,
    }
}

/// A fleet whose plans come true without signatures: each becomes the event that `Fleet` would write.
#[derive(Default)]
struct Story {
    state: State,
    records: Vec<Record>,
}

impl Story {
    fn happened(&mut self, event: Event) {
        let position = self.state.position() + 1;
        let record = Record { schema: EVENT_SCHEMA, position, time: NOW, event };
        self.state.apply(&record).expect("what was decided can happen");
        self.records.push(record);
    }

    fn release(&mut self, of: &str, change: ReleaseChange) -> Result<ReleasePlan, Refused> {
        let plan = release(&self.state, &name(of), &change)?;
        let file = |version| TrustFile { digest: digest("file"), bytes: 1, version, expires: NOW + 1_000_000 };
        let next = |now: Option<&TrustFile>| (now.map_or(0, |file| file.version) + 1).max(change.version_min);
        let trust = self.state.trust();
        let change_of_trust = TrustChange {
            timestamp: file(next(trust.map(|trust| &trust.timestamp))),
            snapshot: Some(file(next(trust.map(|trust| &trust.snapshot)))),
            targets: Some(file(plan.top_level.version)),
            names: BTreeMap::from([(plan.name.clone(), file(plan.version))]),
        };
        self.happened(Event::Released {
            name: plan.name.clone(),
            artifact: change.artifact,
            retired: plan.retired.clone(),
            floor: plan.floor,
            denied: plan.denied.clone(),
            trust: change_of_trust,
        });
        Ok(plan)
    }

    fn push(&mut self, of: &str, number: u64) -> Result<ReleasePlan, Refused> {
        self.release(of, ReleaseChange { artifact: Some(artifact(of, number)), ..ReleaseChange::default() })
    }

    fn deploy(&mut self, plan: DeploymentPlan) -> DeploymentPlan {
        let deployment = DeploymentRecord {
            sequence: plan.sequence,
            models: plan.models.clone(),
            envelope: digest("envelope"),
            issued: NOW,
            expires: NOW + 1_000_000,
            cause: plan.cause.clone(),
        };
        self.happened(Event::Deployed { channel: plan.channel.clone(), deployment });
        plan
    }

    fn rollout(&mut self, of: &str, number: u64) -> Result<DeploymentPlan, Refused> {
        let version = VersionChoice::Number(number);
        let plan = rollout(&self.state, &channel("stable"), &name(of), &version, SequenceBounds::default())?;
        Ok(self.deploy(plan))
    }

    fn rollback(&mut self) -> Result<DeploymentPlan, Refused> {
        let plan = rollback(&self.state, &channel("stable"), None, SequenceBounds::default())?;
        Ok(self.deploy(plan))
    }

    fn runs(&self, of: &str) -> Option<Digest> {
        self.state.deployment(&channel("stable")).and_then(|now| now.models.get(&name(of))).copied()
    }
}

fn story(numbers: &[u64]) -> Story {
    let mut story = Story::default();
    for number in numbers {
        story.push("digits", *number).expect("pushed");
    }
    story
}

#[test]
fn versions_of_targets_rise_and_a_new_name_joins_the_top_level() {
    let mut story = story(&[1]);
    let second = story.push("digits", 2).expect("pushed");
    assert_eq!((second.version, second.top_level.version), (2, 2));
    let other = story.push("faces", 1).expect("pushed");
    assert_eq!((other.version, other.top_level.version), (1, 3));
    assert_eq!(other.top_level.names, [name("digits"), name("faces")]);
    let restored = ReleaseChange { version_min: 100, ..ReleaseChange::default() };
    let plan = story.release("digits", restored).expect("signed anew");
    assert_eq!((plan.version, plan.top_level.version), (100, 100));
}

#[test]
fn numbers_grow_and_mean_one_digest() {
    let mut story = story(&[3]);
    let again = story.push("digits", 3).expect("the same once more");
    assert_eq!(again.allowed, [artifact("digits", 3)]);
    let push = |state: &State, changed: ArtifactRecord| {
        let change = ReleaseChange { artifact: Some(changed), ..ReleaseChange::default() };
        release(state, &name("digits"), &change).expect_err("refused").to_string()
    };
    let other = ArtifactRecord { digest: digest("other"), ..artifact("digits", 3) };
    assert!(push(&story.state, other).contains("the number belongs to version 1.0.3"));
    assert!(push(&story.state, artifact("digits", 2)).contains("numbers grow, and the highest is 3"));
    let twin = ArtifactRecord { version: "1.0.3".to_owned(), ..artifact("digits", 4) };
    assert!(push(&story.state, twin).contains("version 1.0.3 exists as number 3"));
}

#[test]
fn retiring_denying_and_the_floor() {
    let mut story = story(&[1, 2, 3, 4]);
    let change = ReleaseChange { retire_below: Some(2), floor: Some(3), ..ReleaseChange::default() };
    let plan = story.release("digits", change).expect("signed");
    let allowed: Vec<u64> = plan.allowed.iter().map(|record| record.number).collect();
    assert_eq!((plan.retired, allowed), (vec![1], vec![3, 4]));
    let deny = ReleaseChange { deny: BTreeSet::from([digest("digits 4")]), ..ReleaseChange::default() };
    let plan = story.release("digits", deny).expect("signed");
    assert_eq!(plan.denied, [digest("digits 4")]);
    assert_eq!(plan.floor, 3, "the floor stays");
    let rows = [(1, "it is under the floor"), (2, "it is under the floor"), (4, "it is denied")];
    for (number, reason) in rows {
        let error = story.rollout("digits", number).expect_err("refused").to_string();
        assert!(error.ends_with(reason), "{number}: {error}");
    }
    let newest = choose(&story.state, &name("digits"), &VersionChoice::Newest).expect("an allowed one");
    assert_eq!(newest.record.number, 3, "the newest is the newest allowed one");
    let lower = ReleaseChange { floor: Some(2), ..ReleaseChange::default() };
    assert!(matches!(story.release("digits", lower), Err(Refused::FloorFalls { floor: 3, .. })));
}

#[test]
fn what_a_channel_runs_is_not_retired_under_it() {
    let mut story = story(&[1, 2]);
    story.rollout("digits", 1).expect("deployed");
    for change in [
        ReleaseChange { retire_below: Some(2), ..ReleaseChange::default() },
        ReleaseChange { floor: Some(2), ..ReleaseChange::default() },
    ] {
        let error = story.release("digits", change).expect_err("refused");
        assert!(matches!(error, Refused::StillDeployed { number: 1, .. }), "{error}");
    }
    let deny = ReleaseChange { deny: BTreeSet::from([digest("digits 1")]), ..ReleaseChange::default() };
    story.release("digits", deny).expect("denying needs no order");
}

#[test]
fn a_rollout_keeps_the_channels_other_models() {
    let mut story = story(&[1, 2]);
    story.push("faces", 1).expect("pushed");
    story.rollout("digits", 1).expect("deployed");
    story.rollout("faces", 1).expect("deployed");
    let plan = story.rollout("digits", 2).expect("deployed");
    assert_eq!(plan.sequence, 3);
    let expected = BTreeMap::from([(name("digits"), digest("digits 2")), (name("faces"), digest("faces 1"))]);
    assert_eq!(plan.models, expected);
}

#[test]
fn a_rollback_goes_back_along_what_ran() {
    let mut story = story(&[1, 2, 3]);
    for number in [1, 2, 1, 3] {
        story.rollout("digits", number).expect("deployed");
    }
    // To 1, which ran before 3; then to 2, which ran before that; then to the first 1; then there is nothing.
    for number in [1, 2, 1] {
        let plan = story.rollback().expect("rolled back");
        assert_eq!(plan.models[&name("digits")], digest(&format!("digits {number}")));
        assert!(matches!(plan.cause, Cause::Rollback { .. }));
    }
    assert!(matches!(story.rollback(), Err(Refused::NothingOlder { .. })));
}

#[test]
fn a_rollback_passes_over_what_is_no_longer_allowed() {
    let mut story = story(&[1, 2, 3]);
    for number in [1, 2, 3] {
        story.rollout("digits", number).expect("deployed");
    }
    let deny = ReleaseChange { deny: BTreeSet::from([digest("digits 2")]), ..ReleaseChange::default() };
    story.release("digits", deny).expect("denied");
    assert_eq!(story.rollback().expect("rolled back").models[&name("digits")], digest("digits 1"));
}

#[test]
fn sequences_exceed_what_devices_have_seen() {
    let mut story = story(&[1]);
    story.rollout("digits", 1).expect("deployed");
    let rows = [
        ("nothing else", SequenceBounds::default(), Ok(2)),
        ("a person's wish", SequenceBounds { at_least: 50, reported: 0 }, Ok(50)),
        ("a restored folder", SequenceBounds { at_least: 0, reported: 70 }, Ok(71)),
        ("both", SequenceBounds { at_least: 50, reported: 70 }, Ok(71)),
        ("a lie", SequenceBounds { at_least: 0, reported: u64::MAX }, Ok(2)),
        ("another term", SequenceBounds { at_least: 1 << 32, reported: 0 }, Err(())),
    ];
    for (row, bounds, expected) in rows {
        let plan = rollout(&story.state, &channel("stable"), &name("digits"), &VersionChoice::Newest, bounds);
        assert_eq!(plan.map(|plan| plan.sequence).map_err(|_| ()), expected, "{row}");
    }
}

#[test]
fn what_is_unknown_is_named() {
    let story = story(&[1]);
    let bounds = SequenceBounds::default();
    let start = |of: &str, version: &str| {
        let version = version.parse().expect("a version");
        rollout(&story.state, &channel("stable"), &name(of), &version, bounds).expect_err("refused").to_string()
    };
    assert_eq!(start("faces", "1"), "find an artifact called faces");
    assert_eq!(start("digits", "9.9.9"), "find version 9.9.9 of digits");
    let error = rollback(&story.state, &channel("beta"), None, bounds).expect_err("refused");
    assert_eq!(error.to_string(), "find a deployment of channel beta");
}

#[test]
fn renewals_come_in_time() {
    let lifetimes =
        ExpiryDays { targets_days: 365, snapshot_days: 30, timestamp_days: 7, deployment_days: 40 }.seconds();
    assert!(renewals(&State::default(), lifetimes, NOW).is_empty(), "nothing was ever pushed");
    let mut story = story(&[1]);
    story.rollout("digits", 1).expect("deployed");
    // All files of the story end 1,000,000 seconds (11.6 days) after NOW.
    let days = |days: u64| NOW + days * 86_400;
    let rows = [(NOW, (true, true, 0)), (days(2), (true, true, 1)), (days(20), (true, true, 1))];
    for (now, expected) in rows {
        let due = renewals(&story.state, lifetimes, now);
        assert_eq!((due.snapshot, due.timestamp, due.channels.len()), expected, "{now}");
    }
    let long = ExpiryDays { targets_days: 365, snapshot_days: 20, timestamp_days: 20, deployment_days: 20 }.seconds();
    assert!(renewals(&story.state, long, NOW).is_empty(), "everything is in the first half of its life");
    let plan = renew_deployment(&story.state, &channel("stable"), SequenceBounds::default()).expect("a plan");
    assert_eq!((plan.sequence, plan.cause), (2, Cause::Renewal));
    assert_eq!(Some(plan.models[&name("digits")]), story.runs("digits"));
}

/// Commands of a random life.
#[derive(Debug, Clone)]
enum Command {
    Push(u64),
    Retire(u64),
    Floor(u64),
    Deny(u64),
    Rollout(u64),
    Rollback,
    Renew,
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (1..12_u64).prop_map(Command::Push),
        (1..12_u64).prop_map(Command::Retire),
        (0..8_u64).prop_map(Command::Floor),
        (1..12_u64).prop_map(Command::Deny),
        (1..12_u64).prop_map(Command::Rollout),
        Just(Command::Rollback),
        Just(Command::Renew),
    ]
}

proptest! {
    /// Whatever is decided can happen (the fold takes it), folds to the same state again, and never deploys what
    /// devices may not take.
    #[test]
    fn every_decision_can_happen(commands in proptest::collection::vec(command(), 1..40)) {
        let mut story = Story::default();
        for command in commands {
            let before = story.state.deployment(&channel("stable")).map_or(0, |now| now.sequence);
            let deployed = match command {
                Command::Push(number) => { let _ = story.push("digits", number); None }
                Command::Retire(below) => {
                    let _ = story.release("digits", ReleaseChange { retire_below: Some(below), ..ReleaseChange::default() });
                    None
                }
                Command::Floor(floor) => {
                    let _ = story.release("digits", ReleaseChange { floor: Some(floor), ..ReleaseChange::default() });
                    None
                }
                Command::Deny(number) => {
                    let deny = BTreeSet::from([digest(&format!("digits {number}"))]);
                    let _ = story.release("digits", ReleaseChange { deny, ..ReleaseChange::default() });
                    None
                }
                Command::Rollout(number) => story.rollout("digits", number).ok(),
                Command::Rollback => story.rollback().ok(),
                Command::Renew => {
                    let plan = renew_deployment(&story.state, &channel("stable"), SequenceBounds::default());
                    prop_assert_eq!(plan.is_err(), before == 0);
                    if let Ok(plan) = plan { story.deploy(plan); }
                    None
                }
            };
            if let Some(plan) = deployed {
                prop_assert!(plan.sequence > before);
                let named = story.state.artifacts(&name("digits")).expect("it was deployed");
                let runs = plan.models[&name("digits")];
                prop_assert!(named.allowed().any(|artifact| artifact.record.digest == runs));
            }
        }
        prop_assert_eq!(State::fold(&story.records), Ok(story.state));
    }
}
