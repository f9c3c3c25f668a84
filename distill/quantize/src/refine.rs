//! Making a quantized model from what passes found: integers chosen for weights, biases corrected by means.

use std::collections::BTreeMap;

use crate::calibrate::{Calibration, select};
use crate::correct::{BiasCorrection, LayerMeans, correct_biases};
use crate::quantize::{Quantized, emit};
use crate::{QuantizeError, QuantizeOptions};

/// Integers chosen for the weights of one layer, in the order of the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightCodes {
    /// The scales that they were chosen for; with others they are not used.
    pub scales: Vec<f32>,
    /// The integers.
    pub codes: Vec<i8>,
}

/// A calibration and what passes found on top of it. From it models are made for any choice of nodes.
#[derive(Clone, Debug)]
pub struct Refined {
    /// The float model and its ranges.
    pub calibration: Calibration,
    /// Integers by the name of the weights; the nearest ones where there are none.
    pub codes: BTreeMap<String, WeightCodes>,
    /// Means of what layers are given; without them biases stay as they are.
    pub means: Option<LayerMeans>,
}

impl Refined {
    /// Nothing but the calibration.
    pub fn new(calibration: Calibration) -> Self {
        Self { calibration, codes: BTreeMap::new(), means: None }
    }

    /// The model for these options, which may skip more nodes than the calibration did.
    pub fn make(&self, options: &QuantizeOptions) -> Result<Quantized, QuantizeError> {
        Ok(self.make_with_corrections(options)?.0)
    }

    /// The same, with what became of each bias.
    pub fn make_with_corrections(
        &self,
        options: &QuantizeOptions,
    ) -> Result<(Quantized, Vec<BiasCorrection>), QuantizeError> {
        let plan = self.calibration.plan(options)?;
        let mut prepared = self.calibration.prepared().clone();
        let selection = select(&prepared, &options.skip)?;
        let corrections = match &self.means {
            Some(means) => correct_biases(&mut prepared, &selection, &plan, options, (&self.codes, means))?,
            None => Vec::new(),
        };
        Ok((emit(prepared, &selection, &plan, options, &self.codes)?, corrections))
    }
}
