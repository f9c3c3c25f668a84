//! Products of two quantized matrices that are both known at run time only.

use runtime_graph::Node;
use runtime_kernels::{Affine, Product, ProductSide};

use super::float::{refused, spread_steps};
use super::meaning::{Meaning, Pending, Work};
use super::quantized::stored;
use super::reader::{Reader, Reason};
use crate::program::{Step, StoredStep, ValueId, plain};

impl Reader<'_> {
    pub(crate) fn product(&mut self, node: &Node) -> Result<Meaning, Reason> {
        let shape = self.output_shape(node)?;
        let mut sides = Vec::new();
        for position in 0..2 {
            match self.input_meaning(node, position)? {
                Meaning::Real(value, affine) if self.builder.value(value).shape.len() >= 2 => {
                    sides.push((value, affine));
                }
                Meaning::Real(..) => {
                    return Err("products with vectors have no kernels; give them a second axis".into());
                }
                _ => return Err(format!("its input {} is not quantized", node.inputs[position])),
            }
        }
        Ok(Meaning::Pending(Pending::new(Work::Product { a: sides[0], b: sides[1] }, shape).into()))
    }

    /// The stored bytes of a product.
    pub(crate) fn quantized_product(
        &mut self,
        [a, b]: [(ValueId, Affine); 2],
        y: &Affine,
        bounds: [u8; 2],
        shape: &[usize],
    ) -> Result<ValueId, Reason> {
        let ((a, a_affine), (b, b_affine)) = (a, b);
        let (rank, a_rank) = (shape.len(), self.builder.value(a).shape.len());
        // The kernel reads rows of `a`; everything else may lie anyhow.
        let a_lies = self.builder.value(a).order.last() == Some(&(a_rank - 1));
        let a = if a_lies { a } else { self.builder.in_order(a, &plain(a_rank))? };
        let order = if a_rank == rank { self.builder.value(a).order.clone() } else { plain(rank) };
        let ((a_side, [rows, depth]), (b_side, [b_depth, columns])) =
            (self.product_side(a, shape)?, self.product_side(b, shape)?);
        if depth != b_depth || shape[rank - 2..] != [rows, columns] {
            return Err(format!("{rows} x {depth} times {b_depth} x {columns} for a result of shape {shape:?}"));
        }
        let value = self.builder.add_value(stored(y), shape, order);
        let (y_side, _) = self.product_side(value, shape)?;
        // A size of 1 has no step of its own to spread; the kernel asks that columns lie beside each other.
        let beside = |side: ProductSide| ProductSide { columns: 1, ..side };
        let product = Product::new(
            self.table,
            &shape[..rank - 2],
            [rows, depth, columns],
            [beside(a_side), b_side, beside(y_side)],
            [&a_affine, &b_affine, y],
            bounds,
        );
        let product = Box::new(product.map_err(refused)?);
        let [a, b, output] = [a, b, value].map(|side| self.builder.buffer(side));
        self.builder.add_step(Step::Stored(StoredStep::Product { product, a, b, output }));
        Ok(value)
    }

    /// How `value` lies as a side of a product of `shape`, and the sizes of its last two axes.
    pub(crate) fn product_side(&self, value: ValueId, shape: &[usize]) -> Result<(ProductSide, [usize; 2]), Reason> {
        let own = &self.builder.value(value).shape;
        let steps = self.builder.axis_steps(value);
        let last = own.len() - 2;
        let batch = spread_steps(&own[..last], &steps[..last], &shape[..shape.len() - 2])?;
        Ok((ProductSide { batch, rows: steps[last], columns: steps[last + 1] }, [own[last], own[last + 1]]))
    }
}
