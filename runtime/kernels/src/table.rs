//! One row of functions for each instruction set.

use crate::dense::PackedDense;
use crate::depthwise::{DepthwiseRun, PackedDepthwise};
use crate::elementwise::ElementwiseKernel;
use crate::floats::FloatKernel;
use crate::product::Span;
use crate::rows::Rows;
use crate::stored::StoredKernel;
use crate::{DenseWeights, DepthwiseWeights, KernelError, Output, Product, Scratch, scalar};

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
    /// 64-bit ARM: NEON.
    Neon,
    /// NEON with dot products (`asimddp`).
    Dotprod,
    /// NEON with products of small matrices of 8-bit integers.
    I8mm,
}

/// Every instruction set of every architecture.
const KNOWN: [Isa; 7] = [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni, Isa::Neon, Isa::Dotprod, Isa::I8mm];

impl Isa {
    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512Vnni => "avx512vnni",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::I8mm => "i8mm",
        }
    }

    /// The instruction set of this name, of whichever architecture: that this CPU lacks it is for [`dispatch`] to say.
    pub fn from_name(name: &str) -> Option<Self> {
        KNOWN.into_iter().find(|isa| isa.name() == name)
    }

    /// Every instruction set of every architecture.
    pub fn known() -> impl Iterator<Item = Isa> {
        KNOWN.into_iter()
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

/// Some of `a` and `b` into the output.
type ProductKernel = fn(&Product, &Span, [&[u8]; 2], &mut Scratch, &mut [u8]);

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
    /// Products of two activations.
    pub(crate) product: ProductKernel,
    pub(crate) elementwise: ElementwiseKernel,
    /// Quantized rows.
    pub(crate) stored: StoredKernel,
    /// Everything in floats.
    pub(crate) float: FloatKernel,
}

/// Slowest first.
#[cfg(target_arch = "x86_64")]
static ROWS: [Table; 4] = [scalar::TABLE, crate::x86::AVX2, crate::x86::AVXVNNI, crate::x86::AVX512VNNI];
/// Slowest first.
#[cfg(target_arch = "aarch64")]
static ROWS: [Table; 4] = [scalar::TABLE, crate::aarch64::NEON, crate::aarch64::DOTPROD, crate::aarch64::I8MM];
/// Slowest first.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
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
    fn every_name_leads_to_its_instruction_set() {
        for isa in KNOWN {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::from_name("abacus"), None);
    }

    #[test]
    fn every_row_is_known_and_those_of_other_architectures_are_not_dispatched() {
        assert!(Isa::all().all(|isa| KNOWN.contains(&isa)));
        for isa in KNOWN {
            assert_eq!(dispatch(isa).is_some(), every_available().any(|row| row.isa == isa), "{}", isa.name());
        }
        let elsewhere = if cfg!(target_arch = "x86_64") { Isa::Neon } else { Isa::Avx2 };
        assert!(dispatch(elsewhere).is_none() && Isa::all().all(|isa| isa != elsewhere));
    }

    #[test]
    fn the_fastest_is_the_last_that_this_cpu_has() {
        assert!(dispatch(Isa::Scalar).is_some());
        assert_eq!(every_available().last().map(|row| row.isa), Some(fastest().isa));
    }
}
