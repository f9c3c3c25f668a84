//! A table of hostile files, each refused for its own reason.

use runtime_artifact::{Encoding, ErrorClass, open_bytes};
use runtime_trust::{Digest, Envelope, PayloadType};

use crate::fixture::{cask, envelope, model, release, stranger, verify};
use crate::raw::{RawCask, RawChunk, file, honest, join, part, plain_chunk};

type Row = (&'static str, Vec<u8>, &'static str, ErrorClass);

const BAD: ErrorClass = ErrorClass::NotTrusted;
const NEWER: ErrorClass = ErrorClass::Unsupported;

/// Where the envelope of a file ends.
fn envelope_end(bytes: &[u8]) -> usize {
    32 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize
}

fn check(rows: Vec<Row>) {
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|(name, bytes, reason, class)| match verify(&bytes) {
            Ok(_) => Some(format!("{name}: accepted")),
            Err(error) if error.reason() == reason && error.class() == class => None,
            Err(error) => Some(format!("{name}: {} ({error}) instead of {reason}", error.reason())),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_file_written_by_hand_is_accepted() {
    let artifact = verify(&RawCask::default().bytes()).unwrap();
    assert_eq!(artifact.read_file("int8", "model", 1000).unwrap(), model());
    assert_eq!(artifact.manifest().to_bytes(), RawCask::default().manifest_text().into_bytes());
}

#[test]
fn truncated_and_lengthened() {
    let good = cask();
    let end = envelope_end(&good);
    let cut = |length: usize| good[..length].to_vec();
    let honest_about = |content: Box<dyn Fn(Vec<u8>) -> Vec<u8>>| RawCask { content, ..RawCask::default() }.bytes();
    let mut claims = good.clone();
    claims[23] = 0x10;
    let mut long_envelope = good.clone();
    long_envelope[14] = 1;
    check(vec![
        ("an empty file", vec![], "not-a-cask", BAD),
        ("another kind of file", b"PK\x03\x04 something".to_vec(), "not-a-cask", BAD),
        ("one byte", cut(1), "truncated", BAD),
        ("inside the header", cut(31), "truncated", BAD),
        ("after the header", cut(32), "truncated", BAD),
        ("inside the envelope", cut(end - 1), "truncated", BAD),
        ("after the envelope", cut(end), "truncated", BAD),
        ("inside an index", cut(end + 5), "truncated", BAD),
        ("the last byte", cut(good.len() - 1), "truncated", BAD),
        ("a byte behind", [good.as_slice(), &[0]].concat(), "trailing-bytes", BAD),
        ("a header that claims 2^60 bytes", claims, "truncated", BAD),
        ("an envelope over the limit", long_envelope, "too-large", BAD),
        ("nothing after the envelope", honest_about(Box::new(|_| vec![])), "truncated", BAD),
        (
            "the last byte gone and the header honest",
            honest_about(Box::new(|bytes| bytes[..bytes.len() - 1].to_vec())),
            "truncated",
            BAD,
        ),
        (
            "a byte behind and the header honest",
            honest_about(Box::new(|bytes| [bytes.as_slice(), &[0]].concat())),
            "trailing-bytes",
            BAD,
        ),
        (
            "everything twice and the header honest",
            honest_about(Box::new(|bytes| [bytes.as_slice(), &bytes].concat())),
            "trailing-bytes",
            BAD,
        ),
    ]);
}

#[test]
fn another_version() {
    let mut newer = cask();
    newer[8] = 2;
    let manifest = |new: &'static str| RawCask {
        manifest: Box::new(move |text| text.replace(r#""format":1"#, new)),
        ..RawCask::default()
    };
    let mut index = RawCask::default();
    index.model.parts[0][4] = 2;
    let kind = RawCask {
        manifest: Box::new(|text| text.replace(r#""kind":"onnx""#, r#""kind":"gguf""#)),
        ..RawCask::default()
    };
    let encoding = RawCask { model: file(&["brotli"], b"abc", &[plain_chunk(b"abc")]), ..RawCask::default() };
    check(vec![
        ("a newer file", newer, "unknown-format", NEWER),
        ("a newer manifest", manifest(r#""format":2,"unheard":[1]"#).bytes(), "unknown-format", NEWER),
        ("a manifest of format 0", manifest(r#""format":0"#).bytes(), "unknown-format", NEWER),
        ("a newer index", index.bytes(), "unknown-format", NEWER),
        ("an unknown encoding", encoding.bytes(), "unknown-encoding", NEWER),
    ]);
    // A file whose only variant is of an unknown kind is whole and signed; choosing from it is what fails.
    let whole = verify(&kind.bytes()).unwrap();
    let error = whole.manifest().choose(&Default::default()).unwrap_err();
    assert_eq!((error.reason(), error.class()), ("unknown-kind", NEWER));
}

#[test]
fn signatures_and_envelopes() {
    let good = cask();
    let raw = RawCask::default();
    let manifest = raw.manifest_text();
    let content = [raw.golden.objects(), raw.model.objects()].concat();
    let with = |envelope: &[u8]| join(envelope, &content);
    let signed = envelope(manifest.as_bytes(), &[&release()]);
    let text = String::from_utf8(signed.clone()).unwrap();
    let twice: Envelope = {
        let mut envelope = Envelope::parse(&signed).unwrap();
        envelope.add_signature(&stranger());
        envelope
    };
    let deployment = Envelope::sign(PayloadType::Deployment, manifest.clone().into_bytes(), &[&release()]);
    let other = envelope(manifest.replace("1.0.0", "1.0.1").as_bytes(), &[&release()]);
    let other_signature = {
        let other = String::from_utf8(other).unwrap();
        let (start, rest) = text.split_at(text.find(r#""sig":""#).unwrap());
        let end = rest.find(r#""}]"#).unwrap();
        let from = other.find(r#""sig":""#).unwrap();
        let until = other.find(r#""}]"#).unwrap();
        format!("{start}{}{}", &other[from..until], &rest[end..])
    };
    // The last base64 character before "==" carries 4 bits that must be zero.
    let at = text.rfind("==").unwrap() - 1;
    let mut loose = text.clone().into_bytes();
    loose[at] = match loose[at] {
        b'A'..=b'Y' | b'a'..=b'y' | b'0'..=b'8' => loose[at] + 1,
        _ => b'B',
    };
    let stranger_key = RawCask { keys: vec![stranger()], ..RawCask::default() };
    let nobody = RawCask { keys: vec![], ..RawCask::default() };
    assert!(verify(&with(&twice.to_bytes())).is_ok(), "a signature more does no harm");
    check(vec![
        ("signed by nobody", nobody.bytes(), "signature-threshold", BAD),
        ("signed by a stranger", stranger_key.bytes(), "signature-threshold", BAD),
        ("the signature of another manifest", with(other_signature.as_bytes()), "signature-threshold", BAD),
        ("signed as a deployment", with(&deployment.to_bytes()), "wrong-payload-type", BAD),
        ("a space in the envelope", with(text.replacen(',', ", ", 1).as_bytes()), "malformed", BAD),
        ("an unknown field in the envelope", with(text.replacen('{', r#"{"a":1,"#, 1).as_bytes()), "malformed", BAD),
        ("base64 without padding", with(text.replace("==", "").as_bytes()), "malformed", BAD),
        ("base64 with loose bits", with(&loose), "malformed", BAD),
        ("an upper-case key id", with(upper_key(&text).as_bytes()), "malformed", BAD),
        ("an empty object", with(b"{}"), "malformed", BAD),
        ("no JSON", with(b"\0"), "malformed", BAD),
        (
            "the content of another artifact",
            join(&good[32..envelope_end(&good)], &content),
            "index-digest-mismatch",
            BAD,
        ),
    ]);
}

fn upper_key(text: &str) -> String {
    let start = text.find(r#""keyid":""#).unwrap() + 9;
    let (before, rest) = text.split_at(start);
    let (key, after) = rest.split_at(64);
    format!("{before}{}{after}", key.to_uppercase())
}

#[test]
fn manifests() {
    let row = |name, old: &'static str, new: &'static str, reason| {
        let raw = RawCask { manifest: Box::new(move |text| text.replacen(old, new, 1)), ..RawCask::default() };
        assert_ne!(raw.manifest_text(), RawCask::default().manifest_text(), "{name}");
        (name, raw.bytes(), reason, BAD)
    };
    check(vec![
        row("a name that is a path", r#""digits""#, r#""../digits""#, "bad-name"),
        row("a variant that is a path", r#""id":"int8""#, r#""id":"../int8""#, "bad-name"),
        row("a role that is a path", r#""golden":"#, r#""../golden":"#, "bad-name"),
        row("a role twice", r#""golden":"#, r#""model":"#, "duplicate-key"),
        row("a key twice", r#""number":1"#, r#""number":1,"number":2"#, "duplicate-key"),
        row("an unknown field", r#""number":1"#, r#""number":1,"url":"http://x""#, "unknown-field"),
        row("a float", r#""number":1"#, r#""number":1.0"#, "float-in-manifest"),
        row("text", r#""number":1"#, r#""number":"1""#, "malformed-manifest"),
        row("a part of 2^60 bytes", r#""index":[{"bytes":"#, r#""index":[{"bytes":1152921504606846"#, "too-large"),
        row("a file of 2^60 bytes", r#"{"golden":{"bytes":"#, r#"{"golden":{"bytes":1152921504606846"#, "too-large"),
        row("no model", r#""model":"#, r#""weights":"#, "bad-value"),
        row("something behind", r#""tool":"by hand"}"#, r#""tool":"by hand"}}"#, "malformed-manifest"),
    ]);
    let two = RawCask {
        manifest: Box::new(|text| {
            let start = text.find(r#"[{"id""#).unwrap() + 1;
            let end = text.find(r#"],"contract""#).unwrap();
            format!("{},{}{}", &text[..end], &text[start..end], &text[end..])
        }),
        ..RawCask::default()
    };
    check(vec![("a variant twice", two.bytes(), "duplicate-name", BAD)]);
}

/// A zstd frame whose header claims `plain_bytes` and that unfolds to 1.7 GiB of zeros.
fn bomb(plain_bytes: u32) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend(plain_bytes.to_le_bytes());
    for number in 1..=14_000_u32 {
        frame.extend(&(u32::from(number == 14_000) | 1 << 1 | (128 * 1024) << 3).to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[test]
fn indexes_chunks_and_files() {
    let plain = model();
    let with = |model| RawCask { model, ..RawCask::default() }.bytes();
    let edited = |edit: &dyn Fn(&mut crate::raw::RawFile)| {
        let mut model = honest(&plain);
        edit(&mut model);
        with(model)
    };
    let bomb_chunk = RawChunk {
        encoding: 0,
        stored: bomb(1 << 20),
        plain_bytes: 1 << 20,
        plain_digest: Digest::of(&vec![0; 1 << 20]),
    };
    let lying_plain = RawChunk { plain_digest: Digest::of(b"other"), ..plain_chunk(&plain) };
    let lying_length = RawChunk { plain_bytes: plain.len() as u32 + 1, ..plain_chunk(&plain) };
    let no_rows = part(&["none"], &[]);
    check(vec![
        ("a zstd bomb", with(file(&["zstd"], &vec![0; 1 << 20], &[bomb_chunk])), "zstd-damaged", BAD),
        ("a chunk of other bytes", edited(&|model| model.chunks[1][0] ^= 1), "chunk-digest-mismatch", BAD),
        ("chunks in another order", edited(&|model| model.chunks.reverse()), "chunk-digest-mismatch", BAD),
        (
            "a row that lies about the plain bytes",
            with(file(&["none"], &plain, &[lying_plain])),
            "plain-digest-mismatch",
            BAD,
        ),
        (
            "a row that lies about the length",
            with(file(&["none"], &plain, &[lying_length])),
            "plain-length-mismatch",
            BAD,
        ),
        ("no zstd frame", with(file(&["zstd"], &plain, &[plain_chunk(&plain)])), "zstd-damaged", BAD),
        ("an index without rows", edited(&|model| model.parts[0] = no_rows.clone()), "malformed-index", BAD),
        ("another digest of the file", edited(&|model| model.digest = Digest::of(b"x")), "file-digest-mismatch", BAD),
        ("a file longer than its chunks", edited(&|model| model.bytes += 1), "file-digest-mismatch", BAD),
        ("a file shorter than its chunks", edited(&|model| model.bytes -= 1), "file-digest-mismatch", BAD),
        (
            "the right chunks under rows in another order",
            with(file(&["none"], &plain, &[plain_chunk(&plain[230..]), plain_chunk(&plain[..230])])),
            "file-digest-mismatch",
            BAD,
        ),
        (
            "an index of other bytes",
            RawCask {
                content: Box::new(|mut bytes| {
                    bytes[20] ^= 1;
                    bytes
                }),
                ..RawCask::default()
            }
            .bytes(),
            "index-digest-mismatch",
            BAD,
        ),
    ]);
}

#[test]
fn a_file_in_an_unknown_encoding_is_refused_by_its_name() {
    let raw = RawCask { model: file(&["brotli"], b"abc", &[plain_chunk(b"abc")]), ..RawCask::default() };
    let known: Vec<&str> = Encoding::ALL.iter().map(|encoding| encoding.name()).collect();
    assert_eq!(
        verify(&raw.bytes()).unwrap_err().to_string(),
        format!(
            "accept the list of encodings of index part 0 of file model of variant int8: \
             found the encoding \"brotli\", expected {}; use a newer version of this program",
            known.join(", ")
        )
    );
}

#[test]
fn opening_reads_no_further_than_the_envelope() {
    let raw = RawCask { content: Box::new(|_| vec![0xff; 9]), keys: vec![stranger()], ..RawCask::default() };
    let opened = open_bytes(raw.bytes()).unwrap();
    assert_eq!(opened.manifest_unverified().unwrap().name, "digits");
    assert_eq!(opened.manifest_digest_unverified(), Digest::of(raw.manifest_text().as_bytes()));
    assert_eq!(opened.verify(crate::fixture::root()).unwrap_err().reason(), "signature-threshold");
}
