//! An ONNX model as a plain graph: bounded read, write, checks, shapes, constants, rewriting.
//!
//! Invariants: a file is believed only as far as its bytes go, so no input panics or reserves more memory than
//! [`ReadLimits`] allow; an unchanged model is written back byte for byte; what the plain view does not show is
//! kept; data outside the file is read only from the model's own folder. What this crate cannot do is an error
//! that names the node.
#![forbid(unsafe_code)]

mod borrowed;
mod cost;
mod error;
mod evaluate;
mod external;
mod fold;
mod graph;
mod limits;
mod model;
mod order;
mod read;
mod read_attribute;
mod read_tensor;
mod rewrite;
mod shapes;
mod splice;
mod support;
mod survey;
mod upgrade;
mod wire;
mod write;

pub use borrowed::Borrowed;
pub use cost::macs;
pub use error::GraphError;
pub use fold::{FOLDED_BYTES_MAX, fold_constants};
pub use graph::{Attribute, Graph, Kept, Node, OpaqueAttribute};
pub use limits::ReadLimits;
pub use model::Model;
pub use order::{consumers, producers};
pub use read_tensor::read_tensor_proto;
pub use shapes::infer_shapes;
pub use splice::tensor_ranges;
pub use support::{UnsupportedNode, unsupported};
pub use survey::{Survey, survey};
pub use upgrade::raise_opset;
