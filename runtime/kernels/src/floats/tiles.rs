//! The order of packed float weights, and the way through a block of rows: as for integers, in groups of one.

use crate::rows::Rows;

/// The shape of an instruction set's tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FloatTileShape {
    /// Rows of the highest tile.
    pub(crate) rows: usize,
    /// Columns of one vector.
    pub(crate) lanes: usize,
    /// Vectors beside each other in the widest tile.
    pub(crate) vectors: usize,
}

impl FloatTileShape {
    /// First column and width of the panel that has `column`, of weights padded to `width` columns.
    fn panel_of(&self, column: usize, width: usize) -> (usize, usize) {
        let panel = self.lanes * self.vectors;
        let first = column / panel * panel;
        (first, panel.min(width - first))
    }
}

/// Some rows times one panel, from the first row and the first column on.
#[derive(Debug)]
pub(crate) struct FloatTile<'a> {
    pub(crate) input: &'a [f32],
    pub(crate) rows: usize,
    /// Elements from row to row.
    pub(crate) step: usize,
    pub(crate) pieces: &'a [usize],
    /// Products of one piece.
    pub(crate) piece: usize,
    pub(crate) weights: &'a [f32],
    pub(crate) starts: &'a [f32],
    pub(crate) vectors: usize,
    /// Columns that are written; the rest of the panel is padding.
    pub(crate) columns: usize,
    pub(crate) data: &'a mut [f32],
    /// Distance of two rows of the output.
    pub(crate) stride: usize,
    /// What is added to the output, laid out as it is.
    pub(crate) added: Option<&'a [f32]>,
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl FloatTile<'_> {
    /// Checks everything that a kernel's pointers rely on.
    #[inline(always)]
    pub(crate) fn check(&self, shape: &FloatTileShape) {
        let width = self.vectors * shape.lanes;
        let piece = self.pieces.iter().fold(0, |largest, &piece| usize::max(largest, piece));
        let above = self.rows.max(1) - 1;
        let (read, written) = (above * self.step + piece + self.piece, above * self.stride + self.columns);
        assert!(self.rows <= shape.rows && self.vectors <= shape.vectors && self.columns <= width);
        assert!(read <= self.input.len(), "a tile reads {read} of {} elements", self.input.len());
        assert!(self.pieces.len() * self.piece * width <= self.weights.len() && width <= self.starts.len());
        assert!(written <= self.data.len() && self.added.is_none_or(|added| written <= added.len()));
    }
}

/// A matrix in panels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a> {
    /// Panel after panel; in a panel product by product, its columns beside each other.
    pub(crate) weights: &'a [f32],
    /// One a column, padded to whole vectors.
    pub(crate) starts: &'a [f32],
    pub(crate) columns: usize,
    /// Products of one piece.
    pub(crate) piece: usize,
}

/// Where rows times panels are written: row r, column c at `r * stride + c`.
#[derive(Debug)]
pub(crate) struct FloatOutput<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) stride: usize,
    /// What is added, laid out as the output is.
    pub(crate) added: Option<&'a [f32]>,
    pub(crate) low: f32,
    pub(crate) high: f32,
}

/// Elements of a matrix of `depth` rows in panels for `shape`, its columns padded.
pub(crate) fn packed_length(shape: &FloatTileShape, depth: usize, columns: usize) -> usize {
    depth * columns.next_multiple_of(shape.lanes)
}

/// Brings a matrix into panels: the element at row k, column c is `scale * from[k * steps[0] + c * steps[1]]`.
#[inline(always)]
pub(crate) fn pack(
    shape: &FloatTileShape,
    from: &[f32],
    steps: [usize; 2],
    (depth, columns): (usize, usize),
    scale: f32,
    to: &mut [f32],
) {
    let width = columns.next_multiple_of(shape.lanes);
    let mut first = 0;
    while first < width {
        let (_, panel) = shape.panel_of(first, width);
        let there = panel.min(columns - first);
        let own = &mut to[first * depth..(first + panel) * depth];
        for (k, line) in own.chunks_exact_mut(panel).enumerate() {
            let from = &from[k * steps[0] + first * steps[1]..];
            if steps[1] == 1 {
                line[..there].iter_mut().zip(from).for_each(|(to, from)| *to = scale * from);
            } else {
                let column = from.iter().step_by(steps[1].max(1));
                line[..there].iter_mut().zip(column).for_each(|(to, from)| *to = scale * from);
            }
            line[there..].fill(0.0);
        }
        first += panel;
    }
}

/// Multiplies a block of rows. Its first output is row 0 of `output`.
pub(crate) fn run(
    (shape, tile): (&FloatTileShape, fn(FloatTile<'_>)),
    panels: Panels<'_>,
    rows: &Rows<'_, f32>,
    output: &mut FloatOutput<'_>,
) {
    if rows.count == 0 {
        return;
    }
    let depth = rows.pieces.len() * panels.piece;
    let width = panels.starts.len();
    // Heights that differ by one at most: a last tile of a few rows is as slow as a whole one.
    let tiles = rows.count.div_ceil(shape.rows);
    let (height, higher) = (rows.count / tiles, rows.count % tiles);
    let mut first = 0;
    while first < width {
        let (_, panel) = shape.panel_of(first, width);
        for line in 0..rows.lines {
            let mut row = 0;
            for number in 0..tiles {
                let count = height + usize::from(number < higher);
                let at = (line * rows.count + row) * output.stride + first;
                tile(FloatTile {
                    input: &rows.input[line * rows.line_step + row * rows.step..],
                    rows: count,
                    step: rows.step,
                    pieces: rows.pieces,
                    piece: panels.piece,
                    weights: &panels.weights[first * depth..(first + panel) * depth],
                    starts: &panels.starts[first..first + panel],
                    vectors: panel / shape.lanes,
                    columns: panel.min(panels.columns - first),
                    data: &mut output.data[at..],
                    stride: output.stride,
                    added: output.added.map(|added| &added[at..]),
                    low: output.low,
                    high: output.high,
                });
                row += count;
            }
        }
        first += panel;
    }
}
