//! Pushing: what is refused, what is signed, and that a second look finds the same.

use std::collections::BTreeSet;

use cloud_sync_fleet::decide::ReleaseChange;
use cloud_sync_fleet::keys::create_single;
use cloud_sync_fleet::trust_files::sign_release;
use cloud_sync_fleet::{Fleet, FleetError, Package};
use runtime_console::{Classified, ExitCode};
use runtime_disk::DiskError;
use runtime_trust::keyfile::Protection;
use runtime_trust::{SigningKey, author};

use crate::fixture::{NOW, Place, cask, channel, model, push, roll_out, update};

#[tokio::test]
async fn the_folder_folds_to_the_same_state_and_copies_are_mended() {
    let place = Place::new();
    let mut fleet = place.open().await;
    push(&place, &mut fleet, &place.cask("digits", 1, b"one"), NOW).await.expect("pushed");
    push(&place, &mut fleet, &place.cask("faces", 1, b"two"), NOW).await.expect("pushed");
    roll_out(&mut fleet, "digits", NOW).await;
    let (state, files) = (fleet.state().clone(), fleet.files().clone());
    drop(fleet);
    let copy = place.folder.trust().join("timestamp.json");
    std::fs::write(&copy, b"not it").expect("damage");
    let fleet = Fleet::open(&place.folder).await.expect("the fleet");
    assert_eq!((fleet.state(), fleet.files()), (&state, &files));
    assert_eq!(std::fs::read(&copy).expect("the copy"), files.timestamp);
    for (name, bytes) in &files.names {
        assert_eq!(std::fs::read(place.folder.named_targets(name)).expect("the copy"), *bytes);
    }
}

#[tokio::test]
async fn the_same_file_again_stores_nothing_new_and_renews_the_targets() {
    let place = Place::new();
    let mut fleet = place.open().await;
    let file = place.cask("digits", 1, b"model");
    let first = push(&place, &mut fleet, &file, NOW).await.expect("pushed");
    let mut new = 0;
    let package = Package::open(&file, fleet.root()).expect("the artifact");
    package.store(fleet.objects(), |is_new| new += u64::from(is_new)).await.expect("stored");
    assert_eq!(new, 0);
    let again = push(&place, &mut fleet, &file, NOW + 1000).await.expect("pushed again");
    assert_eq!((again.digest, again.targets_version), (first.digest, first.targets_version + 1));
    let set = fleet.state().trust().expect("pushed");
    assert_eq!(set.names[&model("digits")].expires, NOW + 1000 + 365 * 86_400);
}

#[tokio::test]
async fn what_is_not_trusted_is_not_pushed() {
    let place = Place::new();
    let mut fleet = place.open().await;
    let good = std::fs::read(place.cask("digits", 1, b"model")).expect("the artifact");
    let stranger = SigningKey::from_seed(&[9; 32]);
    let mut flipped = good.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let rows = [
        ("by a stranger", cask("digits", 1, b"model", &[&stranger]), ExitCode::NotTrusted),
        ("unsigned", cask("digits", 1, b"model", &[]), ExitCode::NotTrusted),
        ("flipped", flipped, ExitCode::NotTrusted),
        ("truncated", good[..good.len() - 1].to_vec(), ExitCode::NotTrusted),
        ("empty", Vec::new(), ExitCode::NotTrusted),
    ];
    for (name, bytes, expected) in rows {
        let file = place.path(&format!("{name}.cask"));
        std::fs::write(&file, bytes).expect("written");
        let error = push(&place, &mut fleet, &file, NOW).await.expect_err(name);
        assert_eq!(error.exit_code(), expected, "{name}: {error}");
    }
    assert!(fleet.state().trust().is_none(), "nothing became current");
    let missing = push(&place, &mut fleet, &place.path("none.cask"), NOW).await.expect_err("no file");
    assert_eq!(missing.exit_code(), ExitCode::Usage, "{missing}");
}

#[tokio::test]
async fn targets_that_say_something_else_are_refused() {
    let place = Place::new();
    let mut fleet = place.open().await;
    push(&place, &mut fleet, &place.cask("digits", 1, b"one"), NOW).await.expect("pushed");
    let name = model("digits");
    let lifetimes = fleet.settings().expiry.seconds();
    let keys = [place.key("release")];
    let change = ReleaseChange::default();
    let plan = fleet.plan_release(&name, &change).expect("a plan");
    let position = fleet.state().position();

    let mut other = plan.clone();
    other.allowed.clear();
    let signed = sign_release(&other, change.clone(), fleet.root(), &keys, lifetimes, NOW).expect("signed");
    let error = fleet.commit_release(&signed, NOW).await.expect_err("another list");
    assert!(matches!(error, FleetError::OtherThanPlanned { what: "the allowed manifests", .. }), "{error}");

    let stranger = [SigningKey::from_seed(&[9; 32])];
    let signed = sign_release(&plan, change.clone(), fleet.root(), &stranger, lifetimes, NOW).expect("signed");
    let error = fleet.commit_release(&signed, NOW).await.expect_err("another key");
    assert_eq!(error.exit_code(), ExitCode::NotTrusted, "{error}");

    let signed = sign_release(&plan, change, fleet.root(), &keys, lifetimes, NOW - 400 * 86_400).expect("signed");
    let error = fleet.commit_release(&signed, NOW).await.expect_err("expired");
    assert!(error.to_string().contains("expired"), "{error}");
    assert_eq!(fleet.state().position(), position, "nothing happened");
}

#[tokio::test]
async fn a_release_threshold_of_two_needs_two_people() {
    let ann = tempfile::tempdir().expect("a folder");
    let ann_file = ann.path().join("ann.key");
    let ann_public = create_single(&ann_file, "release", Protection::InsecureUnencrypted).expect("a key");
    let place = Place::with(|new| {
        new.trusted.push(("release", ann_public));
        new.thresholds.insert("release", 2);
    });
    let mut fleet = place.open().await;
    let ann_key = runtime_trust::keyfile::open_key(&std::fs::read(&ann_file).expect("the file"), b"").expect("a key");
    let file = place.path("digits.cask");
    std::fs::write(&file, cask("digits", 1, b"model", &[&place.key("release")])).expect("written");
    let error = push(&place, &mut fleet, &file, NOW).await.expect_err("one signature on the artifact");
    assert_eq!(error.exit_code(), ExitCode::NotTrusted, "{error}");

    std::fs::write(&file, cask("digits", 1, b"model", &[&place.key("release"), &ann_key])).expect("written");
    let error = push(&place, &mut fleet, &file, NOW).await.expect_err("one signature on the targets");
    assert!(error.hint().is_some_and(|hint| hint.contains("--key")), "{error}: {:?}", error.hint());

    let package = Package::open(&file, fleet.root()).expect("the artifact");
    let (artifact, _) = package.store(fleet.objects(), |_| {}).await.expect("stored");
    let change = ReleaseChange { artifact: Some(artifact), ..ReleaseChange::default() };
    let plan = fleet.plan_release(&model("digits"), &change).expect("a plan");
    let lifetimes = fleet.settings().expiry.seconds();
    let keys = [place.key("release"), ann_key];
    let signed = sign_release(&plan, change, fleet.root(), &keys, lifetimes, NOW).expect("signed");
    fleet.commit_release(&signed, NOW).await.expect("both have signed");
}

#[tokio::test]
async fn targets_over_their_limit_are_refused_with_the_numbers() {
    let place = Place::new();
    let mut fleet = place.open().await;
    let name = model("digits");
    let lifetimes = fleet.settings().expiry.seconds();
    push(&place, &mut fleet, &place.cask("digits", 1, b"model"), NOW).await.expect("pushed");
    let mut plan = fleet.plan_release(&name, &ReleaseChange::default()).expect("a plan");
    let first = plan.allowed[0].clone();
    plan.allowed = (1..=400)
        .map(|number: u64| {
            let digest = runtime_trust::Digest::of(&number.to_le_bytes());
            cloud_sync_fleet::event::ArtifactRecord { number, digest, ..first.clone() }
        })
        .collect();
    let keys = [place.key("release")];
    let error =
        sign_release(&plan, ReleaseChange::default(), fleet.root(), &keys, lifetimes, NOW).expect_err("too large");
    let FleetError::TargetsTooLarge { versions: 400, found, max: 49_152, retire_below: 101, .. } = error else {
        panic!("{error}");
    };
    assert!(found > 49_152);
    assert!(error.hint().is_some_and(|hint| hint.contains("--retire-below 101")));
}

#[tokio::test]
async fn a_denied_version_is_denied_to_devices() {
    let place = Place::new();
    let mut fleet = place.open().await;
    let bad = push(&place, &mut fleet, &place.cask("digits", 1, b"one"), NOW).await.expect("pushed");
    push(&place, &mut fleet, &place.cask("digits", 2, b"two"), NOW).await.expect("pushed");
    let change = ReleaseChange { deny: BTreeSet::from([bad.digest]), floor: Some(2), ..ReleaseChange::default() };
    update(&place, &mut fleet, &model("digits"), change, NOW).await.expect("signed");
    let named = &fleet.files().names[&model("digits")];
    let draft = author::read_named_targets("digits", named).expect("targets");
    assert!(draft.denied.contains(&bad.digest));
    assert_eq!((draft.floor, draft.allowed.len()), (2, 1));
}

#[tokio::test]
async fn one_process_holds_the_folder() {
    let place = Place::new();
    let held = place.open().await;
    let error = Fleet::open(&place.folder).await.expect_err("in use");
    assert!(matches!(error, FleetError::Disk(DiskError::InUse { .. })), "{error}");
    assert_eq!(error.exit_code(), ExitCode::NoRoom);
    drop(held);
    Fleet::open(&place.folder).await.expect("free again");
}

#[tokio::test]
async fn without_the_deploy_key_nothing_is_deployed() {
    let place = Place::new();
    let mut fleet = place.open().await;
    push(&place, &mut fleet, &place.cask("digits", 1, b"one"), NOW).await.expect("pushed");
    drop(fleet);
    let mut fleet = Fleet::open(&place.folder).await.expect("the fleet");
    let version = "1".parse().expect("a version");
    let error = fleet.rollout(&channel(), &model("digits"), &version, 0, NOW).await.expect_err("locked");
    assert!(matches!(error, FleetError::Locked { role: "deploy" }), "{error}");
}
