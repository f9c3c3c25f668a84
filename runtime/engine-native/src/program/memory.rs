//! The memory that a program works in.

use std::ops::Range;

use runtime_kernels::{Affine, AlignedFloats};

use super::{BufferId, OutputPlace, RangeId};

/// The place of one buffer.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the bytes of the arena.
    Bytes(Range<usize>),
    /// In the floats of the arena.
    Floats(Range<usize>),
    /// Never changed.
    Constant(Vec<u8>),
    /// Floats that are never changed.
    FloatConstant(Vec<f32>),
}

/// Arena and constants.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    places: Vec<Place>,
    bytes: Vec<u8>,
    floats: AlignedFloats,
    /// The quantization of each tensor that is quantized in every run.
    ranges: Vec<Affine>,
}

impl Memory {
    pub(crate) fn new(places: Vec<Place>, bytes: usize, floats: usize, ranges: usize) -> Self {
        let unknown = Affine { scale: 1.0, zero_point: 0, signed: false };
        let (mut bytes, mut floats) = (vec![0; bytes], AlignedFloats::zeros(floats));
        touch(&mut bytes);
        touch(&mut floats);
        Self { places, bytes, floats, ranges: vec![unknown; ranges] }
    }

    /// The quantization that a step of this run has measured.
    pub(crate) fn range(&self, range: RangeId) -> Affine {
        self.ranges[range]
    }

    pub(crate) fn set_range(&mut self, range: RangeId, affine: Affine) {
        self.ranges[range] = affine;
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let constants = self.places.iter().map(|place| match place {
            Place::Constant(bytes) => bytes.len(),
            Place::FloatConstant(floats) => floats.len() * 4,
            _ => 0,
        });
        self.bytes.len() + self.floats.len() * 4 + constants.sum::<usize>()
    }

    /// One byte buffer to write.
    pub(crate) fn write(&mut self, output: BufferId) -> &mut [u8] {
        match &self.places[output] {
            Place::Bytes(range) => &mut self.bytes[range.clone()],
            _ => &mut [],
        }
    }

    /// One float buffer to write.
    pub(crate) fn write_floats(&mut self, output: BufferId) -> &mut [f32] {
        match &self.places[output] {
            Place::Floats(range) => &mut self.floats[range.clone()],
            _ => &mut [],
        }
    }

    /// Byte buffers to read and one to write. The planner keeps them apart, because the output lives while its
    /// inputs do.
    pub(crate) fn read_write<const N: usize>(
        &mut self,
        inputs: [BufferId; N],
        output: BufferId,
    ) -> ([&[u8]; N], &mut [u8]) {
        let Place::Bytes(range) = &self.places[output] else { return ([&[]; N], &mut []) };
        let (before, rest) = self.bytes.split_at_mut(range.start);
        let (output, after) = rest.split_at_mut(range.len());
        let (before, after, end): (&[u8], &[u8], usize) = (before, after, range.end);
        let places = &self.places;
        let input = |id: BufferId| match &places[id] {
            Place::Constant(bytes) => bytes.as_slice(),
            Place::Bytes(other) if other.end <= before.len() => &before[other.clone()],
            Place::Bytes(other) if other.start >= end => &after[other.start - end..other.end - end],
            _ => &[],
        };
        (inputs.map(input), output)
    }

    /// A byte buffer to read and a float buffer to write.
    pub(crate) fn read_write_floats(&mut self, input: BufferId, output: BufferId) -> (&[u8], &mut [f32]) {
        let input = match &self.places[input] {
            Place::Bytes(range) => &self.bytes[range.clone()],
            Place::Constant(bytes) => bytes.as_slice(),
            _ => &[],
        };
        match &self.places[output] {
            Place::Floats(range) => (input, &mut self.floats[range.clone()]),
            _ => (input, &mut []),
        }
    }

    /// A float buffer to read and one to write.
    pub(crate) fn floats_to_floats(&mut self, input: BufferId, output: BufferId) -> (&[f32], &mut [f32]) {
        let ([input], output) = self.read_floats([input], output);
        (input, output)
    }

    /// Float buffers to read and one to write; see [`Self::read_write`].
    pub(crate) fn read_floats<const N: usize>(
        &mut self,
        inputs: [BufferId; N],
        output: BufferId,
    ) -> ([&[f32]; N], &mut [f32]) {
        let Place::Floats(range) = &self.places[output] else { return ([&[]; N], &mut []) };
        let (before, rest) = self.floats.split_at_mut(range.start);
        let (output, after) = rest.split_at_mut(range.len());
        let (before, after, end): (&[f32], &[f32], usize) = (before, after, range.end);
        let places = &self.places;
        let input = |id: BufferId| match &places[id] {
            Place::FloatConstant(floats) => floats.as_slice(),
            Place::Floats(other) if other.end <= before.len() => &before[other.clone()],
            Place::Floats(other) if other.start >= end => &after[other.start - end..other.end - end],
            _ => &[],
        };
        (inputs.map(input), output)
    }

    /// A float buffer to read and a byte buffer to write.
    pub(crate) fn floats_to_bytes(&mut self, input: BufferId, output: BufferId) -> (&[f32], &mut [u8]) {
        match (&self.places[input], &self.places[output]) {
            (Place::Floats(from), Place::Bytes(to)) => (&self.floats[from.clone()], &mut self.bytes[to.clone()]),
            (Place::FloatConstant(from), Place::Bytes(to)) => (from.as_slice(), &mut self.bytes[to.clone()]),
            _ => (&[], &mut []),
        }
    }

    /// Copies an output of the model out, in the model's type.
    pub(crate) fn export(&self, place: OutputPlace, output: &mut [u8]) {
        let write_floats = |output: &mut [u8], floats: &[f32]| {
            for (to, &from) in output.chunks_exact_mut(4).zip(floats) {
                // What is no number has other bits on other CPUs.
                let value = if from.is_nan() { f32::NAN } else { from };
                to.copy_from_slice(&value.to_le_bytes());
            }
        };
        let stored = match &self.places[place.buffer] {
            Place::Floats(range) => return write_floats(output, &self.floats[range.clone()]),
            Place::FloatConstant(floats) => return write_floats(output, floats),
            Place::Bytes(range) => &self.bytes[range.clone()],
            Place::Constant(bytes) => bytes.as_slice(),
        };
        let flip = if place.signed { 0x80 } else { 0 };
        output.iter_mut().zip(stored).for_each(|(to, from)| *to = from ^ flip);
    }
}

/// Writes to every page of `memory`, so that the system gives it while the model is loaded, and not in the first run.
fn touch<T: Default>(memory: &mut [T]) {
    /// The smallest page of any system.
    const PAGE_BYTES: usize = 4096;
    for element in memory.iter_mut().step_by(PAGE_BYTES / size_of::<T>().max(1)) {
        // Not for the compiler to know that this is what stands there already.
        *element = std::hint::black_box(T::default());
    }
}
