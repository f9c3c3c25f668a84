//! The quickstart's story, one test per passage, with real processes over a real mosquitto.
//!
//! The model is distilled once; each test begins from a copy of the folder that this left.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard};

use anyhow::Result;
use runtime_console::Console;
use targets_local::layout::Layout;
use targets_local::programs::Programs;
use targets_local::report::DEVICES;
use targets_local::stage::{Broker, OutsideBroker, Stage};
use targets_local::story::{Story, Version};
use tests::peer::{Access, Mosquitto};

/// Every key file of the tests; what they protect is made anew in each run.
const PASSPHRASE: &str = "stories";

/// Passages train, serve and measure; two at a time would fight over the cores and measure each other.
static STAGE_IN_USE: Mutex<()> = Mutex::new(());

/// A folder with keys and a distilled model.
static DISTILLED: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let layout = Layout::create(&folder.path().join("stage")).expect("a layout");
    let mut stage = Stage::new(layout, programs(), Broker::Embedded);
    let console = Console::new(false, true);
    let mut story = Story::new(&mut stage, &console);
    story.make_keys().expect("keys");
    story.distill_first().expect("a distilled model");
    folder
});

fn programs() -> Programs {
    Programs::new(PathBuf::from(env!("CARGO_BIN_EXE_cask-programs")), PASSPHRASE.to_owned())
}

#[derive(Debug)]
struct RealBroker(Mosquitto, Access);

impl OutsideBroker for RealBroker {
    fn url(&self) -> String {
        format!("mqtts://{}", self.0.address())
    }

    fn start(&mut self, folder: &Path) -> Result<()> {
        self.0.start(folder, self.1);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        self.0.kill();
        Ok(())
    }
}

/// Keeps other tests off the stage.
pub struct Alone(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Alone {
    /// Waits for the others.
    pub fn wait() -> Self {
        // A test that failed on the stage leaves nothing behind that the next one uses.
        Alone(STAGE_IN_USE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

/// The run folder that every test begins with; read it, never write to it.
pub fn distilled_run() -> PathBuf {
    Layout::open(&DISTILLED.path().join("stage")).run("run")
}

/// A copy of the distilled folder with actors in it, none of them running.
pub fn distilled_stage(_alone: &Alone, broker: Broker) -> (Stage, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("stage");
    copy_folder(&DISTILLED.path().join("stage"), &root);
    (Stage::new(Layout::open(&root), programs(), broker), folder)
}

/// A stage over mosquitto for one test.
struct Scene {
    stage: Stage,
    _folder: tempfile::TempDir,
    _alone: Alone,
}

impl Scene {
    /// `None` (a skip) where mosquitto is not installed.
    fn set(test: &str, access: Access) -> Option<Self> {
        let mosquitto = Mosquitto::find(test)?;
        let alone = Alone::wait();
        let (stage, folder) = distilled_stage(&alone, Broker::Outside(Box::new(RealBroker(mosquitto, access))));
        Some(Scene { stage, _folder: folder, _alone: alone })
    }

    /// Plays a passage after version 1 has become active everywhere.
    fn after_first_rollout(&mut self, passage: impl FnOnce(&mut Story<'_>, &Version) -> Result<()>) {
        let console = Console::new(false, true);
        let mut story = Story::new(&mut self.stage, &console);
        let run = story.stage.layout.run("run");
        let first = story.version(&run).expect("the distilled version");
        story.enrol_devices().expect("enrolled devices");
        story.first_rollout(&first).expect("a first rollout");
        passage(&mut story, &first).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file");
        }
    }
}

#[test]
fn distilled_within_budget() {
    let _alone = Alone::wait();
    let metrics: serde_json::Value =
        serde_json::from_slice(&std::fs::read(distilled_run().join("metrics.json")).expect("metrics")).expect("JSON");
    let figure = |key: &str| metrics[key].as_f64().unwrap_or_else(|| panic!("no {key} in {metrics}"));
    assert!(figure("teacher_accuracy") >= 0.97, "{metrics}");
    assert!(figure("int8_accuracy") >= figure("student_accuracy") - 0.01, "{metrics}");
    assert!(figure("int8_bytes") < 0.45 * figure("float_bytes"), "{metrics}");
}

#[test]
fn rolled_out_and_every_answer_is_the_validated_one() {
    let Some(mut scene) = Scene::set("rolled_out_and_every_answer_is_the_validated_one", Access::AsGenerated) else {
        return;
    };
    scene.after_first_rollout(|story, first| {
        story.compare_answers(first)?;
        assert_eq!(story.report.devices_active, DEVICES);
        assert!(story.report.answers_total >= 900);
        assert_eq!(story.report.answers_equal, story.report.answers_total);
        Ok(())
    });
}

#[test]
fn an_outage_and_a_power_cut_change_no_answer() {
    let Some(mut scene) = Scene::set("an_outage_and_a_power_cut_change_no_answer", Access::AsGenerated) else { return };
    scene.after_first_rollout(|story, first| {
        story.outage(first)?;
        assert_eq!(story.report.offline_answers_equal, (first.samples.len() * DEVICES) as u64);
        assert_eq!(story.report.restart_answers_equal, first.samples.len() as u64);
        Ok(())
    });
}

#[test]
fn every_attack_is_refused_and_every_control_activates() {
    // A broker that was taken over: the access rules of a sound one would stop these attacks before any device.
    let Some(mut scene) =
        Scene::set("every_attack_is_refused_and_every_control_activates", Access::EverybodyEverything)
    else {
        return;
    };
    scene.after_first_rollout(|story, first| {
        story.attacks(first)?;
        let refused = &story.report.refused;
        assert_eq!(refused.len(), 5, "{refused:?}");
        assert!(refused.iter().all(|row| row.devices == DEVICES), "{refused:?}");
        let reasons: std::collections::BTreeSet<&str> = refused.iter().map(|row| row.reason.as_str()).collect();
        assert_eq!(reasons.len(), 5, "{refused:?}");
        Ok(())
    });
}

#[test]
fn a_second_version_answers_otherwise_and_is_rolled_back() {
    let Some(mut scene) = Scene::set("a_second_version_answers_otherwise_and_is_rolled_back", Access::AsGenerated)
    else {
        return;
    };
    scene.after_first_rollout(|story, first| {
        story.second_version(first, first.digest)?;
        assert!(story.report.rollback_ok);
        Ok(())
    });
}

#[test]
fn a_device_reaches_only_its_own_topics() {
    let Some(mut scene) = Scene::set("a_device_reaches_only_its_own_topics", Access::AsGenerated) else { return };
    scene.after_first_rollout(|story, _| {
        let entry = story.entry()?;
        let topic = entry.topic("channel/stable/deployment");
        let before = entry.connect()?.retained(&topic)?;
        assert!(entry.connect()?.plant(&topic, b"hostile").is_err(), "a device changed the deployment");
        assert_eq!(entry.connect()?.retained(&topic)?, before);
        Ok(())
    });
}
