//! The same bits on every CPU, for what works on rows: products of two activations, normalizations, functions of bytes,
//! and the float loops that exact models may have. The checksums stand here as constants, as in `golden.rs`.

use runtime_kernels::{
    Affine, Binary, Broadcast, FloatFunction, FloatPool, Isa, LayerNorm, Lookup, Pairwise, Product, ProductSide,
    Scratch, StoredSoftmax, Table, Window, dispatch,
};

const ROWS: usize = 19;
const WIDTH: usize = 45;
/// Checksum of everything that each kind gives.
const GOLDEN: [(&str, u64); 8] = [
    ("product", 1802440878099776247),
    ("pairwise", 4436250091925221932),
    ("layer normalization", 9921425694797598281),
    ("softmax", 8115107135246202327),
    ("look-up", 6839954588182174339),
    ("float functions", 6726299731786334850),
    ("float operations", 6419929241236598072),
    ("float rows", 9128502601965144168),
];

/// FNV-1a, 64 bits.
fn checksum(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let add = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, add)
}

/// What is no number may have any bits.
fn bits(values: &[f32]) -> Vec<u8> {
    let one = |&value: &f32| if value.is_nan() { [255; 4] } else { value.to_le_bytes() };
    values.iter().flat_map(one).collect()
}

fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Numbers around 0, some of them far from it, each exact.
fn floats(seed: u64, count: usize) -> Vec<f32> {
    let scaled = |(index, byte): (usize, u8)| (f32::from(byte) - 127.5) * [0.015625, 0.0625, 0.75][index % 3];
    bytes(seed, count).into_iter().enumerate().map(scaled).collect()
}

fn affine(scale: f32, zero_point: i32) -> Affine {
    Affine::new(scale, zero_point, false).unwrap()
}

const OPERATIONS: [Binary; 6] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min];
const FUNCTIONS: [FloatFunction; 12] = [
    FloatFunction::Linear { scale: 0.3, offset: 0.7 },
    FloatFunction::HardSwish,
    FloatFunction::Sigmoid,
    FloatFunction::Swish,
    FloatFunction::Tanh,
    FloatFunction::Erf,
    FloatFunction::Gelu,
    FloatFunction::GeluTanh,
    FloatFunction::Exp,
    FloatFunction::Sqrt,
    FloatFunction::Reciprocal,
    FloatFunction::Square,
];

/// A row on every row.
fn spread() -> Broadcast {
    Broadcast::new(&[ROWS, WIDTH], [&[WIDTH, 1], &[0, 1]]).unwrap()
}

fn product(table: &'static Table, scratch: &mut Scratch) -> Vec<u8> {
    let (heads, depth, columns) = (3, 21, 34);
    let side = |columns: usize| ProductSide { batch: vec![columns], rows: heads * columns, columns: 1 };
    let transposed = ProductSide { batch: vec![depth], rows: 1, columns: heads * depth };
    let (a, b) = (bytes(1, heads * ROWS * depth), bytes(2, heads * depth * columns));
    let mut all = Vec::new();
    for (b_side, zero) in [(side(columns), 128), (side(columns), 3), (transposed, 201)] {
        let sides = [side(depth), b_side, side(columns)];
        let (x, w, y) = (affine(0.02, 77), affine(0.03, zero), affine(0.6, 120));
        let product = Product::new(table, &[heads], [ROWS, depth, columns], sides, [&x, &w, &y], [0, 255]).unwrap();
        let mut output = vec![0; heads * ROWS * columns];
        product.run(&a, &b, scratch, &mut output);
        all.extend(output);
    }
    all
}

fn rows_of_bytes(table: &'static Table, scratch: &mut Scratch) -> [Vec<u8>; 3] {
    let x = bytes(3, ROWS * WIDTH);
    let (from, y) = (affine(0.05, 100), affine(0.021, 110));
    let (scale, bias) = (floats(4, WIDTH), floats(5, WIDTH));
    let (mut to, mut real) = (vec![0; x.len()], vec![0.0; x.len()]);
    let norm = |y| LayerNorm::new(&from, &scale, &bias, 1e-5, y).unwrap();
    table.stored_layer_norm(&norm(Some((&y, [0, 255]))), &x, &mut to);
    table.stored_layer_norm_floats(&norm(None), &x, &mut real);
    let normalized = [to.clone(), bits(&real)].concat();
    let share = affine(1.0 / 300.0, 0);
    let softmax = |y| StoredSoftmax::new(WIDTH, 0.04, y).unwrap();
    table.stored_softmax(&softmax(Some((&share, [0, 255]))), &x, scratch, &mut to);
    table.stored_softmax_floats(&softmax(None), &x, &mut real);
    let shares = [to.clone(), bits(&real)].concat();
    table.lookup(&Lookup::new(&from, &y, libm::erff), &x, &mut to);
    [normalized, shares, to]
}

fn pairs(table: &Table) -> [Vec<u8>; 2] {
    let (a, b) = (bytes(6, ROWS * WIDTH), bytes(7, WIDTH));
    let (x, row) = (floats(8, ROWS * WIDTH), floats(9, WIDTH));
    let (mut of_bytes, mut of_floats) = (Vec::new(), Vec::new());
    for operation in OPERATIONS {
        let affines = [&affine(0.05, 100), &affine(0.043, 31), &affine(0.11, 90)];
        let pairwise = Pairwise::new(operation, affines, [0, 255]).unwrap();
        let (mut to, mut real) = (vec![0; a.len()], vec![0.0; x.len()]);
        table.pairwise(&pairwise, &spread(), [&a, &b], &mut to);
        table.float_binary(&spread(), operation, [&x, &row], &mut real);
        of_bytes.extend(to);
        of_floats.extend(bits(&real));
    }
    [of_bytes, of_floats]
}

fn rows_of_floats(table: &Table) -> [Vec<u8>; 2] {
    let x = floats(10, ROWS * WIDTH);
    let (scale, bias) = (floats(11, WIDTH), floats(12, WIDTH));
    let mut to = vec![0.0; x.len()];
    let mut of_functions = Vec::new();
    for function in FUNCTIONS {
        table.float_function(function, &x, &mut to);
        of_functions.extend(bits(&to));
    }
    table.float_softmax(&x, WIDTH, &mut to);
    let mut of_rows = bits(&to);
    table.layer_norm(&x, &scale, &bias, 1e-5, &mut to);
    of_rows.extend(bits(&to));
    let space = [1, ROWS];
    let window = Window { input: space, kernel: space, stride: [1, 1], dilation: [1, 1], pad: [0, 0], output: [1, 1] };
    table.float_pool(&FloatPool::average(window, WIDTH, false).unwrap(), &x, &mut to[..WIDTH]);
    of_rows.extend(bits(&to[..WIDTH]));
    [of_functions, of_rows]
}

#[test]
fn every_instruction_set_gives_the_written_bits() {
    for table in Isa::all().filter_map(dispatch) {
        let mut scratch = Scratch::new();
        let product = product(table, &mut scratch);
        let [normalized, shares, looked_up] = rows_of_bytes(table, &mut scratch);
        let [of_bytes, of_floats] = pairs(table);
        let [of_functions, of_rows] = rows_of_floats(table);
        let all = [product, of_bytes, normalized, shares, looked_up, of_functions, of_floats, of_rows];
        let found: Vec<(&str, u64)> = GOLDEN.iter().zip(all).map(|((name, _), all)| (*name, checksum(all))).collect();
        assert_eq!(found, GOLDEN, "{}", table.isa.name());
    }
}
