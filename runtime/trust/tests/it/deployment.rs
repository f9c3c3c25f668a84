//! Step 4: the deployment.

use runtime_trust::limits::{CHANNELS_MAX, MODELS_MAX};
use runtime_trust::{DeployedModel, Deployment, Digest, PayloadType, Refusal, Role, TrustState};

use crate::fleet::*;

fn check(state: &TrustState, deployment: &Deployment) -> Result<Deployment, Refusal> {
    check_bytes(state, &signed(PayloadType::Deployment, &deployment.to_bytes(), &[DEPLOY]))
}

fn check_bytes(state: &TrustState, envelope: &[u8]) -> Result<Deployment, Refusal> {
    state.check_deployment(envelope, FLEET, CHANNEL, NOW)
}

/// The attack is `deployment()` with one change; the control is the same without it.
#[track_caller]
fn assert_change_refused(change: impl Fn(&mut Deployment), reason: &str) {
    let state = Draft::default().enrolled();
    assert_eq!(check(&state, &deployment()), Ok(deployment()));
    let mut attack = deployment();
    change(&mut attack);
    assert_refused(check(&state, &attack), 4, reason);
}

#[test]
fn deployment_replay() {
    let mut state = Draft::default().enrolled();
    let old = deployment();
    state.accept_deployment(&check(&state, &old).unwrap());
    let newer = Deployment { sequence: 11, ..old.clone() };
    // Until the newer one is accepted, nothing is a replay.
    let control = Deployment { sequence: 12, ..old.clone() };
    state.accept_deployment(&check(&state, &newer).unwrap());
    check(&state, &control).unwrap();
    assert_refused(check(&state, &old), 4, "sequence-replay");
}

#[test]
fn deployment_sequence_used_again_for_another_content() {
    let mut state = Draft::default().enrolled();
    state.accept_deployment(&check(&state, &deployment()).unwrap());
    let mut attack = deployment();
    attack.models[0].digest = Digest::of(b"another manifest");
    check(&state, &Deployment { sequence: 11, ..attack.clone() }).unwrap();
    assert_refused(check(&state, &attack), 4, "sequence-repeated");
}

#[test]
fn a_term_is_the_high_half_of_the_sequence() {
    let mut state = Draft::default().enrolled();
    let of_term = |term: u64, number: u64| Deployment { sequence: term << 32 | number, ..deployment() };
    state.accept_deployment(&check(&state, &of_term(2, 1)).unwrap());
    check(&state, &of_term(2, 2)).unwrap();
    assert_refused(check(&state, &of_term(1, u64::from(u32::MAX))), 4, "sequence-replay");
}

#[test]
fn deployment_of_another_fleet() {
    assert_change_refused(|deployment| deployment.fleet = "cameras".to_owned(), "wrong-fleet");
}

#[test]
fn deployment_of_another_channel() {
    assert_change_refused(|deployment| deployment.channel = "beta".to_owned(), "wrong-channel");
}

#[test]
fn expired_deployment() {
    assert_change_refused(|deployment| deployment.expires = NOW, "expired");
}

#[test]
fn deployment_of_a_newer_schema() {
    assert_change_refused(|deployment| deployment.schema = 2, "unsupported-version");
}

#[test]
fn malformed_deployments() {
    assert_change_refused(|deployment| deployment.models.clear(), "malformed");
    assert_change_refused(|deployment| deployment.models.push(deployment.models[0].clone()), "malformed");
    assert_change_refused(|deployment| deployment.models[0].name = "../x".to_owned(), "malformed");
    assert_change_refused(|deployment| deployment.fleet = "a/b".to_owned(), "malformed");
    assert_change_refused(|deployment| deployment.issued = deployment.expires + 1, "malformed");
    let model = |number: usize| DeployedModel { name: format!("m{number}"), digest: Digest::of(b"") };
    let many = |count: usize| Deployment { models: (0..count).map(model).collect(), ..deployment() };
    check(&Draft::default().enrolled(), &many(MODELS_MAX)).unwrap();
    assert_change_refused(|deployment| *deployment = many(MODELS_MAX + 1), "malformed");
}

#[test]
fn deployment_with_an_unknown_or_doubled_field() {
    let state = Draft::default().enrolled();
    let text = String::from_utf8(deployment().to_bytes()).unwrap();
    let sign = |text: &str| signed(PayloadType::Deployment, text.as_bytes(), &[DEPLOY]);
    check_bytes(&state, &sign(&text)).unwrap();
    let unknown = text.replacen('{', r#"{"comment":"","#, 1);
    assert_refused(check_bytes(&state, &sign(&unknown)), 4, "malformed");
    let doubled = text.replacen('{', r#"{"sequence":99,"#, 1);
    assert_refused(check_bytes(&state, &sign(&doubled)), 4, "malformed");
}

#[test]
fn deployment_signed_by_another_role() {
    let state = Draft::default().enrolled();
    let sign = |signer| signed(PayloadType::Deployment, &deployment().to_bytes(), &[signer]);
    check_bytes(&state, &sign(DEPLOY)).unwrap();
    for signer in [STRANGER, RELEASE, ROOT] {
        assert_refused(check_bytes(&state, &sign(signer)), 4, "signature-threshold");
    }
}

#[test]
fn deployment_under_the_threshold() {
    let mut draft = Draft::default();
    draft.roots[0] = RootDraft::new(1).with(Role::Timestamp, role(2, &[DEPLOY, 4]));
    let sign = |signers: &[u8]| signed(PayloadType::Deployment, &deployment().to_bytes(), signers);
    check_bytes(&draft.enrolled(), &sign(&[DEPLOY, 4])).unwrap();
    assert_refused(check_bytes(&draft.enrolled(), &sign(&[DEPLOY])), 4, "signature-threshold");
}

#[test]
fn accepting_raises_sequence_and_time_seen_and_never_lowers_them() {
    let mut state = Draft::default().enrolled();
    state.accept_deployment(&deployment());
    assert_eq!((state.sequence(CHANNEL), state.time_seen()), (Some(10), NOW - 100));
    state.accept_deployment(&Deployment { sequence: 9, issued: 1, ..deployment() });
    assert_eq!((state.sequence(CHANNEL), state.time_seen()), (Some(10), NOW - 100));
    assert_eq!(state.clock(0), NOW - 100);
    assert_eq!(state.clock(NOW), NOW);
}

#[test]
fn more_channels_than_are_remembered() {
    let mut state = Draft::default().enrolled();
    let of_channel = |number: usize| Deployment { channel: format!("c{number}"), ..deployment() };
    let check_channel = |state: &TrustState, number: usize| {
        let envelope = signed(PayloadType::Deployment, &of_channel(number).to_bytes(), &[DEPLOY]);
        state.check_deployment(&envelope, FLEET, &format!("c{number}"), NOW)
    };
    for number in 0..CHANNELS_MAX {
        let deployment = check_channel(&state, number).unwrap();
        state.accept_deployment(&deployment);
    }
    assert_refused(check_channel(&state, CHANNELS_MAX), 4, "too-many");
}
