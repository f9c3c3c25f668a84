//! One row of functions for each instruction set.

use crate::dense::PackedDense;
use crate::depthwise::{DepthwiseRun, PackedDepthwise};
use crate::elementwise::ElementwiseKernel;
use crate::rows::Rows;
use crate::{DenseWeights, DepthwiseWeights, KernelError, Output, Scratch, scalar};

/// An instruction set for which kernels are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust; runs everywhere and defines the results.
    Scalar,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// AVX2 with VNNI in 32-byte vectors.
    AvxVnni,
    /// AVX-512 with VNNI.
    Avx512Vnni,
}

impl Isa {
    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512Vnni => "avx512vnni",
        }
    }

    /// The instruction set of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        ROWS.iter().map(|row| row.isa).find(|isa| isa.name() == name)
    }

    /// Every instruction set that has kernels on this architecture, slowest first.
    pub fn all() -> impl Iterator<Item = Isa> {
        ROWS.iter().map(|row| row.isa)
    }
}

/// Rows times weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DenseKernel {
    /// Brings weights into the kernel's order.
    pub(crate) pack: fn(&DenseWeights<'_>) -> Result<PackedDense, KernelError>,
    /// Multiplies every row.
    pub(crate) run: fn(&PackedDense, &Rows<'_>, &mut Scratch, Output<'_>),
}

/// One filter a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DepthwiseKernel {
    /// Brings filters into the kernel's order.
    pub(crate) pack: fn(&DepthwiseWeights<'_>) -> Result<PackedDepthwise, KernelError>,
    pub(crate) run: fn(&PackedDepthwise, DepthwiseRun<'_>, &mut Scratch),
}

/// The functions of one instruction set. Weights packed by one row are run by the same row only.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Which instruction set.
    pub isa: Isa,
    /// Whether this CPU and operating system have it.
    pub(crate) available: fn() -> bool,
    /// Linear layers and convolutions.
    pub(crate) dense: DenseKernel,
    /// Depthwise convolutions.
    pub(crate) depthwise: DepthwiseKernel,
    pub(crate) elementwise: ElementwiseKernel,
}

/// Slowest first.
#[cfg(target_arch = "x86_64")]
static ROWS: [Table; 4] = [scalar::TABLE, crate::x86::AVX2, crate::x86::AVXVNNI, crate::x86::AVX512VNNI];
/// Slowest first.
#[cfg(not(target_arch = "x86_64"))]
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

/// Every row that this CPU can run: what tests hold to the definition.
#[cfg(test)]
pub(crate) fn every_available() -> impl Iterator<Item = &'static Table> {
    ROWS.iter().filter(|row| (row.available)())
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
