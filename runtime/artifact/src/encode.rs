//! Choosing how a chunk is stored. Only packing compresses, so only packing waits for it.

use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use crate::encoding::{Encoding, split_planes};
use crate::limits::ZSTD_WINDOW_LOG_MAX;

/// The level for chunks that are kept: packing happens once, transfer on every device.
const LEVEL: i32 = 19;

/// The level for finding out how long a chunk may be.
const LEVEL_TO_ESTIMATE: i32 = 1;

/// Compresses chunks. The same bytes always give the same result: one thread, fixed levels, a fixed order of trials.
pub(crate) struct Encoder {
    best: Compressor<'static>,
    quick: Compressor<'static>,
}

impl Encoder {
    pub(crate) fn new() -> std::io::Result<Self> {
        let compressor = |level| {
            let mut compressor = Compressor::new(level)?;
            compressor.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG_MAX))?;
            compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
            Ok::<_, std::io::Error>(compressor)
        };
        Ok(Self { best: compressor(LEVEL)?, quick: compressor(LEVEL_TO_ESTIMATE)? })
    }

    /// The smallest of all encodings; of equally small ones the first in [`Encoding::ALL`].
    pub(crate) fn smallest(&mut self, plain: &[u8]) -> std::io::Result<(Encoding, Vec<u8>)> {
        let mut smallest = (Encoding::None, plain.to_vec());
        for encoding in [Encoding::Zstd, Encoding::PlanesZstd] {
            let stored = compress(&mut self.best, encoding, plain)?;
            if stored.len() < smallest.1.len() {
                smallest = (encoding, stored);
            }
        }
        Ok(smallest)
    }

    /// About how many bytes [`Encoder::smallest`] would store.
    pub(crate) fn estimate(&mut self, plain: &[u8]) -> std::io::Result<usize> {
        let mut bytes = plain.len();
        for encoding in [Encoding::Zstd, Encoding::PlanesZstd] {
            bytes = bytes.min(compress(&mut self.quick, encoding, plain)?.len());
        }
        Ok(bytes)
    }
}

fn compress(compressor: &mut Compressor<'_>, encoding: Encoding, plain: &[u8]) -> std::io::Result<Vec<u8>> {
    match encoding {
        Encoding::None => Ok(plain.to_vec()),
        Encoding::Zstd => compressor.compress(plain),
        Encoding::PlanesZstd => compressor.compress(&split_planes(plain)),
    }
}
