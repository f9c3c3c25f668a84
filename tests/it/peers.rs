//! What other people's programs make of ours: python-tuf, ONNX Runtime, tritonclient.

use tests::peer;

use crate::stories::{Alone, distilled_run, distilled_stage};
use runtime_console::Console;
use targets_local::stage::{Broker, MODEL, path_text};
use targets_local::story::Story;

#[test]
fn onnxruntime_gives_the_bytes_that_distill_saved() {
    let Some(python) = peer::python("onnxruntime_gives_the_bytes_that_distill_saved") else { return };
    let _alone = Alone::wait();
    peer::run_python(&python, "ort_equal.py", &[path_text(&distilled_run()).expect("UTF-8")]);
}

#[test]
fn python_tuf_trusts_what_fleet_writes() {
    let Some(python) = peer::python("python_tuf_trusts_what_fleet_writes") else { return };
    let alone = Alone::wait();
    let (stage, _folder) = distilled_stage(&alone, Broker::Embedded);
    let artifact = stage.layout.run("run").join("digits.cask");
    stage.fleet(&["artifact", "push", path_text(&artifact).expect("UTF-8")]).expect("pushed");
    let flat = tempfile::tempdir().expect("a temporary folder");
    let trust = stage.layout.fleet().join("trust");
    for folder in [trust.clone(), trust.join("targets")] {
        for entry in std::fs::read_dir(folder).expect("trust files").flatten() {
            if entry.path().is_file() {
                std::fs::copy(entry.path(), flat.path().join(entry.file_name())).expect("a file");
            }
        }
    }
    let output = peer::run_python(&python, "tuf_reads.py", &[path_text(flat.path()).expect("UTF-8")]);
    assert!(String::from_utf8_lossy(&output.stdout).contains(MODEL), "{output:?}");
}

#[test]
fn tritonclient_works_unchanged() {
    let Some(python) = peer::python("tritonclient_works_unchanged") else { return };
    let alone = Alone::wait();
    let (mut stage, _folder) = distilled_stage(&alone, Broker::Embedded);
    let console = Console::new(false, true);
    let mut story = Story::new(&mut stage, &console);
    let run = story.stage.layout.run("run");
    let first = story.version(&run).expect("the distilled version");
    story.enrol_devices().expect("enrolled devices");
    story.first_rollout(&first).expect("a rollout");
    let address = stage.address(0).expect("a running device").to_string();
    let samples = run.join("test_outputs.npz");
    peer::run_python(&python, "triton_client.py", &[&address, MODEL, path_text(&samples).expect("UTF-8")]);
}
