//! The story, step by step.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use runtime_console::Console;
use runtime_trust::Digest;
use serde_json::Value;

use crate::attacks::{ATTACKS, Attacks};
use crate::forge::Forge;
use crate::hostile::Entry;
use crate::report::{DEVICES, REPORT_SCHEMA, Report};
use crate::samples::Samples;
use crate::stage::{CHANNEL, MODEL, Stage, path_text};

/// The largest metrics file that is read, in bytes.
const METRICS_BYTES_MAX: u64 = 256 * 1024;

/// The passage of the story from the first key to the last rollback.
pub struct Story<'a> {
    /// The actors.
    pub stage: &'a mut Stage,
    /// Where it is told.
    pub console: &'a Console,
    /// What was measured so far.
    pub report: Report,
    start: Instant,
}

/// A version of the model that `distill` made.
#[derive(Debug)]
pub struct Version {
    /// The test images with its answers.
    pub samples: Samples,
    /// The digest of its manifest.
    pub digest: Digest,
}

impl<'a> Story<'a> {
    /// A story that nothing of has happened yet.
    pub fn new(stage: &'a mut Stage, console: &'a Console) -> Self {
        let report = Report { schema: REPORT_SCHEMA, ..Report::default() };
        Story { stage, console, report, start: Instant::now() }
    }

    /// Tells the whole story; the report's shortfalls say whether it held.
    pub fn tell(&mut self) -> Result<()> {
        self.make_keys()?;
        let first = self.distill_first()?;
        self.enrol_devices()?;
        self.first_rollout(&first)?;
        self.compare_answers(&first)?;
        self.outage(&first)?;
        let before = self.attacks(&first)?;
        self.second_version(&first, before)?;
        self.report.wall_s = self.start.elapsed().as_secs_f64();
        Ok(())
    }

    fn say(&self, text: &str) {
        self.console.note(&format!("[{:5.1} s] {text}", self.start.elapsed().as_secs_f64()));
    }

    /// Step 0: the fleet's keys.
    pub fn make_keys(&mut self) -> Result<()> {
        self.say("keys: root, release and deploy, encrypted at rest");
        self.stage.fleet(&["keys", "new"])?;
        Ok(())
    }

    /// Step 1: version 1 of the model, with its figures in the report.
    pub fn distill_first(&mut self) -> Result<Version> {
        self.say("distill: a teacher CNN, a small student taught by it, int8 within its budget, sealed and signed");
        let metrics = self.distill("run", &[])?;
        let number = |key: &str| metrics[key].as_f64().with_context(|| format!("metrics.json has no {key}"));
        self.report.teacher_accuracy = number("teacher_accuracy")?;
        self.report.student_accuracy = number("student_accuracy")?;
        self.report.student_without_teacher_accuracy = number("student_without_teacher_accuracy")?;
        self.report.int8_accuracy = number("int8_accuracy")?;
        let run = self.stage.layout.run("run");
        self.report.float_bytes = runtime_disk::file_bytes(&run.join("student.onnx"))?;
        self.report.int8_bytes = runtime_disk::file_bytes(&run.join("student.int8.onnx"))?;
        self.report.artifact_bytes = runtime_disk::file_bytes(&run.join("digits.cask"))?;
        let version = self.version(&run)?;
        ensure!(version.samples.distinct() == version.samples.len(), "test images repeat");
        Ok(version)
    }

    /// Runs a recipe with the fleet's release key; returns its metrics.
    fn distill(&self, run: &str, overrides: &[&str]) -> Result<Value> {
        let folder = self.stage.layout.run(run);
        let recipe = self.stage.layout.recipe();
        let key = format!("artifact.sign_key={}", path_text(&self.stage.layout.fleet().join("keys/release.key"))?);
        let cache = self.stage.layout.root().join("cache");
        let mut arguments = vec!["run", path_text(&recipe)?, "--out", path_text(&folder)?];
        arguments.extend(["--cache", path_text(&cache)?, "--set", &key]);
        arguments.extend(overrides.iter().flat_map(|setting| ["--set", setting]));
        self.stage.programs.json_with_progress("distill", arguments)?;
        let metrics = runtime_disk::read_bounded(&folder.join("metrics.json"), METRICS_BYTES_MAX)?;
        Ok(serde_json::from_slice(&metrics)?)
    }

    /// What a run folder holds, checked: golden inputs never come from the test images.
    pub fn version(&self, run: &Path) -> Result<Version> {
        let forge = Forge::open(&self.stage.layout, run, self.stage.programs.passphrase())?;
        let samples = Samples::read(run, forge.input_name())?;
        let golden = forge.golden_inputs();
        let shared = (0..samples.len()).filter(|image| golden.contains(samples.input(*image))).count();
        ensure!(shared == 0, "{shared} test images are in the golden set");
        Ok(Version { samples, digest: forge.digest() })
    }

    /// Step 2: the controller and the devices.
    pub fn enrol_devices(&mut self) -> Result<()> {
        self.say("fleet serve: a broker on loopback, TLS, every client with its certificate");
        self.stage.start_controller()?;
        self.stage.start_devices()?;
        self.stage.wait_enrolled()?;
        let entry = self.entry()?;
        ensure!(entry.anonymous().connect().is_err(), "the broker accepted a client without a certificate");
        self.say(&format!("{DEVICES} devices enrolled and online; a client without a certificate was refused"));
        Ok(())
    }

    /// A way to the broker for somebody with the first device's enrolment.
    pub fn entry(&self) -> Result<Entry> {
        let name = self.stage.devices[0].name;
        Entry::steal(&self.stage.layout.root().join("agents").join(format!("{name}.enrolment.json")))
    }

    /// Step 3: version 1 on every device.
    pub fn first_rollout(&mut self, first: &Version) -> Result<()> {
        let artifact = self.stage.layout.run("run").join("digits.cask");
        self.stage.fleet(&["artifact", "push", path_text(&artifact)?])?;
        self.stage.fleet(&["rollout", "start", &format!("{MODEL}@{}", first.digest), "--channel", CHANNEL])?;
        self.report.devices_active = self.stage.wait_active(&first.digest.to_string())?;
        self.stage.wait_reported(&first.digest.to_string())?;
        self.say("rollout: each device fetched, verified, proved and activated version 1.0.0, and said so");
        Ok(())
    }

    /// Step 4: every answer of every device against the saved bytes.
    pub fn compare_answers(&mut self, first: &Version) -> Result<()> {
        let answers = self.stage.ask_all(&first.samples, &first.digest.to_string())?;
        self.report.answers_equal = answers.equal;
        self.report.answers_total = answers.total;
        let mut elapsed = answers.elapsed;
        elapsed.sort_unstable();
        self.report.infer_p50_us = percentile_us(&elapsed, 50);
        self.report.infer_p95_us = percentile_us(&elapsed, 95);
        self.say(&format!(
            "inference: {} of {} answers equal distill's bytes, {:.2} % of the labels are right, p50 {} us, p95 {} us",
            answers.equal,
            answers.total,
            100.0 * answers.correct as f64 / answers.total.max(1) as f64,
            self.report.infer_p50_us,
            self.report.infer_p95_us
        ));
        Ok(())
    }

    /// Step 5: broker and controller killed, then one agent; all come back at the end.
    pub fn outage(&mut self, first: &Version) -> Result<()> {
        let digest = first.digest.to_string();
        self.stage.kill_controller()?;
        let offline = self.stage.ask_all(&first.samples, &digest)?;
        self.report.offline_answers_equal = offline.equal;
        self.say(&format!(
            "outage: broker and controller killed, {} of {} answers equal",
            offline.equal, offline.total
        ));
        self.stage.kill_device(0)?;
        self.stage.start_device(0)?;
        let restarted = self.stage.ask(0, &first.samples, &digest, first.samples.len())?;
        self.report.restart_answers_equal = restarted.equal;
        self.say(&format!(
            "power cut: {} killed with -9 and started offline, {} of {} answers equal",
            self.stage.devices[0].name, restarted.equal, restarted.total
        ));
        self.stage.start_controller()?;
        self.stage.wait_enrolled()?;
        Ok(())
    }

    /// Step 6: five attacks; returns the digest that is active after the last control.
    pub fn attacks(&mut self, first: &Version) -> Result<Digest> {
        let entry = self.entry()?;
        let forge = Forge::open(&self.stage.layout, &self.stage.layout.run("run"), self.stage.programs.passphrase())?;
        let topic = entry.topic(&format!("channel/{CHANNEL}/deployment"));
        let first_deployment = entry.connect()?.retained(&topic)?;
        let sequence = self.stage.fleet(&["rollout", "status", "--channel", CHANNEL])?["sequence"]
            .as_u64()
            .context("the rollout has no sequence")?;
        let (console, start) = (self.console, self.start);
        let mut attacks = Attacks {
            stage: self.stage,
            entry: &entry,
            forge: &forge,
            samples: &first.samples,
            active: first.digest,
            sequence,
        };
        self.report.refused = attacks.run_all(&first_deployment, &mut |row| {
            let elapsed = start.elapsed().as_secs_f64();
            let (case, reason, devices) = (&row.case, &row.reason, row.devices);
            console.note(&format!(
                "[{elapsed:5.1} s] attack: {case}: refused by {devices} devices ({reason}); control active"
            ));
        })?;
        Ok(attacks.active)
    }

    /// The end: version 2 everywhere, and back to `before`.
    pub fn second_version(&mut self, first: &Version, before: Digest) -> Result<()> {
        self.say("version 2: the student trained again");
        self.distill("run-2", &["seed=2", "artifact.version=2.0.0", "artifact.number=100"])?;
        let run = self.stage.layout.run("run-2");
        let second = self.version(&run)?;
        self.stage.fleet(&["artifact", "push", path_text(&run.join("digits.cask"))?])?;
        self.stage.fleet(&["rollout", "start", &format!("{MODEL}@{}", second.digest), "--channel", CHANNEL])?;
        self.stage.wait_active(&second.digest.to_string())?;
        let answers = self.stage.ask_all(&second.samples, &second.digest.to_string())?;
        let changed = differing(first, &second);
        self.stage.fleet(&["rollout", "rollback", "--channel", CHANNEL])?;
        self.stage.wait_active(&before.to_string())?;
        let back = self.stage.ask_all(&first.samples, &before.to_string())?;
        self.report.rollback_ok =
            changed > 0 && answers.equal == answers.total && back.equal == back.total && back.total > 0;
        self.say(&format!(
            "version 2.0.0 answered {changed} of {} images otherwise; rolled back, {} of {} answers equal version 1's",
            first.samples.len(),
            back.equal,
            back.total
        ));
        Ok(())
    }

    /// Every condition that did not hold.
    pub fn shortfalls(&self) -> Vec<String> {
        self.report.shortfalls(ATTACKS)
    }
}

/// On how many of version 1's images the two versions' saved bytes differ. Both runs read the same test images.
fn differing(first: &Version, second: &Version) -> usize {
    let answers: std::collections::BTreeMap<&[u8], &[u8]> =
        (0..second.samples.len()).map(|image| (second.samples.input(image), second.samples.output(image))).collect();
    (0..first.samples.len())
        .filter(|image| {
            answers.get(first.samples.input(*image)).is_some_and(|answer| *answer != first.samples.output(*image))
        })
        .count()
}

/// The value below which `percent` of the sorted times lie, in microseconds.
fn percentile_us(sorted: &[Duration], percent: usize) -> u64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0, |elapsed| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
}
