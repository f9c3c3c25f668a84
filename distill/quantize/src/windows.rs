//! What one output value of a layer is a sum over: windows of its input as rows that lie like its weights.

use runtime_graph::Node;

use crate::linear::Linear;

/// Geometry of a Conv, Gemm or MatMul on an input of a given shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    batch: usize,
    groups: usize,
    /// Input channels of one group.
    channels: usize,
    /// Sizes, as for two axes of space; 1 where the layer has fewer.
    input: [usize; 2],
    output: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    begins: [usize; 2],
}

impl Windows {
    /// Reads a node; the error says what is not understood.
    pub(crate) fn of(node: &Node, linear: &Linear, shape: &[usize]) -> Result<Self, String> {
        let depth = linear.layout.depth();
        if !node.is("Conv") {
            let count: usize = shape.iter().product();
            if shape.last() != Some(&depth) {
                return Err(format!("its input has the shape {shape:?}, expected {depth} at the end"));
            }
            return Ok(Self {
                batch: count / depth,
                groups: 1,
                channels: depth,
                input: [1, 1],
                output: [1, 1],
                kernel: [1, 1],
                strides: [1, 1],
                dilations: [1, 1],
                begins: [0, 0],
            });
        }
        let (&[batch, channels], space) = shape.split_first_chunk().ok_or("its input has no channels")?;
        let weights = linear.weights.shape();
        if space.is_empty() || space.len() > 2 || weights.len() != shape.len() || channels != linear.inputs() {
            return Err(format!("its input has the shape {shape:?} for weights of the shape {weights:?}"));
        }
        // One axis is the second of two, the first of which has one place.
        let place = |list: &[usize], absent: usize| match *list {
            [only] => [absent, only],
            [first, second, ..] => [first, second],
            [] => [absent; 2],
        };
        let attribute = |name: &str, absent: usize| {
            let list: Vec<usize> =
                node.ints(name).unwrap_or_default().iter().map(|&size| size.max(0) as usize).collect();
            place(&list, absent)
        };
        let (input, kernel) = (place(space, 1), place(&weights[2..], 1));
        let (strides, dilations) = (attribute("strides", 1), attribute("dilations", 1));
        let spans: [usize; 2] = std::array::from_fn(|axis| dilations[axis] * kernel[axis].saturating_sub(1) + 1);
        if strides.contains(&0) || dilations.contains(&0) || kernel.contains(&0) {
            return Err("it has a stride, dilation or kernel of zero".to_owned());
        }
        let pads: Vec<usize> = node.ints("pads").unwrap_or_default().iter().map(|&size| size.max(0) as usize).collect();
        let explicit = [place(&pads[..pads.len() / 2], 0), place(&pads[pads.len() / 2..], 0)];
        let [begins, ends] = match node.text("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => explicit,
            "VALID" => [[0; 2]; 2],
            mode => {
                let total: [usize; 2] = std::array::from_fn(|axis| {
                    let outputs = input[axis].div_ceil(strides[axis]);
                    (outputs.saturating_sub(1) * strides[axis] + spans[axis]).saturating_sub(input[axis])
                });
                let lower: [usize; 2] =
                    total.map(|total| if mode == "SAME_LOWER" { total.div_ceil(2) } else { total / 2 });
                [lower, std::array::from_fn(|axis| total[axis] - lower[axis])]
            }
        };
        let mut output = [0; 2];
        for axis in 0..2 {
            let padded = input[axis].saturating_add(begins[axis]).saturating_add(ends[axis]);
            let steps = padded.checked_sub(spans[axis]).ok_or("its kernel is larger than its input")?;
            output[axis] = steps / strides[axis] + 1;
        }
        let groups = linear.groups;
        let channels = linear.layout.channels;
        Ok(Self { batch, groups, channels, input, output, kernel, strides, dilations, begins })
    }

    /// Rows of one group in this input: output values of one channel.
    pub(crate) fn rows(&self) -> usize {
        self.batch * self.output[0] * self.output[1]
    }

    /// Groups of channels; each has rows of its own.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Writes row `row` of `group`: what the weights of an output of this group are multiplied with, in their order.
    ///
    /// `values` is the whole input and `into` has one place for each weight of an output.
    pub(crate) fn read(&self, values: &[f32], row: usize, group: usize, into: &mut [f32]) {
        let places = self.output[0] * self.output[1];
        let (sample, place) = (row / places, row % places);
        let corner = [place / self.output[1], place % self.output[1]];
        let plane = self.input[0] * self.input[1];
        let first = (sample * self.groups + group) * self.channels;
        let at = |axis: usize, tap: usize| {
            let found = (corner[axis] * self.strides[axis] + tap * self.dilations[axis]).checked_sub(self.begins[axis]);
            found.filter(|&found| found < self.input[axis])
        };
        let mut slots = into.iter_mut();
        for channel in first..first + self.channels {
            for y in 0..self.kernel[0] {
                for x in 0..self.kernel[1] {
                    let Some(slot) = slots.next() else { return };
                    *slot = match (at(0, y), at(1, x)) {
                        (Some(y), Some(x)) => values[channel * plane + y * self.input[1] + x],
                        _ => 0.0,
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime_graph::{Attribute, Graph};
    use runtime_tensor::Tensor;

    use super::*;

    fn windows(node: &Node, weights: &[usize], input: &[usize]) -> Result<Windows, String> {
        let mut graph = Graph::default();
        let count = weights.iter().product();
        graph.initializers.insert("w".to_owned(), Tensor::from_f32(weights.to_vec(), vec![1.0; count]).unwrap());
        Windows::of(node, &Linear::of(node, &graph).unwrap(), input)
    }

    fn row(windows: &Windows, input: &[usize], row: usize, group: usize, depth: usize) -> Vec<f32> {
        let values: Vec<f32> = (0..input.iter().product()).map(|value: usize| value as f32).collect();
        let mut found = vec![-1.0; depth];
        windows.read(&values, row, group, &mut found);
        found
    }

    fn ints(values: &[i64]) -> Attribute {
        Attribute::Ints(values.to_vec())
    }

    #[test]
    fn a_convolution_has_a_row_for_each_place() {
        let node =
            Node::new("Conv", &["x", "w"], &["y"]).with("pads", ints(&[1, 0, 0, 0])).with("strides", ints(&[2, 1]));
        let input = [2, 2, 3, 2];
        let found = windows(&node, &[3, 2, 2, 1], &input).unwrap();
        assert_eq!((found.rows(), found.groups(), found.output), (8, 1, [2, 2]));
        assert_eq!(row(&found, &input, 1, 0, 4), [0.0, 1.0, 0.0, 7.0], "the first line is padding");
        assert_eq!(row(&found, &input, 6, 0, 4), [14.0, 16.0, 20.0, 22.0], "second sample, second line");
    }

    #[test]
    fn groups_lines_and_automatic_padding_are_understood() {
        let depthwise = Node::new("Conv", &["x", "w"], &["y"]).with("group", Attribute::Int(2));
        let found = windows(&depthwise, &[2, 1, 1, 2], &[1, 2, 1, 3]).unwrap();
        assert_eq!(row(&found, &[1, 2, 1, 3], 1, 1, 2), [4.0, 5.0]);
        let line = Node::new("Conv", &["x", "w"], &["y"]).with("dilations", ints(&[2]));
        let found = windows(&line, &[1, 1, 2], &[1, 1, 4]).unwrap();
        assert_eq!((found.rows(), row(&found, &[1, 1, 4], 1, 0, 2)), (2, vec![1.0, 3.0]));
        for (mode, expected) in [("SAME_UPPER", [0.0, 1.0]), ("SAME_LOWER", [0.0, 0.0])] {
            let same = Node::new("Conv", &["x", "w"], &["y"]).with("auto_pad", Attribute::Text(mode.to_owned()));
            let found = windows(&same, &[1, 1, 2], &[1, 1, 4]).unwrap();
            assert_eq!((found.rows(), row(&found, &[1, 1, 4], 0, 0, 2)), (4, expected.to_vec()), "{mode}");
        }
    }

    #[test]
    fn a_matrix_has_its_own_rows() {
        let node = Node::new("MatMul", &["x", "w"], &["y"]);
        let found = windows(&node, &[3, 5], &[2, 2, 3]).unwrap();
        assert_eq!((found.rows(), row(&found, &[2, 2, 3], 2, 0, 3)), (4, vec![6.0, 7.0, 8.0]));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let conv = Node::new("Conv", &["x", "w"], &["y"]);
        assert!(windows(&conv, &[1, 2, 3, 3], &[1, 3, 8, 8]).unwrap_err().contains("[1, 3, 8, 8]"));
        assert!(windows(&conv, &[1, 2, 3, 3], &[1, 2, 2, 8]).unwrap_err().contains("larger than its input"));
        assert!(windows(&conv, &[1, 2, 3, 3, 3], &[1, 2, 8, 8, 8]).is_err());
        let matrix = Node::new("MatMul", &["x", "w"], &["y"]);
        assert!(windows(&matrix, &[3, 5], &[2, 4]).unwrap_err().contains("expected 3"));
    }
}
