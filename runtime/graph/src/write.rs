//! From the plain view to bytes. Fields stand in the order of their numbers, what was kept comes last.

use std::collections::BTreeMap;

use runtime_tensor::{Dimension, Tensor, TensorSpec};

use crate::wire::Writer;
use crate::{Attribute, Graph, Kept, Node};

/// Writes a `ModelProto`.
pub(crate) fn write_model(ir_version: i64, opsets: &BTreeMap<String, i64>, graph: &Graph, kept: &Kept) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.int(1, ir_version);
    writer.message(7, |writer| write_graph(writer, graph));
    for (domain, version) in opsets {
        writer.message(8, |writer| {
            writer.text(1, domain);
            writer.int(2, *version);
        });
    }
    writer.bytes.extend_from_slice(&kept.0);
    writer.bytes
}

fn write_graph(writer: &mut Writer, graph: &Graph) {
    for node in &graph.nodes {
        writer.message(1, |writer| write_node(writer, node));
    }
    writer.text(2, &graph.name);
    for (name, tensor) in &graph.initializers {
        // Not through `message`, which would copy every weight once more.
        let head = tensor_head(name, tensor);
        let payload = raw_data_bytes(tensor);
        writer.head(5, head.len() + payload);
        writer.bytes.extend_from_slice(&head);
        write_raw_data(writer, tensor);
    }
    for (number, values) in [(11, &graph.inputs), (12, &graph.outputs)] {
        for value in values {
            writer.message(number, |writer| write_value(writer, value));
        }
    }
    for value in graph.values.values() {
        writer.message(13, |writer| write_value(writer, value));
    }
    writer.bytes.extend_from_slice(&graph.kept.0);
}

fn write_node(writer: &mut Writer, node: &Node) {
    // Positions count, so an absent input is written, too.
    for input in &node.inputs {
        writer.payload(1, input.as_bytes());
    }
    for output in &node.outputs {
        writer.payload(2, output.as_bytes());
    }
    writer.text(3, &node.name);
    writer.text(4, &node.operator);
    for (name, attribute) in &node.attributes {
        match attribute {
            Attribute::Opaque(opaque) => writer.payload(5, &opaque.bytes),
            plain => writer.message(5, |writer| write_attribute(writer, name, plain)),
        }
    }
    writer.text(7, &node.domain);
    writer.bytes.extend_from_slice(&node.kept.0);
}

fn write_attribute(writer: &mut Writer, name: &str, attribute: &Attribute) {
    writer.text(1, name);
    let kind = match attribute {
        Attribute::Float(value) => {
            writer.float(2, *value);
            1
        }
        Attribute::Int(value) => {
            writer.int(3, *value);
            2
        }
        Attribute::Text(value) => {
            writer.payload(4, value.as_bytes());
            3
        }
        Attribute::Tensor(value) => {
            writer.message(5, |writer| {
                writer.bytes.extend_from_slice(&tensor_head("", value));
                write_raw_data(writer, value);
            });
            4
        }
        Attribute::Floats(values) => {
            values.iter().for_each(|&value| writer.float(7, value));
            6
        }
        Attribute::Ints(values) => {
            values.iter().for_each(|&value| writer.int(8, value));
            7
        }
        Attribute::Texts(values) => {
            values.iter().for_each(|value| writer.payload(9, value.as_bytes()));
            8
        }
        Attribute::Opaque(opaque) => i64::from(opaque.kind),
    };
    writer.int(20, kind);
}

/// The fields of a `TensorProto` before its data.
fn tensor_head(name: &str, tensor: &Tensor) -> Vec<u8> {
    let mut writer = Writer::default();
    for &size in tensor.shape() {
        writer.int(1, size as i64);
    }
    writer.int(2, i64::from(tensor.element().onnx()));
    writer.text(8, name);
    writer.bytes
}

fn write_raw_data(writer: &mut Writer, tensor: &Tensor) {
    writer.payload(9, tensor.bytes());
}

/// Bytes that [`write_raw_data`] writes.
fn raw_data_bytes(tensor: &Tensor) -> usize {
    let mut head = Writer::default();
    head.head(9, tensor.bytes().len());
    head.bytes.len() + tensor.bytes().len()
}

fn write_value(writer: &mut Writer, value: &TensorSpec) {
    writer.text(1, &value.name);
    writer.message(2, |writer| {
        writer.message(1, |writer| {
            writer.int(1, i64::from(value.element.onnx()));
            writer.message(2, |writer| {
                for dimension in &value.shape {
                    writer.message(1, |writer| match dimension {
                        Dimension::Fixed(size) => writer.int(1, i64::try_from(*size).unwrap_or(i64::MAX)),
                        Dimension::Symbol(symbol) => writer.text(2, symbol),
                    });
                }
            });
        });
    });
}
