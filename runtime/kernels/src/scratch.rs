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
    /// Empty; each layer makes room in it when it first runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives each of `scratches` as much room as any of them has.
    pub fn level(scratches: &mut [Self]) {
        fn level<T: Clone + Default>(scratches: &mut [Scratch], buffer: fn(&mut Scratch) -> &mut Vec<T>) {
            let most = scratches.iter_mut().map(|scratch| buffer(scratch).len()).max().unwrap_or(0);
            for scratch in scratches {
                room(buffer(scratch), most);
            }
        }
        level(scratches, |scratch| &mut scratch.patches);
        level(scratches, |scratch| &mut scratch.wide);
        level(scratches, |scratch| &mut scratch.sums);
        level(scratches, |scratch| &mut scratch.floats);
        level(scratches, |scratch| &mut scratch.panels);
        level(scratches, |scratch| &mut scratch.starts);
        level(scratches, |scratch| &mut scratch.shifts);
        level(scratches, |scratch| &mut scratch.multipliers);
        level(scratches, |scratch| &mut scratch.row_sums);
        level(scratches, |scratch| &mut scratch.float_patches);
        level(scratches, |scratch| &mut scratch.packed);
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
