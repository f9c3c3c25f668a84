//! ARCHITECTURE.md and README.md say nothing that the tree does not hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies under the root").to_owned()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).expect("the page is there")
}

/// Everything between single backquotes, outside code blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            words.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

/// The names of all test functions in the tree.
fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the tree").flatten() {
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.') || entry.file_name() == "target";
            if path.is_dir() && !hidden {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(tests_in(&std::fs::read_to_string(&path).expect("a source file")));
            }
        }
    }
    names
}

fn tests_in(source: &str) -> Vec<String> {
    let name_of = |line: &str| {
        let rest = line.trim_start().strip_prefix("fn ")?;
        Some(rest.split(['(', '<']).next()?.to_owned())
    };
    let mut names = Vec::new();
    let mut marked = false;
    for line in source.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[test]") || trimmed.starts_with("#[tokio::test") {
            marked = true;
        } else if marked && let Some(name) = name_of(line.trim_start().trim_start_matches("async ")) {
            names.push(name);
            marked = false;
        }
    }
    names
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let page = page("ARCHITECTURE.md");
    let tests = test_names();
    let invariants: Vec<&str> = page.lines().filter(|line| line.contains("**Invariant")).collect();
    assert!(invariants.len() >= 8, "only {} invariants", invariants.len());
    let mut problems = Vec::new();
    for line in invariants {
        let named: Vec<String> = match line.split_once("Test:") {
            Some((_, names)) => quoted(names),
            None => Vec::new(),
        };
        if named.is_empty() {
            problems.push(format!("names no test: {line}"));
        }
        problems
            .extend(named.iter().filter(|name| !tests.contains(*name)).map(|name| format!("no test {name}: {line}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_path_on_the_pages_exists() {
    let mut problems = Vec::new();
    for name in ["ARCHITECTURE.md", "README.md"] {
        for word in quoted(&page(name)) {
            let is_path = word.contains('/')
                && ["runtime/", "distill/", "cloud-sync/", "targets/", "tests/", "benches/"]
                    .iter()
                    .any(|top| word.starts_with(top))
                && !word.contains([' ', '*', '<', '{']);
            if is_path && !root().join(&word).exists() {
                problems.push(format!("{name} names {word}, which is not there"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_code_map_lists_every_member() {
    let map = page("ARCHITECTURE.md");
    let words: BTreeSet<String> = quoted(&map).into_iter().collect();
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace manifest");
    let members = manifest.lines().filter_map(|line| line.strip_prefix("    \"")?.strip_suffix("\","));
    let missing: Vec<&str> = members.filter(|member| !words.contains(*member)).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md does not list {missing:?}");
}
