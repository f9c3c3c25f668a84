//! The stages of a run: teacher, student, test.

use distill_train::{Dataset, Flow, TrainOptions, Trainer, augmented};
use runtime_console::table;
use runtime_graph::{Model, ReadLimits};
use runtime_tensor::Tensor;
use runtime_trust::Digest;

use super::metrics::{Digests, EngineFacts, Metrics, SCHEMA, Samples};
use super::{Context, DEVICE_ENGINE, digest_of};
use crate::data::{Data, Part, npz};
use crate::error::{PipelineError, Result};
use crate::models;
use crate::runner::{Runner, classes, share_equal};
use crate::search::Found;

/// The smallest probability whose logarithm is taken, when a teacher gives probabilities.
const PROBABILITY_MIN: f32 = 1e-30;

/// The model that is learned from.
pub(super) struct Teacher {
    bytes: Vec<u8>,
    pub(super) digest: Digest,
    /// Logits for the training part, when a loss needs them.
    logits: Option<Tensor>,
}

/// The model that goes to devices.
pub(super) struct Student {
    pub(super) model: Model,
    bytes: Vec<u8>,
    /// The same student trained without the teacher.
    control: Option<Vec<u8>>,
}

impl Context<'_> {
    /// Says how the data was cut, and what is odd about it.
    pub(super) fn report_data(&mut self, data: &Data) -> Result<()> {
        let samples = samples(data);
        let rows: Vec<Vec<String>> = [
            ("train", samples.train),
            ("calibration", samples.calibration),
            ("validation", samples.validation),
            ("test", samples.test),
        ]
        .map(|(part, count)| vec![part.to_owned(), count.to_string()])
        .to_vec();
        self.console.note(table(&["part", "samples"], &rows).trim_end());
        for warning in &data.warnings {
            self.console.warn(&warning.text);
        }
        let fields = serde_json::json!({ "samples": samples, "classes": data.classes, "digest": data.digest, "warnings": data.warnings });
        self.folder.log("data", &fields)
    }

    /// What the student learns from: the training part, with moved copies where the teacher must see them too.
    pub(super) fn lesson(&self, data: &Data) -> Result<Dataset> {
        let dataset = data.train.dataset();
        match &self.loaded.recipe.train {
            Some(train) if train.copies_made() > 0 => {
                let augmentation = models::augmentation(train);
                Ok(augmented(&dataset, &augmentation, train.copies_made(), self.loaded.recipe.seed)?)
            }
            _ => Ok(dataset),
        }
    }

    /// Reads or trains the teacher, and gets its logits for the lesson.
    pub(super) fn teacher(&mut self, data: &Data, lesson: &Dataset) -> Result<Option<Teacher>> {
        let loaded = self.loaded;
        let Some(section) = &loaded.recipe.teacher else {
            return Ok(None);
        };
        // Another seed than the student's, so that the two do not begin alike.
        let seed = loaded.recipe.seed.wrapping_add(1 << 32);
        let mut model = models::build(section, &loaded.folder, data.sample_shape(), data.classes, seed)?;
        models::check_fit(&model, data.sample_shape())?;
        if let Some(train) = &section.train {
            let options = models::train_options(train, seed, self.device);
            let bytes = self.train(&model, &data.train.dataset(), None, &data.validation, &options, "teacher")?;
            model = Model::read(&bytes, &ReadLimits::default())?;
        }
        let bytes = model.write();
        self.folder.write("teacher.onnx", &bytes)?;
        let digest = digest_of(&bytes);
        let needed = loaded.recipe.train.as_ref().is_some_and(|train| train.distils());
        let logits = if needed {
            let (logits, cached) = self.cache.get(&digest, &lesson.x, || {
                let outputs = Runner::load(self.engine.as_ref(), &bytes)?.run(&lesson.x)?;
                logits_of(&outputs, models::ends_in_softmax(&model))
            })?;
            self.folder.log(
                "teacher-logits",
                &serde_json::json!({ "teacher": digest, "shape": logits.shape(), "cached": cached }),
            )?;
            Some(logits)
        } else {
            None
        };
        Ok(Some(Teacher { bytes, digest, logits }))
    }

    /// Builds or reads the student and trains it, and its control, as the recipe says.
    pub(super) fn student(&mut self, data: &Data, lesson: &Dataset, teacher: Option<&Teacher>) -> Result<Student> {
        let loaded = self.loaded;
        let recipe = &loaded.recipe;
        let section = recipe.student.network();
        let mut model = models::build(&section, &loaded.folder, data.sample_shape(), data.classes, recipe.seed)?;
        models::check_fit(&model, data.sample_shape())?;
        let mut control = None;
        if let Some(train) = &recipe.train {
            let options = models::train_options(train, recipe.seed, self.device);
            let logits = teacher.and_then(|teacher| teacher.logits.as_ref());
            let bytes = self.train(&model, lesson, logits, &data.validation, &options, "student")?;
            if recipe.student.control {
                let options = models::without_teacher(&options);
                control = Some(self.train(&model, lesson, None, &data.validation, &options, "control")?);
            }
            model = Model::read(&bytes, &ReadLimits::default())?;
        }
        let bytes = model.write();
        self.folder.write("student.onnx", &bytes)?;
        Ok(Student { model, bytes, control })
    }

    /// One training run with a progress bar and a line of the log for each epoch.
    fn train(
        &mut self,
        model: &Model,
        dataset: &Dataset,
        logits: Option<&Tensor>,
        validation: &Part,
        options: &TrainOptions,
        who: &str,
    ) -> Result<Vec<u8>> {
        let validation = validation.dataset();
        let steps = u64::from(options.epochs) * dataset.len().div_ceil(options.batch) as u64;
        let bar = self.console.progress(steps, who);
        let folder = &mut self.folder;
        let mut unlogged = None;
        let outcome = Trainer::new(model, options).teacher(logits).validation(Some(&validation)).train(
            dataset,
            &mut |progress| {
                bar.set(progress.step);
                let Some(record) = &progress.epoch_done else { return Flow::Continue };
                let accuracy =
                    record.validation_accuracy.map_or_else(String::new, |share| format!(", {:.2} %", share * 100.0));
                bar.message(&format!("epoch {}, loss {:.4}{accuracy}", record.epoch, record.loss));
                let fields = serde_json::json!({
                    "who": who, "epoch": record.epoch, "loss": record.loss, "learning_rate": progress.learning_rate,
                    "validation_accuracy": record.validation_accuracy,
                });
                unlogged = folder.log("epoch", &fields).err();
                if unlogged.is_none() { Flow::Continue } else { Flow::Stop }
            },
        );
        drop(bar);
        if let Some(error) = unlogged {
            return Err(error);
        }
        let trained = outcome.map_err(|error| PipelineError::from(error).at(who))?;
        let fields = serde_json::json!({
            "who": who, "kept_epoch": trained.best_epoch, "digest": digest_of(&trained.model_bytes),
            "device": options.device.to_string(), "seed": options.seed,
        });
        self.folder.log("trained", &fields)?;
        Ok(trained.model_bytes)
    }

    /// Reads the test part, once, with every model; saves the int8 model's answers.
    pub(super) fn test(
        &mut self,
        data: &Data,
        teacher: Option<&Teacher>,
        student: &Student,
        found: &Found,
    ) -> Result<Metrics> {
        let labels = data.test.y.as_deref();
        let engine = self.engine.clone();
        let answers =
            |bytes: &[u8]| -> Result<Vec<u32>> { classes(&Runner::load(engine.as_ref(), bytes)?.run(&data.test.x)?) };
        let accuracy = |found: &[u32]| labels.map(|labels| share_equal(found, labels));
        let teacher_accuracy = match teacher {
            Some(teacher) => accuracy(&answers(&teacher.bytes)?),
            None => None,
        };
        let control_accuracy = match &student.control {
            Some(bytes) => accuracy(&answers(bytes)?),
            None => None,
        };
        let float = answers(&student.bytes)?;
        let mut runner = Runner::load(engine.as_ref(), &found.int8)?;
        let outputs = runner.run(&data.test.x)?;
        let int8 = classes(&outputs)?;
        self.write_outputs(&data.test, &outputs)?;
        let coverage = runner.coverage();
        let metrics = Metrics {
            schema: SCHEMA,
            teacher_accuracy,
            student_accuracy: accuracy(&float),
            student_without_teacher_accuracy: control_accuracy,
            int8_accuracy: accuracy(&int8),
            int8_agreement: share_equal(&int8, &float),
            float_bytes: student.bytes.len() as u64,
            int8_bytes: found.int8.len() as u64,
            artifact_bytes: None,
            artifact: None,
            samples: samples(data),
            budget_met: found.met(),
            quantization: found.best.clone(),
            attempts: found.attempts.len(),
            digests: Digests {
                recipe: self.loaded.digest(),
                data: data.digest,
                teacher: teacher.map(|teacher| teacher.digest),
                student: digest_of(&student.bytes),
                int8: digest_of(&found.int8),
                artifact: None,
            },
            engine: EngineFacts {
                name: DEVICE_ENGINE.to_owned(),
                numerics: runner.numerics(),
                nodes_total: coverage.nodes_total,
                nodes_covered: coverage.nodes_covered,
            },
            device: self.device.to_string(),
            wall_s: 0.0,
        };
        for left_out in &found.left_out {
            self.console.note(&format!("stays in float: {left_out}"));
        }
        self.folder.log("test", &metrics)?;
        Ok(metrics)
    }

    /// `test_outputs.npz`: `inputs` as the model takes them, `outputs` of the int8 model, `labels` where there are any.
    fn write_outputs(&self, test: &Part, outputs: &Tensor) -> Result<()> {
        let labels = match &test.y {
            Some(labels) => {
                let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
                Some(Tensor::new(runtime_tensor::ElementType::U32, vec![labels.len()], &bytes)?)
            }
            None => None,
        };
        let mut arrays = vec![("inputs", &test.x), ("outputs", outputs)];
        arrays.extend(labels.as_ref().map(|labels| ("labels", labels)));
        self.folder.write("test_outputs.npz", &npz::write(&arrays)?)
    }
}

fn samples(data: &Data) -> Samples {
    Samples {
        train: data.train.len(),
        calibration: data.calibration.len(),
        validation: data.validation.len(),
        test: data.test.len(),
    }
}

/// `[samples, classes]` logits. A softmax forgets only a constant per row, which distillation does not see, so the
/// logarithm of probabilities serves as well.
fn logits_of(outputs: &Tensor, are_probabilities: bool) -> Result<Tensor> {
    let samples = outputs.shape()[0];
    let mut values = outputs.to_f32_vec()?;
    if are_probabilities {
        for value in &mut values {
            *value = value.max(PROBABILITY_MIN).ln();
        }
    }
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let row = at / (values.len() / samples.max(1)).max(1);
        return Err(PipelineError::input(format!(
            "the teacher's answer to training sample {row} is not finite: mend the teacher or the data"
        )));
    }
    let columns = values.len() / samples.max(1);
    Ok(Tensor::from_f32(vec![samples, columns], values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_become_logits_up_to_a_constant() {
        let outputs = Tensor::from_f32(vec![1, 3], vec![0.25, 0.75, 0.0]).unwrap();
        let logits = logits_of(&outputs, true).unwrap();
        let values = logits.as_f32().unwrap();
        assert!((values[1] - values[0] - 3.0f32.ln()).abs() < 1e-6 && values[2].is_finite());
        assert!(logits_of(&Tensor::from_f32(vec![1, 2], vec![f32::NAN, 0.0]).unwrap(), false).is_err());
    }
}
