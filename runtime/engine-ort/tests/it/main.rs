//! What `runtime-engine-ort` says of libraries that are none. Models run in the package `tests`, beside the other
//! engines, where a real library is at hand.
#![allow(clippy::disallowed_methods, reason = "tests write the files that they read")]
#![allow(missing_docs, reason = "tests")]

use std::path::Path;

use runtime_engine::EngineError;
use runtime_engine_ort::{MINOR_VERSION_MIN, OrtEngine};

/// What the error says was found.
fn refused(path: &Path) -> String {
    match OrtEngine::open(Some(path)) {
        Err(EngineError::NoLibrary { engine, library, found, expected }) => {
            assert_eq!((engine.as_str(), library.as_str()), ("ort", path.to_str().unwrap()));
            assert!(expected.contains(&format!("1.{MINOR_VERSION_MIN}")), "{expected}");
            found
        }
        other => panic!("expected no library, found {:?}", other.map(|_| ())),
    }
}

#[test]
fn what_is_no_library_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so");
    std::fs::write(&text, "no library").unwrap();
    for (path, expected) in [
        // The system's own words stand behind ours.
        (folder.path().join("missing.so"), "no library that loads (/"),
        (text, "no library that loads (/"),
        (folder.path().to_owned(), "no library that loads (/"),
    ] {
        let found = refused(&path);
        assert!(found.contains(expected), "{}: {found}", path.display());
    }
}

/// The C compiler makes libraries that claim what they like; a machine without one cannot.
fn compiled(folder: &Path, name: &str, source: &str) -> std::path::PathBuf {
    let (code, library) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.so")));
    std::fs::write(&code, source).unwrap();
    let status = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code).status();
    assert!(status.expect("cc, which also links this test, runs").success(), "{name}");
    library
}

#[test]
fn a_foreign_or_an_old_library_is_an_error_that_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    // A table of two functions, as ONNX Runtime's header has it.
    let claiming = |version: &str, api: &str| {
        format!(
            "static int something;\n\
             static const void *get_api(unsigned version) {{ return {api}; }}\n\
             static const char *get_version(void) {{ return {version}; }}\n\
             static const struct {{ const void *(*api)(unsigned); const char *(*version)(void); }} base =\n\
             {{ get_api, get_version }};\n\
             const void *OrtGetApiBase(void) {{ return &base; }}\n"
        )
    };
    let rows = [
        ("foreign", "int unrelated(void) { return 1; }\n".to_owned(), "without OrtGetApiBase"),
        ("empty", "const void *OrtGetApiBase(void) { return 0; }\n".to_owned(), "gives nothing"),
        ("old", claiming("\"1.21.1\"", "&something"), "version 1.21.1"),
        ("next", claiming("\"2.0.0\"", "&something"), "version 2.0.0"),
        ("nameless", claiming("0", "&something"), "version is no text"),
        ("odd", claiming("\"\\xff\"", "&something"), "version is no text"),
        ("lying", claiming("\"1.99.0\"", "0"), "version 1.99.0"),
    ];
    for (name, source, expected) in rows {
        let path = compiled(folder.path(), name, &source);
        let found = refused(&path);
        assert!(found.contains(expected), "{name}: {found}");
    }
}
