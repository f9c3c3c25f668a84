//! What quantization cost on the validation part, and whether that is within the budget.

use serde::Serialize;

use crate::recipe::BudgetSection;
use crate::runner::share_equal;

/// The int8 model against the float student on the same samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    /// `accuracy`, or `agreement` without labels.
    pub(crate) measure: &'static str,
    pub(crate) samples: usize,
    /// The float student's figure; 1 for agreement.
    pub(crate) float: f64,
    /// The int8 model's figure.
    pub(crate) int8: f64,
    /// Samples that only the float student gets right (without labels: on which the two differ).
    pub(crate) extra_errors: u64,
    /// Share of samples on which the two choose the same class.
    pub(crate) agreement: f64,
    /// Bytes of the int8 ONNX file.
    pub(crate) bytes: u64,
}

impl Comparison {
    /// Compares the chosen classes of both models.
    pub(crate) fn new(float: &[u32], int8: &[u32], labels: Option<&[u32]>, bytes: u64) -> Self {
        let agreement = share_equal(int8, float);
        let samples = float.len();
        match labels {
            Some(labels) => {
                let only_float =
                    float.iter().zip(int8).zip(labels).filter(|((float, int8), label)| float == label && int8 != label);
                Comparison {
                    measure: "accuracy",
                    samples,
                    float: share_equal(float, labels),
                    int8: share_equal(int8, labels),
                    extra_errors: only_float.count() as u64,
                    agreement,
                    bytes,
                }
            }
            None => Comparison {
                measure: "agreement",
                samples,
                float: 1.0,
                int8: agreement,
                extra_errors: float.iter().zip(int8).filter(|(float, int8)| float != int8).count() as u64,
                agreement,
                bytes,
            },
        }
    }

    /// Points that the int8 model lost; negative when it gained.
    pub(crate) fn drop_points(&self) -> f64 {
        (self.float - self.int8) * 100.0
    }

    /// Each limit of the budget that is broken, as text; empty when it is met.
    pub(crate) fn broken(&self, budget: &BudgetSection) -> Vec<String> {
        let mut broken = Vec::new();
        // A drop that equals the limit in decimals meets it in spite of rounding.
        if let Some(max) = budget.max_drop
            && self.drop_points() > max + 1e-9
        {
            broken.push(format!("{} fell by {:.2} points, at most {max} allowed", self.measure, self.drop_points()));
        }
        if let Some(max) = budget.max_extra_errors
            && self.extra_errors > max
        {
            broken.push(format!("{} extra errors, at most {max} allowed", self.extra_errors));
        }
        if let Some(max) = budget.max_bytes
            && self.bytes > max
        {
            broken.push(format!("{} bytes, at most {max} allowed", self.bytes));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(max_drop: Option<f64>, max_extra_errors: Option<u64>, max_bytes: Option<u64>) -> BudgetSection {
        BudgetSection { max_drop, max_extra_errors, max_bytes }
    }

    #[test]
    fn each_limit_is_judged_alone() {
        // Float: 9 of 10 right. Int8: loses two of those, gains the one.
        let labels = [0u32; 10];
        let float = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let int8 = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let found = Comparison::new(&float, &int8, Some(&labels), 1000);
        assert_eq!((found.extra_errors, found.agreement, found.bytes), (2, 0.7, 1000));
        assert!((found.drop_points() - 10.0).abs() < 1e-9);
        let rows = [
            (budget(None, None, None), 0),
            (budget(Some(10.0), Some(2), Some(1000)), 0),
            (budget(Some(9.9), None, None), 1),
            (budget(None, Some(1), None), 1),
            (budget(None, None, Some(999)), 1),
            (budget(Some(0.0), Some(0), Some(0)), 3),
        ];
        for (budget, expected) in rows {
            assert_eq!(found.broken(&budget).len(), expected, "{budget:?}");
        }
    }

    #[test]
    fn without_labels_the_measure_is_agreement() {
        let found = Comparison::new(&[0, 1, 2, 3], &[0, 1, 2, 0], None, 5);
        assert_eq!((found.measure, found.float, found.int8, found.extra_errors), ("agreement", 1.0, 0.75, 1));
    }
}
