//! Quantization that tract does not take, written out in plain arithmetic.
//!
//! tract 0.23 quantizes with a constant scale in `f32` to 8 bits, one scale a tensor or a channel. A scale that is
//! computed or in `f16`, 16 bits, and blocks of scales are here what ONNX defines them to be: a dequantization is
//! `(x - zero point) * scale`, a quantization `saturate(round_half_even(x / scale) + zero point)`.

use std::collections::BTreeMap;

use runtime_graph::{Attribute, Graph, Node, infer_shapes};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

/// ONNX has had Round since this operator set.
const OPSET_MIN: i64 = 11;

/// Replaces each QuantizeLinear and DequantizeLinear that tract does not take; leaves what cannot be written out.
pub(crate) fn write_quantization_out(graph: &mut Graph, opset: i64) {
    let Ok(values) = infer_shapes(graph, opset, &BTreeMap::new()) else { return };
    if opset < OPSET_MIN {
        return;
    }
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let written = Writer { graph: &mut *graph, values: &values, opset, node: &node, nodes: Vec::new() }.write();
        match written {
            Some(mut written) => nodes.append(&mut written),
            None => nodes.push(node),
        }
    }
    graph.nodes = nodes;
}

struct Writer<'a> {
    graph: &'a mut Graph,
    values: &'a BTreeMap<String, TensorSpec>,
    opset: i64,
    node: &'a Node,
    nodes: Vec<Node>,
}

impl Writer<'_> {
    /// The nodes that stand for this one; `None` when it is to stay.
    fn write(mut self) -> Option<Vec<Node>> {
        let quantizes = self.node.is("QuantizeLinear");
        if !quantizes && !self.node.is("DequantizeLinear") {
            return None;
        }
        let stored = if quantizes { self.stored_by_quantization()? } else { self.element(self.node.input(0)?)? };
        let scale_element = self.element(self.node.input(1)?)?;
        if self.tract_takes(quantizes, stored, scale_element) {
            return None;
        }
        let scale = self.parameter(1)?;
        let zero_point = match self.node.input(2) {
            Some(_) => Some(self.parameter(2)?),
            None => None,
        };
        let (input, output) = (self.node.input(0)?.to_owned(), self.node.output(0)?.to_owned());
        match quantizes {
            true => self.quantize(&input, &scale, zero_point.as_deref(), stored, &output)?,
            false => self.dequantize(&input, &scale, zero_point.as_deref(), scale_element, &output),
        }
        Some(self.nodes)
    }

    fn tract_takes(&self, quantizes: bool, stored: ElementType, scale: ElementType) -> bool {
        let is_constant =
            |position: usize| self.node.input(position).is_none_or(|name| self.graph.initializers.contains_key(name));
        let takes_stored = match stored {
            ElementType::U8 | ElementType::I8 => true,
            ElementType::I32 => !quantizes,
            _ => false,
        };
        let plain = self.node.int("block_size", 0) == 0 && scale == ElementType::F32;
        plain && takes_stored && is_constant(1) && is_constant(2)
    }

    fn element(&self, name: &str) -> Option<ElementType> {
        match self.graph.initializers.get(name) {
            Some(tensor) => Some(tensor.element()),
            None => self.values.get(name).map(|spec| spec.element),
        }
    }

    fn stored_by_quantization(&self) -> Option<ElementType> {
        match (self.node.input(2), self.node.int("output_dtype", 0)) {
            (Some(zero_point), _) => self.element(zero_point),
            (None, 0) => Some(ElementType::U8),
            (None, number) => ElementType::from_onnx(i32::try_from(number).ok()?),
        }
    }

    /// Scale or zero point in a shape that broadcasts to the data's.
    fn parameter(&mut self, position: usize) -> Option<String> {
        let name = self.node.input(position)?.to_owned();
        let shape = &self.values.get(self.node.input(0)?)?.shape;
        let rank = shape.len();
        let axis = self.node.int("axis", 1);
        let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok();
        let block = usize::try_from(self.node.int("block_size", 0)).ok()?;
        if let Some(tensor) = self.graph.initializers.get(&name) {
            let aligned = match (tensor.len(), block) {
                (1, _) => tensor.clone().reshape(vec![]).ok()?,
                (count, 0) => tensor.clone().reshape(along(axis?, count, rank)?).ok()?,
                _ => repeated(tensor, axis?, block, size(shape.get(axis?)?)?)?,
            };
            let inner = self.inner(&format!("parameter_{position}"));
            return Some(self.graph.add_initializer(&inner, aligned));
        }
        match (self.values.get(&name)?.shape.as_slice(), block) {
            ([] | [Dimension::Fixed(1)], _) => Some(name),
            ([_], 0) => self.unsqueezed(&name, axis?, rank),
            _ => None,
        }
    }

    /// A computed list along `axis` as a tensor of `rank` axes.
    fn unsqueezed(&mut self, name: &str, axis: usize, rank: usize) -> Option<String> {
        let axes: Vec<i64> = (0..rank).filter(|&other| other != axis).map(|other| other as i64).collect();
        let output = self.inner(&format!("{name}_aligned"));
        let node = match self.opset {
            ..13 => Node::new("Unsqueeze", &[name], &[&output]).with("axes", Attribute::Ints(axes)),
            _ => {
                let list = Tensor::from_i64(vec![axes.len()], axes).ok()?;
                let axes = self.graph.add_initializer(&format!("{output}_axes"), list);
                Node::new("Unsqueeze", &[name, &axes], &[&output])
            }
        };
        self.nodes.push(node);
        Some(output)
    }

    fn dequantize(&mut self, input: &str, scale: &str, zero_point: Option<&str>, result: ElementType, output: &str) {
        // Differences of stored integers are exact in 32 bits, those of 32-bit ones by ONNX's own rule.
        let mut value = self.cast(input, "stored", ElementType::I32);
        if let Some(zero_point) = zero_point {
            let zero_point = self.cast(zero_point, "zero", ElementType::I32);
            value = self.add("Sub", &[&value, &zero_point], "difference");
        }
        let value = self.cast(&value, "float", ElementType::F32);
        let scale = self.cast(scale, "scale", ElementType::F32);
        match result {
            ElementType::F32 => self.nodes.push(Node::new("Mul", &[&value, &scale], &[output])),
            _ => {
                let value = self.add("Mul", &[&value, &scale], "real");
                self.nodes.push(cast_node(&value, output, result));
            }
        }
    }

    fn quantize(
        &mut self,
        input: &str,
        scale: &str,
        zero_point: Option<&str>,
        stored: ElementType,
        output: &str,
    ) -> Option<()> {
        let (low, high) = match stored {
            ElementType::U8 => (0.0, 255.0),
            ElementType::I8 => (-128.0, 127.0),
            ElementType::U16 => (0.0, 65_535.0),
            ElementType::I16 => (-32_768.0, 32_767.0),
            _ => return None,
        };
        // tract makes x / s of x * (1 / s), which rounds twice; in f64 that is the quotient of f32 after all.
        let value = self.cast(input, "float", ElementType::F64);
        let scale = self.cast(scale, "scale", ElementType::F64);
        let value = self.add("Div", &[&value, &scale], "quotient");
        let value = self.cast(&value, "steps", ElementType::F32);
        let mut value = self.add("Round", &[&value], "rounded");
        if let Some(zero_point) = zero_point {
            let zero_point = self.cast(zero_point, "zero", ElementType::F32);
            value = self.add("Add", &[&value, &zero_point], "moved");
        }
        for (operator, bound) in [("Max", low), ("Min", high)] {
            let tensor = Tensor::from_f32(vec![], vec![bound]).ok()?;
            let bound = self.inner(&format!("bound_{operator}"));
            let bound = self.graph.add_initializer(&bound, tensor);
            value = self.add(operator, &[&value, &bound], operator);
        }
        self.nodes.push(cast_node(&value, output, stored));
        Some(())
    }

    /// The name of a value inside: no name of a model ends so.
    fn inner(&self, what: &str) -> String {
        format!("{}/quantization/{what}", self.node.output(0).unwrap_or_default())
    }

    fn add(&mut self, operator: &str, inputs: &[&str], what: &str) -> String {
        let output = self.inner(what);
        self.nodes.push(Node::new(operator, inputs, &[&output]));
        output
    }

    fn cast(&mut self, input: &str, what: &str, to: ElementType) -> String {
        let output = self.inner(what);
        self.nodes.push(cast_node(input, &output, to));
        output
    }
}

fn cast_node(input: &str, output: &str, to: ElementType) -> Node {
    Node::new("Cast", &[input], &[output]).with("to", Attribute::Int(i64::from(to.onnx())))
}

fn size(dimension: &Dimension) -> Option<usize> {
    match dimension {
        Dimension::Fixed(size) => usize::try_from(*size).ok(),
        Dimension::Symbol(_) => None,
    }
}

/// Shape of a list of `count` along `axis` among `rank` axes.
fn along(axis: usize, count: usize, rank: usize) -> Option<Vec<usize>> {
    let mut shape = vec![1; rank];
    *shape.get_mut(axis)? = count;
    Some(shape)
}

/// Every slice of `tensor` along `axis` `block` times, cut at `size` slices.
fn repeated(tensor: &Tensor, axis: usize, block: usize, size: usize) -> Option<Tensor> {
    let mut shape = tensor.shape().to_vec();
    let blocks = std::mem::replace(shape.get_mut(axis)?, size);
    if blocks.checked_mul(block)? < size {
        return None;
    }
    let slice = tensor.shape()[axis + 1..].iter().product::<usize>() * tensor.element().size_bytes();
    let mut repeated = Tensor::zeros(tensor.element(), shape).ok()?;
    if slice == 0 || size == 0 {
        return Some(repeated);
    }
    for (index, target) in repeated.bytes_mut().chunks_exact_mut(slice).enumerate() {
        let source = (index / size * blocks + index % size / block) * slice;
        target.copy_from_slice(tensor.bytes().get(source..source + slice)?);
    }
    Some(repeated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, element: ElementType, shape: &[u64]) -> TensorSpec {
        TensorSpec { name: name.into(), element, shape: shape.iter().map(|&size| Dimension::Fixed(size)).collect() }
    }

    fn graph(node: Node, constants: &[(&str, Tensor)]) -> Graph {
        let constants = constants.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone()));
        Graph {
            inputs: vec![spec("x", ElementType::F32, &[3, 4])],
            outputs: vec![spec("y", ElementType::U8, &[3, 4])],
            initializers: constants.collect(),
            nodes: vec![node],
            ..Graph::default()
        }
    }

    fn operators(graph: &Graph) -> Vec<&str> {
        graph.nodes.iter().map(|node| node.operator.as_str()).collect()
    }

    #[test]
    fn what_tract_takes_stays() {
        let constants = [("s", Tensor::from_f32(vec![], vec![0.5]).unwrap())];
        let before = graph(Node::new("QuantizeLinear", &["x", "s"], &["y"]), &constants);
        let mut after = before.clone();
        write_quantization_out(&mut after, 17);
        assert_eq!(after, before);
    }

    #[test]
    fn blocks_become_a_scale_an_element() {
        let scales = Tensor::from_f32(vec![3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let node = Node::new("QuantizeLinear", &["x", "s"], &["y"]).with("axis", Attribute::Int(1));
        let mut graph = graph(node.with("block_size", Attribute::Int(2)), &[("s", scales)]);
        write_quantization_out(&mut graph, 21);
        assert_eq!(operators(&graph), ["Cast", "Cast", "Div", "Cast", "Round", "Max", "Min", "Cast"]);
        let scales = &graph.initializers["y/quantization/parameter_1"];
        assert_eq!(scales.shape(), [3, 4]);
        assert_eq!(scales.as_f32().unwrap(), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0, 6.0]);
    }

    #[test]
    fn a_block_may_be_cut_short_but_not_missing() {
        let scales = Tensor::from_u8(vec![2], vec![1, 2]).unwrap();
        assert_eq!(repeated(&scales, 0, 3, 5).unwrap().as_u8().unwrap(), [1, 1, 1, 2, 2]);
        assert_eq!(repeated(&scales, 0, 3, 7), None);
        assert_eq!(repeated(&scales, 1, 3, 6), None);
    }

    #[test]
    fn what_cannot_be_written_out_stays() {
        let before = graph(Node::new("QuantizeLinear", &["x", "nothing"], &["y"]), &[]);
        let mut after = before.clone();
        write_quantization_out(&mut after, 21);
        assert_eq!(after, before);
        write_quantization_out(&mut after, 10);
        assert_eq!(after, before);
    }
}
