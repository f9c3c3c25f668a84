use proptest::prelude::*;
use runtime_tensor::{Dimension, Tolerance};

use super::*;
use crate::ErrorClass;

/// A manifest that uses every field.
fn full_text() -> String {
    let digest = "a".repeat(64);
    let file = format!(r#"{{"bytes":9,"digest":"{digest}","index":[{{"bytes":110,"digest":"{digest}"}}]}}"#);
    let variant = |id: &str, requires: &str, numerics: &str| {
        format!(
            r#"{{"id":"{id}","kind":"onnx","precision":"int8","numerics":{numerics},"requires":{requires},
            "files":{{"golden":{file},"model":{file}}},
            "quality":[{{"measure":"accuracy","split":"test","value_e9":970000000,"baseline_e9":975000000,
                "samples":360,"budget":{{"drop_e9_max":10000000,"extra_errors_max":4,"bytes_max":50000}}}}],
            "limits":{{"p95_us":900,"memory_bytes":1000000}}}}"#
        )
    };
    format!(
        r#"{{"format":1,"name":"digits","version":"1.2.3-rc.1+x","number":7,"variants":[{},{}],
        "contract":{{
            "inputs":[{{"name":"image","element":"u8","shape":["batch",1,8,8]}},
                      {{"name":"state","element":"f32","shape":[4]}}],
            "outputs":[{{"name":"scores","element":"f32","shape":["batch",10]}},
                       {{"name":"next","element":"f32","shape":[4]}}],
            "states":[{{"input":"state","output":"next"}}],
            "labels":["zero","one"],
            "preprocessing":{{"kind":"image","input":"image","layout":"nchw","scale_e12":[1000000000000],"offset_e12":[-5]}},
            "postprocessing":{{"kind":"argmax","output":"scores"}}}},
        "provenance":{{"tool":"distill 0.1.0","recipe":"{digest}","teacher":"{digest}","data":"{digest}"}}}}"#,
        variant("fast", r#"{"cpu_features":["avx2"],"memory_bytes":5,"engine":"native"}"#, r#""exact""#),
        variant(
            "slow",
            r#"{"cpu_features":[],"memory_bytes":0}"#,
            r#"{"tolerance":{"absolute_e9":1000,"relative_e9":2000}}"#
        ),
    )
}

fn full() -> Manifest {
    Manifest::parse(full_text().as_bytes()).unwrap()
}

fn device(features: &[&str], engines: &[&str]) -> Profile {
    Profile {
        cpu_features: features.iter().map(|name| (*name).to_owned()).collect(),
        memory_bytes: 100,
        engine_order: engines.iter().map(|name| (*name).to_owned()).collect(),
        ..Profile::default()
    }
}

#[test]
fn every_field_survives() {
    let manifest = full();
    assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
    let compact: String = full_text().split_inclusive(['\n']).map(|line| line.trim()).collect();
    assert_eq!(String::from_utf8(manifest.to_bytes()).unwrap(), compact);
}

#[test]
fn tolerances_are_billionths() {
    let manifest = full();
    assert_eq!(manifest.variants[0].numerics.tolerance(), Tolerance::EXACT);
    assert_eq!(manifest.variants[1].numerics.tolerance(), Tolerance { absolute: 1e-6, relative: 2e-6 });
}

#[test]
fn the_first_variant_that_fits_is_chosen() {
    let manifest = full();
    let chosen =
        |profile: &Profile| manifest.choose(profile).map(|variant| variant.id.as_str()).map_err(|e| e.to_string());
    assert_eq!(chosen(&device(&["avx2"], &["native"])), Ok("fast"));
    assert_eq!(chosen(&device(&[], &["native"])), Ok("slow"));
    assert_eq!(chosen(&device(&["avx2"], &["ort"])), Ok("slow"));
}

#[test]
fn what_no_device_part_can_take_is_unsupported_by_name() {
    let mut manifest = full();
    manifest.variants[1].kind = "gguf".to_owned();
    let error = manifest.choose(&device(&[], &["ort"])).unwrap_err();
    assert_eq!((error.reason(), error.class()), ("does-not-fit", ErrorClass::Unsupported));
    assert_eq!(
        error.to_string(),
        "accept artifact digits 1.2.3-rc.1+x: found for variant fast this device lacks the CPU feature \"avx2\" \
         (it is  with none) and has no engine \"native\" (it has ort); variant slow is of the unknown kind \"gguf\", \
         expected a variant of kind onnx that fits this device; choose an artifact with a variant for this device"
    );
    manifest.variants.remove(0);
    let error = manifest.choose(&device(&[], &[])).unwrap_err();
    assert_eq!((error.reason(), error.class()), ("unknown-kind", ErrorClass::Unsupported));
}

#[test]
fn a_kind_that_is_unknown_needs_no_files_that_are_known() {
    let text = full_text().replace(r#""kind":"onnx""#, r#""kind":"gguf""#).replace(r#""golden":"#, r#""tokenizer":"#);
    assert_eq!(Manifest::parse(text.as_bytes()).unwrap().variants[0].kind, "gguf");
}

/// Each row: what is wrong, the text to replace everywhere, its replacement, the reason.
#[test]
fn hostile_manifests_are_refused_by_reason() {
    use Reason::*;
    let rows: [(&str, &str, &str, Reason); 44] = [
        ("a newer format", r#""format":1"#, r#""format":2,"new":{}"#, UnknownFormat),
        ("format 0", r#""format":1"#, r#""format":0"#, UnknownFormat),
        ("no format", r#""format":1,"#, "", ManifestMalformed),
        ("an unknown field", r#""number":7"#, r#""number":7,"extra":1"#, UnknownField),
        ("an unknown field deep inside", r#""bytes":110"#, r#""bytes":110,"url":"x""#, UnknownField),
        ("an unknown requirement", r#""memory_bytes":5"#, r#""memory_bytes":5,"tpu":1"#, UnknownField),
        ("a missing field", r#""number":7,"#, "", ManifestMalformed),
        ("a key twice", r#""number":7"#, r#""number":7,"number":7"#, DuplicateKey),
        ("a role twice", r#"{"golden":"#, r#"{"model":"#, DuplicateKey),
        ("a float", r#""number":7"#, r#""number":7.0"#, FloatInManifest),
        ("a float in a shape", "[4]", "[4.5]", FloatInManifest),
        ("2^64", r#""number":7"#, r#""number":18446744073709551616"#, FloatInManifest),
        ("a negative number", r#""number":7"#, r#""number":-7"#, ManifestMalformed),
        ("null", r#""number":7"#, r#""number":null"#, ManifestMalformed),
        ("an absent engine as null", r#""engine":"native""#, r#""engine":null"#, ManifestMalformed),
        ("text for a number", r#""number":7"#, r#""number":"7""#, ManifestMalformed),
        ("a version that is none", "1.2.3-rc.1+x", "1.2", ManifestMalformed),
        ("upper-case hex", "aaaaaaaa\"", "AAAAAAAA\"", ManifestMalformed),
        ("a short digest", "aaaaaaaa\"", "aaaaaaa\"", ManifestMalformed),
        ("a name that is a path", r#""name":"digits""#, r#""name":"../digits""#, BadName),
        ("an empty name", r#""name":"digits""#, r#""name":"""#, BadName),
        ("a variant that is a path", r#""id":"fast""#, r#""id":"a/../b""#, BadName),
        ("a role that is a path", r#""golden":"#, r#""../golden":"#, BadName),
        ("a kind that is a path", r#""kind":"onnx""#, r#""kind":"/onnx""#, BadName),
        ("a precision with a line break", r#""int8""#, r#""int\n8""#, BadName),
        ("an engine that is a path", r#""engine":"native""#, r#""engine":"../x.so""#, BadName),
        ("two variants of one name", r#""id":"slow""#, r#""id":"fast""#, DuplicateName),
        ("two inputs of one name", r#""name":"state""#, r#""name":"image""#, DuplicateName),
        ("no variants", r#""variants":["#, r#""variants":[],"x":["#, UnknownField),
        ("an unknown element", r#""element":"u8""#, r#""element":"f8""#, UnknownElement),
        ("no model", r#""model":"#, r#""weights":"#, BadValue),
        ("an empty file", r#"{"bytes":9,"#, r#"{"bytes":0,"#, BadValue),
        ("a file of 2^60 bytes", r#"{"bytes":9,"#, r#"{"bytes":1152921504606846976,"#, TooLarge),
        ("a golden set over its limit", r#"{"bytes":9,"#, r#"{"bytes":16777217,"#, TooLarge),
        ("an index part of 2^60 bytes", r#""bytes":110"#, r#""bytes":1152921504606846976"#, TooLarge),
        ("an index part of 0 bytes", r#""bytes":110"#, r#""bytes":0"#, TooLarge),
        ("an empty symbol", r#"["batch","#, r#"["","#, BadName),
        ("17 axes", "[4]", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", BadValue),
        ("a state from nowhere", r#""input":"state""#, r#""input":"past""#, BadValue),
        (
            "a state of another shape",
            r#"{"name":"next","element":"f32""#,
            r#"{"name":"next","element":"f64""#,
            BadValue,
        ),
        ("preprocessing of no input", r#""input":"image","layout""#, r#""input":"photo","layout""#, BadValue),
        ("scales without offsets", r#""offset_e12":[-5]"#, r#""offset_e12":[]"#, BadValue),
        ("postprocessing of no output", r#""output":"scores""#, r#""output":"x""#, BadValue),
        ("something behind", r#""data":"#, r#""data":"x"}},"#, ManifestMalformed),
    ];
    let good = full_text();
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(name, old, new, expected)| {
            assert!(good.contains(old), "{name}: nothing to replace");
            let found = Manifest::parse(good.replace(old, new).as_bytes()).err();
            let code = found.as_ref().map(|error| error.reason());
            (code != Some(expected.code())).then(|| format!("{name}: {found:?} instead of {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_limits_of_lists_hold() {
    let mut manifest = full();
    manifest.variants.clear();
    assert_eq!(manifest.check().unwrap_err().reason(), "bad-value");
    let mut manifest = full();
    let variant = manifest.variants[0].clone();
    manifest.variants =
        (0..=crate::limits::VARIANTS_MAX).map(|n| Variant { id: format!("v{n}"), ..variant.clone() }).collect();
    assert_eq!(manifest.check().unwrap_err().reason(), "bad-value");
    let mut manifest = full();
    manifest.variants[0].files.get_mut("model").unwrap().index.clear();
    assert_eq!(manifest.check().unwrap_err().reason(), "bad-value");
    let mut manifest = full();
    manifest.contract.outputs.clear();
    assert_eq!(manifest.check().unwrap_err().reason(), "bad-value");
    let long = [full_text().as_bytes(), &[b' '; MANIFEST_BYTES_MAX]].concat();
    assert_eq!(Manifest::parse(&long).unwrap_err().reason(), "too-large");
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let error = Manifest::parse(br#"{"format":9,"something":["new"]}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "accept the manifest: found format 9, expected format 1; use a newer version of this program"
    );
    assert_eq!(error.class(), ErrorClass::Unsupported);
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,200}") {
        let _ = Manifest::parse(text.as_bytes());
    }

    /// A manifest with a few bytes changed is refused or reads as one that keeps every rule.
    #[test]
    fn a_damaged_manifest_never_panics_and_keeps_the_rules(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut in 0_usize..3000,
    ) {
        let mut bytes = full_text().into_bytes();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(2500)));
        if let Ok(manifest) = Manifest::parse(&bytes) {
            prop_assert!(manifest.check().is_ok());
            prop_assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
        }
    }

    #[test]
    fn names_numbers_and_shapes_survive(
        name in "[a-z0-9][a-z0-9._-]{0,62}",
        number in any::<u64>(),
        value_e9 in any::<i64>(),
        labels in proptest::collection::vec(".*", 0..4),
        sizes in proptest::collection::vec(prop_oneof![
            any::<u64>().prop_map(Dimension::Fixed),
            ".+".prop_map(Dimension::Symbol),
        ], 0..5),
    ) {
        let mut manifest = full();
        manifest.name = name;
        manifest.number = number;
        manifest.variants[0].quality[0].value_e9 = value_e9;
        manifest.contract.labels = labels;
        manifest.contract.outputs[0].shape = sizes;
        prop_assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
    }
}
