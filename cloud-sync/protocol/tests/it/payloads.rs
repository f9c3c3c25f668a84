//! Newer versions, sizes, and bytes that are no payload.

use bytes::Bytes;
use cloud_sync_protocol::limits::*;
use cloud_sync_protocol::{
    Declined, Enrolment, InlineObject, ModelStatus, Offer, ProtocolError, RefusalReport, Reply, ReplyBody, Request,
    Status, WhyDeclined,
};
use proptest::prelude::*;
use runtime_trust::Digest;

use crate::golden;

/// The JSON with another version and a field that only that version would have.
fn newer(bytes: &[u8]) -> Vec<u8> {
    let mut value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    value["schema"] = 2.into();
    value["field_of_version_2"] = true.into();
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let status = Status::decode(&newer(&golden::status().encode().unwrap())).unwrap_err();
    let request = Request::decode(&newer(&Request::Chunk { digest: Digest::of(b"") }.encode())).unwrap_err();
    let enrolment = Enrolment::decode(&newer(&golden::enrolment().encode())).unwrap_err();
    let with_version_2 = |bytes: Bytes| {
        let mut bytes = bytes.to_vec();
        bytes[4] = 2;
        Bytes::from(bytes)
    };
    let reply = golden::replies().remove(0).1.encode().unwrap();
    let reply = Reply::decode(&with_version_2(reply)).unwrap_err();
    let offer = Offer::decode(&with_version_2(golden::offer().encode().unwrap())).unwrap_err();
    for (error, name) in [
        (status, "a device's status"),
        (request, "a device's request"),
        (enrolment, "an enrolment file"),
        (reply, "a reply's header"),
        (offer, "an offer"),
    ] {
        assert!(matches!(error, ProtocolError::Newer { found: 2, newest: 1, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("version 2 is newer than 1"), "{text}");
    }
}

#[test]
fn unknown_fields_versions_and_sizes_are_refused() {
    let request = Request::Chunk { digest: Digest::of(b"") }.encode();
    let text = String::from_utf8(request).unwrap();
    for (from, to, part) in [
        ("\"schema\":1", "\"schema\":0", "version 0"),
        ("\"schema\":1", "\"schema\":-1", "invalid value"),
        ("\"schema\":1", "\"schema\":1.0", "invalid type"),
        ("\"schema\":1,", "", "missing field"),
        ("\"schema\":1", "\"schema\":1,\"more\":2", "unknown field"),
        ("\"schema\":1", "\"schema\":1,\"schema\":1", "duplicate field"),
        ("\"chunk\"", "\"reboot\"", "unknown variant"),
        ("}", "} x", "trailing"),
    ] {
        let wrong = text.replacen(from, to, 1);
        let error = Request::decode(wrong.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(part), "{wrong}: {error}");
    }
    let long = format!("{text}{}", " ".repeat(REQUEST_BYTES_MAX));
    assert!(matches!(Request::decode(long.as_bytes()), Err(ProtocolError::TooLarge { .. })));
    assert!(matches!(Status::decode(&vec![b' '; PAYLOAD_BYTES_MAX + 1]), Err(ProtocolError::TooLarge { .. })));
}

#[test]
fn the_largest_reply_fits_a_payload() {
    let object = Bytes::from(vec![7; OBJECT_BYTES_MAX]);
    let reply = Reply::object(Digest::of(&object), object);
    let payload = reply.encode().unwrap();
    assert!(payload.len() <= PAYLOAD_BYTES_MAX && payload.len() - OBJECT_BYTES_MAX <= REPLY_HEADER_BYTES_MAX);
    assert_eq!(Reply::decode(&payload), Ok(reply));
    let too_large = Reply::object(Digest::of(b""), Bytes::from(vec![7; OBJECT_BYTES_MAX + 1]));
    assert!(matches!(too_large.encode(), Err(ProtocolError::TooLarge { .. })));
    let long = Reply::declined(Digest::of(b""), Declined::new(WhyDeclined::Unavailable, 0, &"\"\u{1}ä".repeat(1000)));
    assert!(long.encode().unwrap().len() < 2048);
}

#[test]
fn the_fullest_offer_fits_a_reply() {
    let object = |index: usize, bytes: usize| InlineObject {
        digest: Digest::of(&index.to_le_bytes()),
        bytes: Bytes::from(vec![index as u8; bytes]),
    };
    let mut offer = Offer {
        manifest: Digest::of(b""),
        inline: (0..OFFER_INLINE_MAX).map(|index| object(index, OFFER_INLINE_BYTES_MAX / OFFER_INLINE_MAX)).collect(),
        mirrors: vec!["m".repeat(MIRROR_BYTES_MAX); OFFER_MIRRORS_MAX],
    };
    let payload = offer.encode().unwrap();
    assert!(payload.len() + REPLY_HEADER_BYTES_MAX <= PAYLOAD_BYTES_MAX);
    assert_eq!(Offer::decode(&payload).as_ref(), Ok(&offer));
    offer.inline[0] = object(0, 1 + OFFER_INLINE_BYTES_MAX / OFFER_INLINE_MAX);
    assert!(matches!(offer.encode(), Err(ProtocolError::TooLarge { .. })));
    offer.inline.truncate(1);
    offer.mirrors.push(String::new());
    assert!(offer.encode().unwrap_err().to_string().contains("5 mirrors"));
}

#[test]
fn an_offer_whose_lengths_do_not_add_up_is_refused() {
    let good = golden::offer().encode().unwrap().to_vec();
    let decode = |bytes: Vec<u8>| Offer::decode(&Bytes::from(bytes)).unwrap_err().to_string();
    let mut longer = good.clone();
    longer.push(0);
    assert!(decode(longer).contains("inline bytes listed"));
    let mut shorter = good.clone();
    shorter.pop();
    assert!(decode(shorter).contains("inline bytes listed"));
    let mut lying = good.clone();
    lying[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(decode(lying).contains("announced"));
    let text = "\"bytes\":12}";
    let place = good.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let mut swapped = good;
    swapped[place + 8..place + 10].copy_from_slice(b"13");
    assert!(decode(swapped).contains("inline bytes listed"));
}

#[test]
fn the_fullest_status_fits_a_payload() {
    let mut status = golden::status();
    let full = ModelStatus {
        refusal: Some(RefusalReport::new(7, &"r".repeat(1000), &"\"\u{7}".repeat(1000), Some(Digest::of(b"")))),
        ..status.models[0].clone()
    };
    status.models = vec![full; MODELS_MAX];
    let payload = status.encode().unwrap();
    assert_eq!(Status::decode(&payload).as_ref(), Ok(&status));
    status.models.push(status.models[0].clone());
    assert!(status.encode().unwrap_err().to_string().contains("33 models"));
}

#[test]
fn a_private_key_does_not_reach_a_log() {
    assert!(!format!("{:?}", golden::enrolment()).contains("KEY"));
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        let _ = Reply::decode(&bytes);
        let _ = Offer::decode(&bytes);
        let _ = Request::decode(&bytes);
        let _ = Status::decode(&bytes);
        let _ = Enrolment::decode(&bytes);
    }

    #[test]
    fn one_flipped_byte_is_refused_or_read_as_itself(place in 0_usize..10_000, flip in 1_u8..=255) {
        for (_, reply) in golden::replies() {
            let mut bytes = reply.encode().unwrap().to_vec();
            let length = bytes.len();
            bytes[place % length] ^= flip;
            let bytes = Bytes::from(bytes);
            if let Ok(read) = Reply::decode(&bytes) {
                let again = read.encode().unwrap();
                if let ReplyBody::Declined(_) = read.body {
                    // JSON has more than one way to write a value: a digit may have become a space.
                    prop_assert_eq!(Reply::decode(&again), Ok(read));
                } else {
                    prop_assert_eq!(again, bytes);
                }
            }
        }
    }
}
