//! Memory that kernels work in.

/// Buffers that grow to the largest use and are kept: one for each session, handed to every kernel.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) patches: Vec<u8>,
    pub(crate) wide: Vec<i16>,
    pub(crate) sums: Vec<i32>,
    pub(crate) floats: Vec<f32>,
    pub(crate) panels: Vec<i8>,
    pub(crate) starts: Vec<i32>,
    /// What is added to each column's sums, and what they are multiplied by, when only a run tells.
    pub(crate) shifts: Vec<i32>,
    pub(crate) multipliers: Vec<f32>,
    /// The sum of each row's bytes.
    pub(crate) row_sums: Vec<i32>,
    /// Lines of a float image with their padding.
    pub(crate) float_patches: Vec<f32>,
    /// A matrix that is packed anew in each run.
    pub(crate) packed: Vec<f32>,
}

impl Scratch {
    /// Empty; each layer makes room in it before the first run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another one with as much room.
    pub fn alike(&self) -> Self {
        Self {
            patches: vec![0; self.patches.len()],
            wide: vec![0; self.wide.len()],
            sums: vec![0; self.sums.len()],
            floats: vec![0.0; self.floats.len()],
            panels: vec![0; self.panels.len()],
            starts: vec![0; self.starts.len()],
            shifts: vec![0; self.shifts.len()],
            row_sums: vec![0; self.row_sums.len()],
            multipliers: vec![0.0; self.multipliers.len()],
            float_patches: vec![0.0; self.float_patches.len()],
            packed: vec![0.0; self.packed.len()],
        }
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> usize {
        let words = self.sums.capacity() + self.starts.capacity() + self.row_sums.capacity();
        let columns = self.shifts.capacity() + self.multipliers.capacity();
        let floats = self.floats.capacity() + self.float_patches.capacity() + self.packed.capacity();
        self.patches.capacity() + self.panels.capacity() + self.wide.capacity() * 2 + (words + columns + floats) * 4
    }
}

/// The first `length` elements, made if they are not there yet.
pub(crate) fn room<T: Clone + Default>(buffer: &mut Vec<T>, length: usize) -> &mut [T] {
    if buffer.len() < length {
        buffer.resize(length, T::default());
    }
    &mut buffer[..length]
}
