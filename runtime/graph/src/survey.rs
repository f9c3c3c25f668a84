//! What a model file says about itself, for callers that leave its contents to another reader.

use crate::read::within;
use crate::wire::Reader;
use crate::{GraphError, ReadLimits};

/// Size of a model file's main graph and where its data lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Nodes of the main graph.
    pub nodes: u64,
    /// The first tensor whose data lies in another file, graphs inside graphs and functions included.
    pub external: Option<String>,
}

/// Walks over `bytes` without decoding or copying a tensor.
///
/// Errors: bytes that are no protobuf message, and more bytes, nodes or nesting than `limits` allow. A model that is
/// surveyed well may still be wrong.
pub fn survey(bytes: &[u8], limits: &ReadLimits) -> Result<Survey, GraphError> {
    within("the number of bytes of the file", bytes.len() as u64, limits.bytes_max)?;
    let mut walk = Walk { limits, nodes: 0, external: None };
    let mut main_nodes = 0;
    let mut graphs = 0;
    let mut model = Reader::new(bytes, "ModelProto");
    while let Some(field) = model.field()? {
        match field.number {
            7 => {
                graphs += 1;
                main_nodes += walk.graph(field.message("GraphProto")?, 0)?;
            }
            25 => walk.function(field.message("FunctionProto")?)?,
            _ => {}
        }
    }
    if graphs == 0 {
        return Err(model.malformed("found no graph, expected one"));
    }
    Ok(Survey { nodes: main_nodes, external: walk.external })
}

struct Walk<'a> {
    limits: &'a ReadLimits,
    /// Nodes of all graphs.
    nodes: u64,
    external: Option<String>,
}

impl Walk<'_> {
    /// Gives the number of nodes of this graph alone.
    fn graph(&mut self, mut graph: Reader<'_>, depth: u32) -> Result<u64, GraphError> {
        within("the depth of graphs inside graphs", u64::from(depth), u64::from(self.limits.nesting_max))?;
        let mut nodes = 0;
        while let Some(field) = graph.field()? {
            match field.number {
                1 => {
                    nodes += 1;
                    self.node(field.message("NodeProto")?, depth)?;
                }
                5 => self.tensor(field.message("TensorProto")?)?,
                15 => self.sparse_tensor(field.message("SparseTensorProto")?)?,
                _ => {}
            }
        }
        Ok(nodes)
    }

    fn function(&mut self, mut function: Reader<'_>) -> Result<(), GraphError> {
        while let Some(field) = function.field()? {
            if field.number == 7 {
                self.node(field.message("NodeProto")?, 0)?;
            }
        }
        Ok(())
    }

    fn node(&mut self, mut node: Reader<'_>, depth: u32) -> Result<(), GraphError> {
        self.nodes += 1;
        within("the number of nodes", self.nodes, self.limits.nodes_max)?;
        while let Some(field) = node.field()? {
            if field.number == 5 {
                self.attribute(field.message("AttributeProto")?, depth)?;
            }
        }
        Ok(())
    }

    fn attribute(&mut self, mut attribute: Reader<'_>, depth: u32) -> Result<(), GraphError> {
        while let Some(field) = attribute.field()? {
            match field.number {
                5 | 10 => self.tensor(field.message("TensorProto")?)?,
                6 | 11 => drop(self.graph(field.message("GraphProto")?, depth + 1)?),
                22 | 23 => self.sparse_tensor(field.message("SparseTensorProto")?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn sparse_tensor(&mut self, mut tensor: Reader<'_>) -> Result<(), GraphError> {
        while let Some(field) = tensor.field()? {
            if matches!(field.number, 1 | 2) {
                self.tensor(field.message("TensorProto")?)?;
            }
        }
        Ok(())
    }

    fn tensor(&mut self, mut tensor: Reader<'_>) -> Result<(), GraphError> {
        let (mut name, mut external) = ("", false);
        while let Some(field) = tensor.field()? {
            match field.number {
                8 => name = field.text()?,
                // Entries say where, the location says that they count: a reader might go by either.
                13 => external = true,
                14 => external |= field.int()? != 0,
                _ => {}
            }
        }
        if external && self.external.is_none() {
            self.external = Some(name.to_owned());
        }
        Ok(())
    }
}
