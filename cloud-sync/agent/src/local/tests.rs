//! Sideloads, rollbacks and holds, on a device without a network.
#![allow(clippy::disallowed_methods, reason = "tests write small files into folders of their own")]

use std::path::PathBuf;

use runtime_trust::FileName;

use crate::fixture::{Artifact, MODEL, STRANGER, Spec, artifact};
use crate::machine::{Answer, End, Stage};
use crate::order::tests::World;

fn write(folder: &tempfile::TempDir, artifact: &Artifact) -> PathBuf {
    let path = folder.path().join("model.cask");
    std::fs::write(&path, &artifact.cask).expect("a small file");
    path
}

fn refused(answer: Answer) -> (u8, String) {
    match answer {
        Answer::Refused(refusal) => (refusal.step, refusal.reason),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

fn two() -> Artifact {
    artifact(&Spec::new(MODEL, 2))
}

#[test]
fn a_sideload_needs_no_network_and_holds_against_the_deployments_seen() {
    let mut world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let two = two();
    let answer = world.local.install(&write(&folder, &two)).expect("an answer");
    assert!(matches!(&answer, Answer::Active(models) if models[0].1.number == 2), "{answer:?}");
    world.assert_answers(2);

    // A deployment that was seen before the sideload is held; the next one is followed.
    let one = artifact(&Spec::new(MODEL, 1));
    world.fleet.sequence = 1;
    let mut source = world.source(&[&one]);
    assert_eq!(world.follow(&mut source), End::Nothing);
    world.assert_answers(2);
    let mut source = world.source(&[&one]);
    assert_eq!(world.follow(&mut source), End::Done);
    world.assert_answers(1);
}

#[test]
fn a_rollback_holds_and_twice_is_back_again() {
    let mut world = World::new();
    let two = two();
    world.fleet.allow(&two);
    let mut source = world.source(&[&two]);
    assert_eq!(world.follow(&mut source), End::Done);
    for expected in [1, 2, 1] {
        let answer = world.local.rollback(None).expect("an answer");
        assert!(matches!(&answer, Answer::Active(models) if models[0].1.number == expected), "{answer:?}");
        world.assert_answers(expected);
    }
    assert_eq!(world.follow(&mut source), End::Nothing, "the deployment that was rolled back is not followed again");
    assert_eq!(world.local.executor.state().memory().models[MODEL].held_above, Some(3));
}

#[test]
fn bad_files_are_refused_in_their_step_and_change_nothing() {
    let two = two();
    let cut = Artifact { cask: two.cask[..two.cask.len() / 2].to_vec(), ..two.clone() };
    let mut flipped = two.clone();
    let last = flipped.cask.len() - 5;
    flipped.cask[last] ^= 1;
    let text = Artifact { cask: b"hello".to_vec(), ..two.clone() };
    let stranger = artifact(&Spec { signer: STRANGER, ..Spec::new(MODEL, 2) });
    let wrong = artifact(&Spec { golden_wrong: true, ..Spec::new(MODEL, 2) });
    let rows = [
        ("not a sealed file", text, 1),
        ("half a file", cut, 1),
        ("a flipped byte", flipped, 7),
        ("a stranger's signature", stranger, 5),
        ("wrong golden answers", wrong, 9),
    ];
    for (what, artifact, step) in rows {
        let mut world = World::new();
        let folder = tempfile::tempdir().expect("a folder");
        let (found, reason) = refused(world.local.install(&write(&folder, &artifact)).expect("an answer"));
        assert_eq!(found, step, "{what}: {reason}");
        world.assert_answers(1);
        assert_eq!(world.local.executor.state().stage(MODEL), Stage::Refused, "{what}");
        // The control: an honest file on the same device.
        world.local.install(&write(&folder, &two)).expect("an answer");
        world.assert_answers(2);
    }
}

#[test]
fn newer_metadata_beside_the_file_counts_and_bad_metadata_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let two = two();
    let beside = |name: &FileName, bytes: &[u8]| {
        std::fs::write(folder.path().join(name.to_string()), bytes).expect("a small file");
    };
    let mut world = World::new();
    world.fleet.allow(&two);
    world.fleet.denied.entry(MODEL.to_owned()).or_default().insert(two.digest);
    for (name, bytes) in world.fleet.metadata() {
        beside(&name, &bytes);
    }
    let path = write(&folder, &two);
    assert_eq!(refused(world.local.install(&path).expect("an answer")), (5, "denied".to_owned()));
    world.assert_answers(1);

    // On another device the same file with damaged metadata beside it is judged by what was last seen.
    let mut world = World::new();
    beside(&FileName::Timestamp, b"{}");
    world.local.install(&path).expect("an answer");
    world.assert_answers(2);
}
