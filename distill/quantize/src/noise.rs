//! How far the answers of changed models are from those of the float model, streaming over batches.

use runtime_engine::{Engine, LoadOptions, Session};
use runtime_graph::Model;
use runtime_tensor::{ElementType, NamedTensor};

use crate::QuantizeError;

/// Batches of samples, each naming every input of the model.
pub type Batches<'a> = Box<dyn Iterator<Item = Result<Vec<NamedTensor>, String>> + 'a>;

/// Samples that can be gone through more than once; every call gives the same batches in the same order.
pub type Samples<'a> = &'a dyn Fn() -> Batches<'a>;

/// Bytes that the sessions of candidates may hold at a time; one is always loaded.
const SESSIONS_BYTES_MAX: u64 = 64 << 20;

/// Where models run, and on what.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// The engine that runs float and quantized models.
    pub engine: &'a dyn Engine,
    /// The samples that passes look at.
    pub samples: Samples<'a>,
    /// Threads of the engine; 0 means 1.
    pub threads: usize,
}

impl Bench<'_> {
    pub(crate) fn load(&self, model: &Model) -> Result<Box<dyn Session>, QuantizeError> {
        let options = LoadOptions { threads: self.threads, ..LoadOptions::default() };
        Ok(self.engine.load(&model.write(), &options)?)
    }

    /// Signal-to-quantization-noise ratio of the outputs of `model` against those of `float`, in decibels.
    ///
    /// Of several outputs the worst counts. Infinite when no answer differs.
    pub fn sqnr_db(&self, float: &Model, model: &Model) -> Result<f64, QuantizeError> {
        let found = self.sqnrs_db(float, 1, &mut |_| Ok(model.clone()))?;
        Ok(found.first().copied().unwrap_or(f64::INFINITY))
    }

    /// The same for `count` candidates, made one after the other by `make`.
    ///
    /// As many candidates as fit into a bounded number of bytes share one walk over the samples; one batch and its
    /// answers are held at a time.
    pub fn sqnrs_db(
        &self,
        float: &Model,
        count: usize,
        make: &mut dyn FnMut(usize) -> Result<Model, QuantizeError>,
    ) -> Result<Vec<f64>, QuantizeError> {
        let mut reference = self.load(float)?;
        let mut found = Vec::with_capacity(count);
        while found.len() < count {
            let mut sessions: Vec<Box<dyn Session>> = Vec::new();
            let mut bytes = 0u64;
            while found.len() + sessions.len() < count && (sessions.is_empty() || bytes < SESSIONS_BYTES_MAX) {
                let model = make(found.len() + sessions.len())?;
                let written = model.write();
                let options = LoadOptions { threads: self.threads, ..LoadOptions::default() };
                let session = self.engine.load(&written, &options)?;
                bytes += session.resident_bytes().max(written.len() as u64);
                sessions.push(session);
            }
            found.extend(self.walk(reference.as_mut(), &mut sessions)?);
        }
        Ok(found)
    }

    fn walk(&self, reference: &mut dyn Session, sessions: &mut [Box<dyn Session>]) -> Result<Vec<f64>, QuantizeError> {
        let names: Vec<String> = reference
            .outputs()
            .iter()
            .filter(|spec| spec.element == ElementType::F32)
            .map(|spec| spec.name.clone())
            .collect();
        let mut powers = vec![vec![Power::default(); names.len()]; sessions.len()];
        let mut count = 0;
        for batch in (self.samples)() {
            let batch = batch.map_err(|reason| QuantizeError::Samples { batch: count, reason })?;
            let expected = reference.run(&batch, &names, None)?;
            for (session, powers) in sessions.iter_mut().zip(&mut powers) {
                let answered = session.run(&batch, &names, None)?;
                for ((power, (name, expected)), (_, found)) in powers.iter_mut().zip(&expected).zip(&answered) {
                    if !power.add(expected.as_f32()?, found.as_f32()?) {
                        return Err(QuantizeError::NotFinite { tensor: name.clone(), batch: count });
                    }
                }
            }
            count += 1;
        }
        if count == 0 {
            return Err(QuantizeError::NoSamples);
        }
        let worst = |powers: &Vec<Power>| powers.iter().map(Power::ratio_db).fold(f64::INFINITY, f64::min);
        Ok(powers.iter().map(worst).collect())
    }
}

/// Sums of squares, over all batches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Power {
    signal: f64,
    noise: f64,
}

impl Power {
    /// Takes note of values; `false` when the float ones are no numbers.
    pub(crate) fn add(&mut self, expected: &[f32], found: &[f32]) -> bool {
        for (&expected, &found) in expected.iter().zip(found) {
            self.signal += f64::from(expected).powi(2);
            // A quantized model that answers NaN is as wrong as can be, not a reason to stop.
            let difference = f64::from(found) - f64::from(expected);
            self.noise += if difference.is_finite() { difference.powi(2) } else { f64::MAX };
        }
        self.signal.is_finite()
    }

    pub(crate) fn ratio_db(&self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_in_decibels() {
        let of = |expected: &[f32], found: &[f32]| {
            let mut power = Power::default();
            assert!(power.add(expected, found));
            power.ratio_db()
        };
        assert!((of(&[1.0, -1.0], &[1.1, -0.9]) - 20.0).abs() < 1e-5);
        assert_eq!(of(&[1.0], &[1.0]), f64::INFINITY);
        assert!(of(&[1.0], &[f32::NAN]) < -1000.0);
        assert!(!Power::default().add(&[f32::NAN], &[0.0]));
    }
}
