//! Parsers meet arbitrary and mutated bytes: they refuse, they never panic, and nothing mutated is trusted.

use proptest::prelude::*;
use runtime_trust::{Deployment, Envelope, FileName, PayloadType, Refresh, Role, Root, TrustState};

use crate::fleet::*;

/// Feeds every parser and every machine.
fn parse_all(bytes: &[u8]) {
    let _ = Root::pin(bytes);
    let _ = Envelope::parse(bytes);
    let _ = Deployment::parse(bytes);
    let _ = TrustState::parse(bytes);
    let _ = runtime_trust::author::read_named_targets(NAME, bytes);
    let _ = runtime_trust::author::read_delegations(bytes);
    let _ = runtime_trust::author::add_signature(bytes, &key(1));
    let _ = runtime_trust::keyfile::describe_key(bytes);
    let state = Draft::default().enrolled();
    let _ = state.check_deployment(bytes, FLEET, CHANNEL, NOW);
    let _ = state.check_sideload(bytes, NAME);
    let files = Draft::default().files();
    let mut refresh = Refresh::start(&state, NOW, &[NAME.to_owned()]);
    while let Some(wanted) = refresh.wanted() {
        let _ = refresh.clone().feed(Some(bytes));
        refresh.feed(files.get(&wanted.file).map(Vec::as_slice)).unwrap();
    }
}

/// A change of some bytes: overwrite, cut, insert or repeat.
#[derive(Clone, Debug)]
enum Mutation {
    Overwrite(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Double(prop::sample::Index, prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let pieces = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..8),
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            "\"",
            ",",
            ":",
            "null",
            "1e9",
            "-1",
            "18446744073709551616",
            "\\u0000"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Overwrite(at, byte)),
        any::<prop::sample::Index>().prop_map(Mutation::Cut),
        (any::<prop::sample::Index>(), pieces).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(a, b)| Mutation::Double(a, b)),
    ]
}

fn mutate(bytes: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for mutation in mutations {
        let at = |index: &prop::sample::Index| index.index(bytes.len().max(1)).min(bytes.len());
        match mutation {
            Mutation::Overwrite(index, byte) => {
                let at = at(index);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Mutation::Cut(index) => bytes.truncate(at(index)),
            Mutation::Insert(index, piece) => {
                let at = at(index);
                bytes.splice(at..at, piece.iter().copied());
            }
            Mutation::Double(a, b) => {
                let (from, to) = (at(a).min(at(b)), at(a).max(at(b)));
                let piece = bytes[from..to].to_vec();
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

/// Good files of every kind.
fn samples() -> Vec<Vec<u8>> {
    let mut samples: Vec<Vec<u8>> = Draft::default().files().into_values().collect();
    samples.push(signed(PayloadType::Manifest, MANIFEST, &[RELEASE]));
    samples.push(signed(PayloadType::Deployment, &deployment().to_bytes(), &[DEPLOY]));
    samples.push(deployment().to_bytes());
    samples.push(Draft::default().seen().to_bytes());
    samples
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        parse_all(&bytes);
    }

    #[test]
    fn mutated_files_never_panic(
        sample in any::<prop::sample::Index>(),
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let samples: Vec<Vec<u8>> = samples();
        parse_all(&mutate(sample.get::<Vec<u8>>(&samples), &mutations));
    }

    /// What a mutated file says, if it is trusted at all, is what the good one said.
    #[test]
    fn mutated_files_are_not_trusted(
        mutations in prop::collection::vec(mutation(), 1..3),
        file in prop::sample::select(vec![
            FileName::Timestamp, FileName::Snapshot, FileName::Targets, FileName::Named(NAME.to_owned()),
        ]),
    ) {
        let draft = Draft::default();
        let mut files = draft.files();
        let mutated = mutate(&files[&file], &mutations);
        files.insert(file, mutated);
        if let Ok(state) = refresh(&draft.enrolled(), &files) {
            prop_assert_eq!(state.version(&FileName::Timestamp), Some(5));
            prop_assert_eq!(state.time_seen(), draft.issued);
            prop_assert_eq!(state.floor(NAME), 3);
            prop_assert_eq!(state.allowed(NAME), vec![allowed(MANIFEST, 7)]);
        }
    }

    #[test]
    fn mutated_envelopes_and_roots_are_not_trusted(mutations in prop::collection::vec(mutation(), 1..3)) {
        let state = Draft::default().enrolled();
        let manifest = signed(PayloadType::Manifest, MANIFEST, &[RELEASE]);
        let mutated = mutate(&manifest, &mutations);
        if mutated != manifest {
            prop_assert!(state.check_sideload(&mutated, NAME).is_err());
        }
        let good = signed(PayloadType::Deployment, &deployment().to_bytes(), &[DEPLOY]);
        let mutated = mutate(&good, &mutations);
        if mutated != good {
            prop_assert!(state.check_deployment(&mutated, FLEET, CHANNEL, NOW).is_err());
        }
        if let Ok(root) = Root::pin(&mutate(&RootDraft::new(1).bytes(), &mutations)) {
            for each in Role::ALL {
                prop_assert_eq!(root.role(each), &RootDraft::new(1).roles[&each]);
            }
        }
    }
}
