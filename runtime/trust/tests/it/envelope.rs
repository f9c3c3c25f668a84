//! DSSE envelopes: one type per kind, one spelling per content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runtime_trust::limits::SIGNATURES_MAX;
use runtime_trust::{Envelope, PayloadType, Role};

use crate::fleet::*;

fn text(envelope: &[u8]) -> String {
    String::from_utf8(envelope.to_vec()).unwrap()
}

#[test]
fn what_is_signed_is_dsses_encoding() {
    use ed25519_dalek::Verifier;
    let envelope = text(&signed(PayloadType::Manifest, b"hello", &[RELEASE]));
    let value: serde_json::Value = serde_json::from_str(&envelope).unwrap();
    let signature = STANDARD.decode(value["signatures"][0]["sig"].as_str().unwrap()).unwrap();
    let public = ed25519_dalek::VerifyingKey::from_bytes(&key(RELEASE).public().to_bytes()).unwrap();
    let encoding = b"DSSEv1 37 application/vnd.cask.manifest.v1+json 5 hello";
    public.verify(encoding, &ed25519_dalek::Signature::from_slice(&signature).unwrap()).unwrap();
    assert_eq!(
        envelope,
        format!(
            r#"{{"payload":"aGVsbG8=","payloadType":"application/vnd.cask.manifest.v1+json","signatures":[{{"keyid":"{}","sig":"{}"}}]}}"#,
            key(RELEASE).id(),
            STANDARD.encode(signature)
        )
    );
}

#[test]
fn wrong_payload_type() {
    // One key in both roles: only the type keeps a manifest from being a deployment.
    let mut draft = Draft::default();
    draft.roots[0] = RootDraft::new(1).with(Role::Targets, role(1, &[DEPLOY]));
    let state = draft.enrolled();
    let payload = deployment().to_bytes();
    let control = signed(PayloadType::Deployment, &payload, &[DEPLOY]);
    state.check_deployment(&control, FLEET, CHANNEL, NOW).unwrap();
    let attack = signed(PayloadType::Manifest, &payload, &[DEPLOY]);
    assert_refused(state.check_deployment(&attack, FLEET, CHANNEL, NOW), 4, "wrong-payload-type");
    state.check_sideload(&attack, NAME).unwrap();
    assert_refused(state.check_sideload(&control, NAME), 5, "wrong-payload-type");
}

#[test]
fn payload_type_changed_after_signing() {
    let state = Draft::default().enrolled();
    let payload = deployment().to_bytes();
    state.check_deployment(&signed(PayloadType::Deployment, &payload, &[DEPLOY]), FLEET, CHANNEL, NOW).unwrap();
    let manifest = text(&signed(PayloadType::Manifest, &payload, &[DEPLOY]));
    let relabelled = manifest.replace("cask.manifest", "cask.deployment");
    assert_refused(state.check_deployment(relabelled.as_bytes(), FLEET, CHANNEL, NOW), 4, "signature-threshold");
}

#[test]
fn unknown_payload_type() {
    let control = text(&signed(PayloadType::Manifest, MANIFEST, &[RELEASE]));
    Envelope::parse(control.as_bytes()).unwrap();
    let attack = control.replace("manifest.v1", "manifest.v2");
    assert_refused(Envelope::parse(attack.as_bytes()), 5, "wrong-payload-type");
}

#[test]
fn payload_changed_after_signing() {
    let state = Draft::default().enrolled();
    let control = text(&signed(PayloadType::Manifest, MANIFEST, &[RELEASE]));
    state.check_sideload(control.as_bytes(), NAME).unwrap();
    let other = MANIFEST.to_ascii_uppercase();
    let attack = control.replace(&STANDARD.encode(MANIFEST), &STANDARD.encode(other));
    assert_refused(state.check_sideload(attack.as_bytes(), NAME), 5, "signature-threshold");
}

#[test]
fn another_spelling_of_the_same_envelope() {
    let control = text(&signed(PayloadType::Manifest, b"ab", &[RELEASE]));
    Envelope::parse(control.as_bytes()).unwrap();
    assert!(control.contains("YWI="));
    for (what, attack) in [
        ("base64 with other unused bits", control.replace("YWI=", "YWJ=")),
        ("base64 without padding", control.replace("YWI=", "YWI")),
        ("base64 with a line break", control.replace("YWI=", "YW\\nI=")),
        ("an escape", control.replace("YWI=", "\\u0059WI=")),
        ("a space", control.replacen(':', ": ", 1)),
        ("a trailing line break", format!("{control}\n")),
        ("bytes behind it", format!("{control}{{}}")),
        ("an unknown field", control.replacen('{', r#"{"x":1,"#, 1)),
        ("a field twice", control.replacen('{', r#"{"payload":"YWI=","#, 1)),
        ("an unknown field of a signature", control.replace(r#"{"keyid""#, r#"{"x":1,"keyid""#)),
        (
            "an uppercase key id",
            control.replace(&key(RELEASE).id().to_string(), &key(RELEASE).id().to_string().to_uppercase()),
        ),
        ("no signatures", control.split(r#","signatures""#).next().unwrap().to_owned() + "}"),
    ] {
        let refusal = Envelope::parse(attack.as_bytes()).expect_err(what);
        assert_eq!(refusal.reason(), "malformed", "{what}: {refusal}");
        assert_ne!(attack, control, "{what}");
    }
}

#[test]
fn same_key_counted_twice_in_an_envelope() {
    let mut draft = Draft::default();
    draft.roots[0] = RootDraft::new(1).with(Role::Targets, role(2, &[RELEASE, 4]));
    let state = draft.enrolled();
    state.check_sideload(&signed(PayloadType::Manifest, MANIFEST, &[RELEASE, 4]), NAME).unwrap();
    let once = text(&signed(PayloadType::Manifest, MANIFEST, &[RELEASE]));
    let start = once.find(r#"{"keyid""#).unwrap();
    let signature = once[start..].trim_end_matches("]}");
    let twice = once.replace(signature, &format!("{signature},{signature}"));
    Envelope::parse(twice.as_bytes()).expect("it is well-formed, it just proves no more");
    assert_refused(state.check_sideload(twice.as_bytes(), NAME), 5, "signature-threshold");
}

#[test]
fn more_signatures_than_are_looked_at_in_an_envelope() {
    let signers: Vec<u8> = (1..=u8::try_from(SIGNATURES_MAX).unwrap() + 1).collect();
    Envelope::parse(&signed(PayloadType::Manifest, MANIFEST, &signers[1..])).unwrap();
    assert_refused(Envelope::parse(&signed(PayloadType::Manifest, MANIFEST, &signers)), 5, "malformed");
}

#[test]
fn a_signature_can_be_added_later() {
    let two = role(2, &[RELEASE, 4]);
    let mut envelope = Envelope::parse(&signed(PayloadType::Manifest, MANIFEST, &[RELEASE])).unwrap();
    assert_eq!((envelope.kind(), envelope.payload()), (PayloadType::Manifest, MANIFEST));
    assert_refused(envelope.verify(PayloadType::Manifest, &two), 5, "signature-threshold");
    envelope.add_signature(&key(4));
    envelope.add_signature(&key(4));
    envelope.verify(PayloadType::Manifest, &two).unwrap();
    assert_eq!(envelope.to_bytes(), signed(PayloadType::Manifest, MANIFEST, &[RELEASE, 4]));
}
