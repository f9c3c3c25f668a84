//! Relu and Clip: bounds that an integer range can take over.

use runtime_graph::{Graph, Node};

use crate::parameters::requantized;

/// What a Relu or a Clip with constant bounds does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bound {
    low: f32,
    high: f32,
}

impl Bound {
    /// Reads a node; `None` when it is neither, or when its bounds are known only at run time.
    pub(crate) fn of(node: &Node, graph: &Graph) -> Option<Self> {
        if node.is("Relu") {
            return Some(Self { low: 0.0, high: f32::INFINITY });
        }
        if !node.is("Clip") {
            return None;
        }
        let constant = |position: usize, absent: f32| match node.input(position) {
            None => Some(absent),
            Some(name) => match graph.initializers.get(name)?.as_f32().ok()? {
                [only] => Some(*only),
                _ => None,
            },
        };
        Some(Self { low: constant(1, f32::NEG_INFINITY)?, high: constant(2, f32::INFINITY)? })
    }

    /// Whether a positive factor in front of it is the same factor behind it.
    pub(crate) fn is_homogeneous(&self) -> bool {
        (self.low == 0.0 || self.low == f32::NEG_INFINITY) && self.high == f32::INFINITY
    }

    /// Whether saturating at `bounds` does the same: both ends of the bound become the ends of the integers.
    ///
    /// QuantizeLinear is monotonic, so what is beyond the bound saturates as the bound itself does.
    pub(crate) fn is_saturation(&self, scale: f32, zero_point: i32, bounds: (i32, i32)) -> bool {
        let end = |value: f32| requantized(value, scale, zero_point, bounds);
        end(self.low) == bounds.0 && end(self.high) == bounds.1
    }

    /// A scale at most a few percent smaller that makes saturation do the work of this bound, or `scale` itself.
    ///
    /// A range that ends at the bound may miss it by the rounding of its zero point: -1 to 1 does.
    pub(crate) fn reach(&self, scale: f32, zero_point: i32, bounds: (i32, i32)) -> f32 {
        const LOSS_MAX: f32 = 0.98;
        let steps = |end: i32| (end - zero_point) as f32;
        let ends = [(self.low, steps(bounds.0)), (self.high, steps(bounds.1))];
        let finite = ends.iter().filter(|(value, steps)| value.is_finite() && *steps != 0.0);
        let reached = finite.map(|(value, steps)| value / steps).fold(scale, f32::min);
        let helps = reached >= scale * LOSS_MAX && self.is_saturation(reached, zero_point, bounds);
        if helps { reached } else { scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_saturation_when_its_ends_are() {
        let relu = Bound { low: 0.0, high: f32::INFINITY };
        let relu6 = Bound { low: 0.0, high: 6.0 };
        let rows = [
            (relu, 0.1, 0, (0, 255), true),
            (relu, 0.1, 3, (0, 255), false),
            (relu, 0.1, -128, (-128, 127), true),
            (relu6, 6.0 / 255.0, 0, (0, 255), true),
            (relu6, 5.0 / 255.0, 0, (0, 255), true),
            (relu6, 7.0 / 255.0, 0, (0, 255), false),
            (Bound { low: -1.0, high: 1.0 }, 2.0 / 255.0, 128, (0, 255), false),
            (Bound { low: -1.0, high: 1.0 }, 2.0 / 256.0, 128, (0, 255), true),
        ];
        for (bound, scale, zero_point, bounds, expected) in rows {
            assert_eq!(bound.is_saturation(scale, zero_point, bounds), expected, "{bound:?} {scale} {zero_point}");
        }
    }

    #[test]
    fn a_scale_is_made_to_reach_the_bound_when_that_costs_little() {
        let tanh = Bound { low: -1.0, high: 1.0 };
        assert_eq!(tanh.reach(2.0 / 255.0, 128, (0, 255)), 2.0 / 256.0);
        assert_eq!(tanh.reach(2.0 / 255.0, 0, (-128, 127)), 2.0 / 256.0);
        assert_eq!(tanh.reach(3.0 / 255.0, 128, (0, 255)), 3.0 / 255.0, "too much would be lost");
        let relu6 = Bound { low: 0.0, high: 6.0 };
        assert_eq!(relu6.reach(5.0 / 255.0, 0, (0, 255)), 5.0 / 255.0, "it does already");
    }
}
