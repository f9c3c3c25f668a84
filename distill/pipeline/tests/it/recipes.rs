//! Mistakes in recipes and arguments.

use crate::support::{RECIPE, ready};

#[test]
fn a_typing_error_names_file_and_line() {
    let folder = ready();
    folder.write("recipe.toml", RECIPE.replace("max_drop", "max_dorp"));
    for command in ["check", "run"] {
        let ended = folder.distill(&[command, "recipe.toml"]).expect(2);
        assert!(ended.stderr.contains("recipe.toml: line 31, column 1: unknown field `max_dorp`"), "{}", ended.stderr);
    }
}

#[test]
fn overrides_that_do_not_fit_are_named() {
    let folder = ready();
    let rows = [
        ("train.epoch=3", "unknown field `epoch`"),
        ("train.epochs=many", "--set train.epochs=many"),
        ("seed", "expected key=value"),
        ("artifact.version=1.0", "1.0"),
    ];
    for (setting, expected) in rows {
        let ended = folder.distill(&["check", "recipe.toml", "--set", setting]).expect(2);
        assert!(ended.stderr.contains(expected), "{setting}: {}", ended.stderr);
    }
}

#[test]
fn errors_are_json_when_asked_for() {
    let folder = ready();
    let rows: [(&[&str], i32, &str); 3] = [
        (&["check", "missing.toml", "--json"], 2, "usage"),
        (&["run", "--json"], 2, "usage"),
        (&["run", "recipe.toml", "--device", "cuda", "--json"], 6, "unreachable"),
    ];
    for (args, code, name) in rows {
        let error = folder.distill(args).expect(code).json()["error"].clone();
        assert_eq!((&error["code"], &error["name"]), (&code.into(), &name.into()), "{args:?}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn automatic_choice_of_the_device_says_what_it_chose() {
    let folder = ready();
    let ended = folder
        .distill(&[
            "run",
            "recipe.toml",
            "--set",
            "train.epochs=1",
            "--set",
            "teacher.train.epochs=1",
            "--set",
            "budget.max_drop=100.0",
        ])
        .expect(0);
    assert!(ended.stderr.contains("training on"), "{}", ended.stderr);
}

#[test]
fn a_good_recipe_is_checked_without_training() {
    let folder = ready();
    let report = folder.distill(&["check", "recipe.toml", "--json"]).expect(0).json();
    assert_eq!(report["classes"], 3);
    insta::assert_snapshot!(folder.distill(&["check", "recipe.toml"]).expect(0).stdout, @r"
    recipe.toml: good
    part         samples
    train        156
    calibration  156
    validation   36
    test         48
    3 classes, samples of shape [1, 8, 8]
    ");
    assert!(!folder.path("recipe.run").exists());
}
