//! What the quickstart measured, and the verdict over it.

use serde::Serialize;

/// The version of the JSON object.
pub const REPORT_SCHEMA: u32 = 1;

/// Every attack must be refused by this many devices, and there are this many agents.
pub const DEVICES: usize = 3;

/// The lowest accuracy of the teacher, as a share of the test images.
const TEACHER_ACCURACY_MIN: f64 = 0.97;

/// How much accuracy int8 may lose against the float student.
const INT8_DROP_MAX: f64 = 0.01;

/// The int8 file's largest share of the float file's bytes.
const INT8_SHARE_MAX: f64 = 0.45;

/// The fewest distinct test images per agent.
const IMAGES_MIN: u64 = 300;

/// One attack and who refused it.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Refused {
    /// The attack, as a short name.
    pub case: String,
    /// The reason that every device named, as a code.
    pub reason: String,
    /// How many devices refused it, named that reason and went on serving.
    pub devices: usize,
}

/// The result of the quickstart; the fields are those of its `--json` object.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The version of this object.
    pub schema: u32,
    /// Accuracy of the teacher on the test images.
    pub teacher_accuracy: f64,
    /// Accuracy of the distilled float student.
    pub student_accuracy: f64,
    /// Accuracy of the same student trained without the teacher: same data, steps, augmentation and seed.
    pub student_without_teacher_accuracy: f64,
    /// Accuracy of the quantized student.
    pub int8_accuracy: f64,
    /// Size of the float student's ONNX file.
    pub float_bytes: u64,
    /// Size of the int8 student's ONNX file.
    pub int8_bytes: u64,
    /// Size of `digits.cask`.
    pub artifact_bytes: u64,
    /// Devices on which the first rollout became active.
    pub devices_active: usize,
    /// Answers whose every output byte equals what `distill` saved.
    pub answers_equal: u64,
    /// Answers asked for: test images times devices.
    pub answers_total: u64,
    /// The same with broker and controller dead.
    pub offline_answers_equal: u64,
    /// The same from the agent that was killed and started again without a network.
    pub restart_answers_equal: u64,
    /// The attacks, each with its own reason.
    pub refused: Vec<Refused>,
    /// Whether version 2 became active, answered otherwise on at least one image, and version 1 came back.
    pub rollback_ok: bool,
    /// Median time of one inference over HTTP, in microseconds.
    pub infer_p50_us: u64,
    /// 95th percentile of the same.
    pub infer_p95_us: u64,
    /// Wall time of the whole story, in seconds.
    pub wall_s: f64,
}

impl Report {
    /// Every condition that does not hold; empty means success. Wall time is reported, never judged.
    pub fn shortfalls(&self, attacks: usize) -> Vec<String> {
        let images = self.answers_total / DEVICES as u64;
        let reasons: std::collections::BTreeSet<&str> = self.refused.iter().map(|row| row.reason.as_str()).collect();
        let silent: Vec<&str> =
            self.refused.iter().filter(|row| row.devices != DEVICES).map(|row| row.case.as_str()).collect();
        let rows = [
            (
                self.teacher_accuracy >= TEACHER_ACCURACY_MIN,
                format!("the teacher's accuracy is {:.4}, not {TEACHER_ACCURACY_MIN} or more", self.teacher_accuracy),
            ),
            (
                self.int8_accuracy >= self.student_accuracy - INT8_DROP_MAX,
                format!("int8 loses more than a point: {:.4} of {:.4}", self.int8_accuracy, self.student_accuracy),
            ),
            (
                (self.int8_bytes as f64) < INT8_SHARE_MAX * self.float_bytes as f64,
                format!("the int8 file has {} of {} bytes", self.int8_bytes, self.float_bytes),
            ),
            (images >= IMAGES_MIN, format!("only {images} test images per device, not {IMAGES_MIN}")),
            (self.devices_active == DEVICES, format!("{} of {DEVICES} devices became active", self.devices_active)),
            (
                self.answers_equal == self.answers_total,
                format!("{} of {} answers equal the saved bytes", self.answers_equal, self.answers_total),
            ),
            (
                self.offline_answers_equal == self.answers_total,
                format!("offline, {} of {} answers are equal", self.offline_answers_equal, self.answers_total),
            ),
            (
                self.restart_answers_equal == images,
                format!("after the restart, {} of {images} answers are equal", self.restart_answers_equal),
            ),
            (self.refused.len() == attacks, format!("{} of {attacks} attacks were tried", self.refused.len())),
            (silent.is_empty(), format!("not refused by every device: {}", silent.join(", "))),
            (reasons.len() == attacks, format!("{} distinct reasons for {attacks} attacks", reasons.len())),
            (self.rollback_ok, "version 2 and back did not hold".to_owned()),
        ];
        rows.into_iter().filter(|(holds, _)| !holds).map(|(_, shortfall)| shortfall).collect()
    }

    /// The table at the end of the story.
    pub fn table(&self) -> String {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let share = 100.0 * self.int8_bytes as f64 / self.float_bytes.max(1) as f64;
        let mut rows = vec![
            vec!["teacher accuracy".to_owned(), percent(self.teacher_accuracy)],
            vec!["student accuracy, distilled".to_owned(), percent(self.student_accuracy)],
            vec!["student accuracy, without teacher".to_owned(), percent(self.student_without_teacher_accuracy)],
            vec!["int8 accuracy".to_owned(), percent(self.int8_accuracy)],
            vec![
                "float, int8 ONNX file".to_owned(),
                format!("{} B, {} B ({share:.0} %)", self.float_bytes, self.int8_bytes),
            ],
            vec!["sealed artifact".to_owned(), format!("{} B", self.artifact_bytes)],
            vec!["devices active".to_owned(), format!("{} of {DEVICES}", self.devices_active)],
            vec![
                "answers equal to distill's bytes".to_owned(),
                format!("{} of {}", self.answers_equal, self.answers_total),
            ],
            vec![
                "the same, broker and controller dead".to_owned(),
                format!("{} of {}", self.offline_answers_equal, self.answers_total),
            ],
            vec![
                "the same, killed and restarted offline".to_owned(),
                format!("{} of {}", self.restart_answers_equal, self.answers_total / DEVICES as u64),
            ],
        ];
        for row in &self.refused {
            rows.push(vec![
                format!("refused: {}", row.case),
                format!("{} ({} of {DEVICES} devices)", row.reason, row.devices),
            ]);
        }
        rows.push(vec![
            "version 2 and back".to_owned(),
            if self.rollback_ok { "held" } else { "did not hold" }.to_owned(),
        ]);
        rows.push(vec![
            "inference over HTTP".to_owned(),
            format!("p50 {} us, p95 {} us", self.infer_p50_us, self.infer_p95_us),
        ]);
        rows.push(vec!["wall time".to_owned(), format!("{:.1} s", self.wall_s)]);
        runtime_console::table(&["what", "result"], &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        let refused =
            |case: &str| Refused { case: case.to_owned(), reason: format!("reason-{case}"), devices: DEVICES };
        Report {
            schema: REPORT_SCHEMA,
            teacher_accuracy: 0.98,
            student_accuracy: 0.97,
            int8_accuracy: 0.965,
            float_bytes: 100,
            int8_bytes: 30,
            devices_active: DEVICES,
            answers_equal: 900,
            answers_total: 900,
            offline_answers_equal: 900,
            restart_answers_equal: 300,
            refused: vec![refused("a"), refused("b")],
            rollback_ok: true,
            ..Report::default()
        }
    }

    #[test]
    fn every_condition_can_fail() {
        assert_eq!(good().shortfalls(2), Vec::<String>::new());
        type Spoil = fn(&mut Report);
        let rows: [(&str, Spoil); 12] = [
            ("teacher", |report| report.teacher_accuracy = 0.9699),
            ("int8", |report| report.int8_accuracy = 0.9599),
            ("bytes", |report| report.int8_bytes = 45),
            ("images", |report| {
                report.answers_total = 897;
                report.answers_equal = 897;
                report.offline_answers_equal = 897;
                report.restart_answers_equal = 299;
            }),
            ("active", |report| report.devices_active = 2),
            ("answers", |report| report.answers_equal = 899),
            ("offline", |report| report.offline_answers_equal = 899),
            ("restart", |report| report.restart_answers_equal = 299),
            ("attacks", |report| {
                report.refused.pop();
            }),
            ("silent", |report| report.refused[0].devices = 2),
            ("reasons", |report| report.refused[0].reason = report.refused[1].reason.clone()),
            ("rollback", |report| report.rollback_ok = false),
        ];
        for (name, spoil) in rows {
            let mut report = good();
            spoil(&mut report);
            assert!(!report.shortfalls(2).is_empty(), "{name} was not noticed");
        }
    }
}
