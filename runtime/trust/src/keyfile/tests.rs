use super::*;

/// Small enough for debug builds: 8 KiB per lane is the smallest that Argon2 takes.
const CHEAP: Cost = Cost { memory_kib: 64, iterations: 1, lanes: 1 };
const PASSPHRASE: &[u8] = b"correct horse battery staple";
/// Written by schema 1; readers accept it for ever.
const GOLDEN: &str = include_str!("golden-1.json");

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; SEED_BYTES])
}

fn seal_cheaply(protection: Protection<'_>) -> Vec<u8> {
    let key = key();
    let public = key.public().to_bytes();
    seal_with(ED25519, "release", &public, key.seed().as_slice(), protection, CHEAP, [1; SALT_BYTES], [2; NONCE_BYTES])
        .expect("a sealed key")
}

fn edited(bytes: &[u8], edit: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut value: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
    edit(&mut value);
    serde_json::to_vec(&value).expect("JSON")
}

#[test]
fn golden_file_of_schema_1_is_written_and_read() {
    let written = seal_cheaply(Protection::Passphrase(PASSPHRASE));
    assert_eq!(String::from_utf8(written).expect("UTF-8"), GOLDEN);
    let opened = open_key(GOLDEN.as_bytes(), PASSPHRASE).expect("the golden key");
    assert_eq!(opened.seed(), key().seed());
}

#[test]
fn facts_need_no_passphrase() {
    let facts = describe_key(GOLDEN.as_bytes()).expect("facts");
    let public = key().public().to_bytes().to_vec();
    let expected = KeyFileFacts { role: "release".into(), algorithm: "ed25519".into(), public, encrypted: true };
    assert_eq!(facts, expected);
}

#[test]
fn a_new_file_opens_with_its_passphrase_only() {
    let bytes = seal_key(&key(), "root", PASSPHRASE).expect("a sealed key");
    assert_eq!(open_key(&bytes, PASSPHRASE).expect("the key").seed(), key().seed());
    let error = open_key(&bytes, b"correct horse").err();
    assert_eq!(error, Some(KeyFileError::WrongPassphrase { role: "root".into() }));
}

#[test]
fn every_field_is_under_the_seal() {
    let sealed = seal_cheaply(Protection::Passphrase(PASSPHRASE));
    let other = hex::encode(SigningKey::from_seed(&[8; SEED_BYTES]).public().to_bytes());
    let rows: [(&str, serde_json::Value); 4] = [
        ("role", "deploy".into()),
        ("public", other.into()),
        ("nonce", hex::encode([3; NONCE_BYTES]).into()),
        ("sealed", hex::encode([0; 48]).into()),
    ];
    for (field, value) in rows {
        let changed = edited(&sealed, |file| file[field] = value);
        let error = open_key(&changed, PASSPHRASE).err();
        assert!(matches!(error, Some(KeyFileError::WrongPassphrase { .. })), "{field}: {error:?}");
    }
    for (field, value) in
        [("iterations", 2.into()), ("salt", hex::encode([9; SALT_BYTES]).into())] as [(_, serde_json::Value); 2]
    {
        let changed = edited(&sealed, |file| file["kdf"][field] = value);
        assert!(open_key(&changed, PASSPHRASE).is_err(), "{field}");
    }
}

#[test]
fn hostile_files_are_refused_before_work() {
    let sealed = seal_cheaply(Protection::Passphrase(PASSPHRASE));
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "malformed key file"),
        ("not JSON", b"-----BEGIN".to_vec(), "malformed key file"),
        ("long", vec![b' '; 16 * 1024 + 1], "key file of 16385 bytes"),
        ("newer", edited(&sealed, |file| file["schema"] = 2.into()), "key file of schema 2"),
        ("other kind", edited(&sealed, |file| file["kind"] = "cask-root".into()), "kind \"cask-root\""),
        ("extra field", edited(&sealed, |file| file["note"] = "x".into()), "unknown field `note`"),
        ("role", edited(&sealed, |file| file["role"] = "../../etc".into()), "role \"../../etc\""),
        ("memory", edited(&sealed, |file| file["kdf"]["memory_kib"] = u32::MAX.into()), "KiB of memory"),
        ("passes", edited(&sealed, |file| file["kdf"]["iterations"] = u32::MAX.into()), "iterations"),
        ("lanes", edited(&sealed, |file| file["kdf"]["lanes"] = 9.into()), "9 lanes"),
        ("no lanes", edited(&sealed, |file| file["kdf"]["lanes"] = 0.into()), "key derivation"),
        ("kdf", edited(&sealed, |file| file["kdf"]["name"] = "md5".into()), "unknown variant `md5`"),
        ("hex", edited(&sealed, |file| file["sealed"] = "zz".into()), "field sealed"),
        ("case", edited(&sealed, |file| file["sealed"] = "AA".into()), "upper-case hex"),
        ("nonce", edited(&sealed, |file| file["nonce"] = "00".into()), "a nonce of 1 bytes"),
        ("algorithm", edited(&sealed, |file| file["algorithm"] = "pkcs8".into()), "expected ed25519"),
    ];
    for (name, bytes, expected) in rows {
        let error = open_key(&bytes, PASSPHRASE).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{name}: {error:?} has no {expected:?}");
    }
}

#[test]
fn an_empty_passphrase_needs_the_ugly_name() {
    let error = seal_key(&key(), "root", b"").err();
    assert_eq!(error, Some(KeyFileError::EmptyPassphrase { role: "root".into() }));
    let bytes = seal_key_as(&key(), "root", Protection::InsecureUnencrypted).expect("an unencrypted key");
    assert!(!describe_key(&bytes).expect("facts").encrypted);
    assert_eq!(open_key(&bytes, b"").expect("the key").seed(), key().seed());
    let other = hex::encode([1; 32]);
    let changed = edited(&bytes, |file| file["public"] = other.into());
    assert!(matches!(open_key(&changed, b"").err(), Some(KeyFileError::Malformed(_))));
}

#[test]
fn a_pkcs8_secret_comes_back() {
    let bytes = seal_pkcs8(b"der", b"spki", "device-ca", Protection::InsecureUnencrypted).expect("sealed");
    assert_eq!(open_pkcs8(&bytes, b"").expect("opened").as_slice(), b"der");
    assert!(matches!(open_key(&bytes, b"").err(), Some(KeyFileError::WrongAlgorithm { .. })));
}
