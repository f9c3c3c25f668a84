//! One row of functions for each instruction set.

use crate::depthwise::DepthwiseRun;
use crate::{DenseWeights, DepthwiseWeights, KernelError, Output, PackedDense, PackedDepthwise, Scratch, scalar};

/// An instruction set for which kernels are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust; runs everywhere and defines the results.
    Scalar,
}

impl Isa {
    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
        }
    }

    /// The instruction set of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        ROWS.iter().map(|row| row.isa).find(|isa| isa.name() == name)
    }

    /// Every instruction set that is written for this architecture, slowest first.
    pub fn all() -> impl Iterator<Item = Isa> {
        ROWS.iter().map(|row| row.isa)
    }
}

/// Rows times weights.
#[derive(Clone, Copy, Debug)]
pub struct DenseKernel {
    /// Brings weights into the kernel's order.
    pub pack: fn(&DenseWeights<'_>) -> Result<PackedDense, KernelError>,
    /// `input` is `rows` rows of `depth` bytes without gaps.
    pub run: fn(&PackedDense, input: &[u8], rows: usize, &mut Scratch, Output<'_>),
}

/// One filter a channel.
#[derive(Clone, Copy, Debug)]
pub struct DepthwiseKernel {
    /// Brings filters into the kernel's order.
    pub pack: fn(&DepthwiseWeights<'_>) -> Result<PackedDepthwise, KernelError>,
    pub(crate) run: fn(&PackedDepthwise, DepthwiseRun<'_>, &mut Scratch),
}

/// The functions of one instruction set. Weights packed by one row are run by the same row only.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Which instruction set.
    pub isa: Isa,
    /// Whether this CPU and operating system have it.
    pub available: fn() -> bool,
    /// Linear layers and convolutions.
    pub dense: DenseKernel,
    /// Depthwise convolutions.
    pub depthwise: DepthwiseKernel,
}

/// Slowest first.
static ROWS: [Table; 1] = [scalar::TABLE];

/// The functions of `isa`; `None` when this CPU lacks it.
pub fn dispatch(isa: Isa) -> Option<&'static Table> {
    ROWS.iter().find(|row| row.isa == isa && (row.available)())
}

/// The functions of the fastest instruction set that this CPU has.
pub fn fastest() -> &'static Table {
    // Plain Rust is available everywhere.
    ROWS.iter().rev().find(|row| (row.available)()).unwrap_or(&ROWS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_row() {
        for isa in Isa::all() {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::from_name("abacus"), None);
        assert!(dispatch(Isa::Scalar).is_some());
        assert!((fastest().available)());
    }
}
