//! What the vector instruction sets share: the order of packed weights, and the way through a block of rows.
//!
//! Weights lie in panels, as wide as one tile; inside a panel piece by piece, group by group of the depth, and inside
//! a group column by column, the group's weights of one column beside each other. The loop over panels is the
//! outermost: a panel stays in the first-level cache while the block's rows, a few of them at a time, go past it.

use crate::dense::{DenseForm, PackedDense};
use crate::rows::Rows;
use crate::scratch::room;
use crate::{DenseWeights, KernelError, Output, Requantization, Scratch};

/// The largest tile of any instruction set, in accumulators.
const SUMS_MAX: usize = 512;

/// The shape of an instruction set's tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileShape {
    /// Rows of the highest tile.
    pub(crate) rows: usize,
    /// Columns of one vector of accumulators.
    pub(crate) lanes: usize,
    /// Vectors beside each other in the widest tile.
    pub(crate) vectors: usize,
    /// Weights of one column that lie beside each other.
    pub(crate) group: usize,
    /// Whether activations are widened to `i16` first.
    pub(crate) wide: bool,
}

/// The innermost kernel of one instruction set.
pub(crate) trait TileKernel {
    /// Its tiles.
    const SHAPE: TileShape;
    /// Whether it adds [`Tile::shifts`]; else they are added to its sums.
    const SHIFTS: bool;

    /// Multiplies one tile.
    fn run(tile: Tile<'_>);
}

/// Some rows times one panel. The caller has seen to it that everything a kernel touches is inside of the slices:
/// `step * (rows - 1)` and the largest piece and `groups` groups of the input, `vectors` vectors of everything that
/// has one element a column.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// From the first row on. Empty when the kernel is wide.
    pub(crate) input: &'a [u8],
    /// The same widened. Empty when it is not.
    pub(crate) wide: &'a [i16],
    pub(crate) rows: usize,
    /// Elements from row to row.
    pub(crate) step: usize,
    pub(crate) pieces: &'a [usize],
    /// Groups of one piece.
    pub(crate) groups: usize,
    pub(crate) weights: &'a [i8],
    pub(crate) starts: &'a [i32],
    /// What is added to every sum of a row, one a row; empty for nothing.
    pub(crate) shifts: &'a [i32],
    pub(crate) vectors: usize,
    /// Columns that are written; the rest of the panel is padding.
    pub(crate) columns: usize,
    pub(crate) to: TileOutput<'a>,
}

/// Where a tile is written, from its first row's first column on.
#[derive(Debug)]
pub(crate) enum TileOutput<'a> {
    Bytes { data: &'a mut [u8], stride: usize, multipliers: &'a [f32], zero_point: i32, low: f32, high: f32 },
    Sums { data: &'a mut [i32], stride: usize },
}

impl<'a> TileOutput<'a> {
    /// Requantized, from column `first` on.
    fn bytes(data: &'a mut [u8], stride: usize, requantization: &'a Requantization, first: usize) -> Self {
        let Requantization { zero_point, low, high, .. } = *requantization;
        Self::Bytes { data, stride, multipliers: &requantization.multipliers[first..], zero_point, low, high }
    }
}

impl Tile<'_> {
    /// Checks everything that a kernel's pointers rely on.
    #[inline(always)]
    pub(crate) fn check(&self, shape: &TileShape) {
        let width = self.vectors * shape.lanes;
        let piece = self.pieces.iter().fold(0, |largest, &piece| usize::max(largest, piece));
        let read = (self.rows.max(1) - 1) * self.step + piece + self.groups * shape.group;
        let there = if shape.wide { self.wide.len() } else { self.input.len() };
        assert!(self.rows <= shape.rows && self.vectors <= shape.vectors && self.columns <= width);
        assert!(read <= there, "a tile reads {read} of {there} elements");
        assert!(self.pieces.len() * self.groups * shape.group * width <= self.weights.len());
        assert!(width <= self.starts.len());
        assert!(self.shifts.is_empty() || self.rows <= self.shifts.len());
        let written = |stride: usize| (self.rows.max(1) - 1) * stride + self.columns;
        match &self.to {
            TileOutput::Bytes { data, stride, multipliers, .. } => {
                assert!(written(*stride) <= data.len() && width <= multipliers.len());
            }
            TileOutput::Sums { data, stride } => assert!(written(*stride) <= data.len()),
        }
    }
}

/// Brings weights into the order of `shape`.
pub(crate) fn pack(shape: &TileShape, weights: &DenseWeights<'_>) -> Result<PackedDense, KernelError> {
    weights.check()?;
    let (depth, columns) = (weights.depth, weights.columns);
    let groups = weights.piece.div_ceil(shape.group);
    let pieces = weights.pieces();
    let padded = pieces * groups * shape.group;
    let width = columns.next_multiple_of(shape.lanes);
    let mut packed = vec![0; padded * width];
    let mut starts = Vec::with_capacity(width);
    // As many columns as a vector has lanes: they write whole cache lines.
    weights.for_columns(shape.lanes, |columns, own| {
        let first = columns.start;
        starts.extend(weights.starts_of(columns, own));
        let (panel, panel_width) = panel_of(shape, first, width);
        // One group of the depth after the other lies one panel's width apart.
        let places = &mut packed[panel * padded + (first - panel) * shape.group..];
        let places = places.chunks_mut(panel_width * shape.group);
        match shape.group {
            2 => interleave::<2>(own, depth, weights.piece, places),
            4 => interleave::<4>(own, depth, weights.piece, places),
            8 => interleave::<8>(own, depth, weights.piece, places),
            other => debug_assert!(false, "no kernel has groups of {other}"),
        }
    });
    starts.resize(width, 0);
    let form = DenseForm::Tiles { weights: packed, group: shape.group, wide: shape.wide };
    Ok(PackedDense { depth, piece: weights.piece, columns, starts, form })
}

/// Lays columns of `depth` weights, which are `own`, beside each other, `GROUP` weights of one at a time: those of one
/// group of the depth into each of `places`. A group ends where a piece does.
fn interleave<'a, const GROUP: usize>(
    own: &[i8],
    depth: usize,
    piece: usize,
    places: impl Iterator<Item = &'a mut [i8]>,
) {
    let starts = (0..depth).step_by(piece.max(1));
    let groups = starts.flat_map(|start| {
        let end = (start + piece).min(depth);
        (start..end).step_by(GROUP).map(move |at| (at, (end - at).min(GROUP)))
    });
    for ((at, count), place) in groups.zip(places) {
        for (place, column) in place.chunks_exact_mut(GROUP).zip(own.chunks_exact(depth)) {
            match column[at..].first_chunk::<GROUP>() {
                Some(group) if count == GROUP => place.copy_from_slice(group),
                _ => place[..count].copy_from_slice(&column[at..at + count]),
            }
        }
    }
}

/// Brings bytes into the order of `shape`, each less 128. `steps` lead from row to row, one for each of the depth, and
/// from column to column.
///
/// `packed` has zeros where there is nothing.
#[inline(always)]
pub(crate) fn pack_bytes(
    shape: &TileShape,
    bytes: &[u8],
    steps: [usize; 2],
    [depth, columns]: [usize; 2],
    packed: &mut [i8],
) {
    let (group, width) = (shape.group, columns.next_multiple_of(shape.lanes));
    let padded = depth.next_multiple_of(group);
    let mut first = 0;
    while first < width {
        let (_, panel) = panel_of(shape, first, width);
        let bytes = bytes.get(first * steps[1]..).unwrap_or_default();
        let panel_bytes = &mut packed[first * padded..(first + panel) * padded];
        let sizes = [depth, panel.min(columns - first)];
        match group {
            2 => pack_panel::<2>(bytes, steps, sizes, panel, panel_bytes),
            4 => pack_panel::<4>(bytes, steps, sizes, panel, panel_bytes),
            _ => pack_panel::<8>(bytes, steps, sizes, panel, panel_bytes),
        }
        first += panel;
    }
}

/// One panel `panel` columns wide.
#[inline(always)]
fn pack_panel<const GROUP: usize>(
    bytes: &[u8],
    steps: [usize; 2],
    [depth, columns]: [usize; 2],
    panel: usize,
    packed: &mut [i8],
) {
    let less = |byte: u8| (byte ^ 0x80) as i8;
    for (number, places) in packed.chunks_exact_mut(panel * GROUP).enumerate() {
        let first = number * GROUP;
        let places = &mut places.as_chunks_mut::<GROUP>().0[..columns];
        let bytes = &bytes[first * steps[0]..];
        if steps[0] == 1 && first + GROUP <= depth {
            for (column, place) in places.iter_mut().enumerate() {
                if let Some(group) = bytes[column * steps[1]..].first_chunk::<GROUP>() {
                    *place = group.map(less);
                }
            }
        } else if steps[1] == 1 && first + GROUP <= depth {
            let rows: [&[u8]; GROUP] = std::array::from_fn(|part| &bytes[part * steps[0]..][..columns]);
            for (column, place) in places.iter_mut().enumerate() {
                *place = std::array::from_fn(|part| less(rows[part][column]));
            }
        } else {
            for part in 0..GROUP.min(depth - first) {
                for (column, place) in places.iter_mut().enumerate() {
                    place[part] = less(bytes[part * steps[0] + column * steps[1]]);
                }
            }
        }
    }
}

/// Adds to each of `sums` the bytes of its column; `steps` as above.
#[inline(always)]
pub(crate) fn add_up(bytes: &[u8], steps: [usize; 2], [depth, columns]: [usize; 2], sums: &mut [i32]) {
    if steps[0] == 1 {
        for (column, sum) in sums[..columns].iter_mut().enumerate() {
            *sum += bytes[column * steps[1]..][..depth].iter().map(|&byte| i32::from(byte)).sum::<i32>();
        }
        return;
    }
    for row in 0..depth {
        let row = bytes[row * steps[0]..].iter().step_by(steps[1].max(1));
        sums[..columns].iter_mut().zip(row).for_each(|(sum, &byte)| *sum += i32::from(byte));
    }
}

/// First column and width of the panel that has `column`.
fn panel_of(shape: &TileShape, column: usize, width: usize) -> (usize, usize) {
    let panel = shape.lanes * shape.vectors;
    let first = column / panel * panel;
    (first, panel.min(width - first))
}

/// Multiplies a block of rows. Its first output is row 0 of `output`.
pub(crate) fn run<K: TileKernel>(packed: &PackedDense, rows: &Rows<'_>, scratch: &mut Scratch, mut output: Output<'_>) {
    let shape = &K::SHAPE;
    let DenseForm::Tiles { weights, .. } = &packed.form else { return };
    let groups = packed.piece.div_ceil(shape.group);
    let reach = rows.reach(groups * shape.group);
    let wide: &[i16] = if shape.wide {
        let wide = room(&mut scratch.wide, reach);
        wide.iter_mut().zip(&rows.input[..reach]).for_each(|(wide, &byte)| *wide = i16::from(byte));
        wide
    } else {
        &[]
    };
    let padded = rows.pieces.len() * groups * shape.group;
    let width = packed.starts.len();
    let mut column = 0;
    while column < width {
        let (_, panel) = panel_of(shape, column, width);
        let panel = Panel {
            weights: &weights[column * padded..(column + panel) * padded],
            starts: &packed.starts[column..column + panel],
            first: column,
            columns: panel.min(packed.columns - column),
            groups,
        };
        panel.run::<K>(rows, wide, &mut output, packed.columns);
        column += panel.starts.len();
    }
}

struct Panel<'a> {
    weights: &'a [i8],
    starts: &'a [i32],
    first: usize,
    columns: usize,
    groups: usize,
}

impl Panel<'_> {
    fn run<K: TileKernel>(&self, rows: &Rows<'_>, wide: &[i16], output: &mut Output<'_>, columns: usize) {
        if rows.count == 0 {
            return;
        }
        // Heights that differ by one at most: a last tile of a few rows is as slow as a whole one.
        let tiles = rows.count.div_ceil(K::SHAPE.rows);
        let mut sums = [0; SUMS_MAX];
        let (height, higher) = (rows.count / tiles, rows.count % tiles);
        for line in 0..rows.lines {
            let mut row = 0;
            for tile in 0..tiles {
                let count = height + usize::from(tile < higher);
                let from = line * rows.line_step + row * rows.step;
                let at = line * rows.count + row;
                self.tile::<K>((rows, wide), from, (at, count), &mut sums, output, columns);
                row += count;
            }
        }
    }

    /// One tile, read from `from` on, written as `count` rows from row `at` on.
    #[inline(always)]
    fn tile<K: TileKernel>(
        &self,
        (rows, wide): (&Rows<'_>, &[i16]),
        from: usize,
        (at, count): (usize, usize),
        sums: &mut [i32; SUMS_MAX],
        output: &mut Output<'_>,
        columns: usize,
    ) {
        let tile = |shifts, to| Tile {
            input: if K::SHAPE.wide { &[] } else { &rows.input[from..] },
            wide: if K::SHAPE.wide { &wide[from..] } else { &[] },
            rows: count,
            step: rows.step,
            pieces: rows.pieces,
            groups: self.groups,
            weights: self.weights,
            starts: self.starts,
            shifts,
            vectors: self.starts.len() / K::SHAPE.lanes,
            columns: self.columns,
            to,
        };
        match output {
            Output::Bytes { data, stride, requantization } => {
                let data = &mut data[at * *stride + self.first..];
                K::run(tile(&[], TileOutput::bytes(data, *stride, requantization, self.first)));
            }
            Output::Shifted { data, stride, requantization, shifts, .. } if K::SHIFTS => {
                let data = &mut data[at * *stride + self.first..];
                let to = TileOutput::bytes(data, *stride, requantization, self.first);
                K::run(tile(&shifts[at..at + count], to));
            }
            Output::Floats { .. } | Output::Shifted { .. } | Output::Scaled { .. } => {
                let width = self.starts.len();
                let sums = &mut sums[..width * count];
                K::run(tile(&[], TileOutput::Sums { data: sums, stride: width }));
                output.write_rows(at, self.first, columns, sums, width);
            }
        }
    }
}
