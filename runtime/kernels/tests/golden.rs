//! The same bytes on every CPU: small networks from fixed seeds, run by every instruction set that this CPU has.
//!
//! The checksums stand here as constants, so a run on x86-64 and one on ARM prove each other. A change of any of them is
//! a change of what models answer.

use runtime_kernels::{
    Add, Affine, AveragePool, Convolution, ConvolutionShape, DenseWeights, GlobalAveragePool, Isa, Linear, Output,
    OutputScale, Requantization, Scratch, Table, WeightOrder, Window, dispatch, fastest,
};

/// Checksum of each seed's network.
const GOLDEN: [(u64, u64); 4] =
    [(1, 8944613504423361776), (2, 12851099761269986215), (3, 3700922249843408943), (4, 15564629592436180961)];

/// Numbers from a seed (a linear congruence, its high bits).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Every other seed has weights of -128, which take other kernels on some CPUs.
    fn weights(&mut self, count: usize, whole: bool) -> Vec<i8> {
        (0..count).map(|_| self.next() as i8).map(|weight| if whole { weight } else { weight.max(-127) }).collect()
    }

    fn bias(&mut self, count: usize) -> Vec<i32> {
        (0..count).map(|_| i32::from(self.next()) * 40 - 5_000).collect()
    }

    fn scales(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| 0.001 + f32::from(self.next()) * 1e-5).collect()
    }

    fn affine(&mut self) -> Affine {
        let scale = 0.01 + f32::from(self.next()) * 1e-4;
        Affine::new(scale, i32::from(self.next()), false).unwrap()
    }
}

/// Written with the checksum of everything so far.
struct Network {
    table: &'static Table,
    numbers: Numbers,
    whole: bool,
    scratch: Scratch,
    size: [usize; 2],
    channels: usize,
    data: Vec<u8>,
    /// FNV-1a, 64 bits.
    checksum: u64,
    /// Bytes so far, and those of them that are neither 0 nor 255.
    bytes: usize,
    inside: usize,
}

impl Network {
    fn new(table: &'static Table, seed: u64, size: [usize; 2], channels: usize) -> Self {
        let mut numbers = Numbers(seed);
        let data = numbers.bytes(size[0] * size[1] * channels);
        let (whole, scratch) = (seed.is_multiple_of(2), Scratch::new());
        Self {
            table,
            numbers,
            whole,
            scratch,
            size,
            channels,
            data,
            checksum: 0xcbf2_9ce4_8422_2325,
            bytes: 0,
            inside: 0,
        }
    }

    fn take(&mut self, data: Vec<u8>) {
        for &byte in &data {
            self.checksum = (self.checksum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.bytes += data.len();
        self.inside += data.iter().filter(|&&byte| byte != 0 && byte != 255).count();
        self.data = data;
    }

    fn window(&self, kernel: usize, stride: usize, dilation: usize, pad: usize) -> Window {
        let output = self.size.map(|size| (size + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1);
        let two = |value| [value, value];
        Window {
            input: self.size,
            kernel: two(kernel),
            stride: two(stride),
            dilation: two(dilation),
            pad: two(pad),
            output,
        }
    }

    /// A convolution with `[kernel, stride, dilation, pad]`.
    fn convolve(mut self, outputs: usize, groups: usize, [kernel, stride, dilation, pad]: [usize; 4]) -> Self {
        let window = self.window(kernel, stride, dilation, pad);
        let shape = ConvolutionShape { input_channels: self.channels, output_channels: outputs, groups };
        let depth = kernel * kernel * self.channels / groups;
        let weights = self.numbers.weights(outputs * depth, self.whole);
        let bias = self.numbers.bias(outputs);
        let scale = OutputScale {
            weight_offset: 0,
            x_scale: 0.02,
            weight_scales: self.numbers.scales(outputs),
            // Sums grow with the root of the depth: most bytes are neither end.
            y_scale: 0.002 * (depth as f32).sqrt(),
            zero_point: i32::from(self.numbers.next()),
            bounds: [self.numbers.next() / 8, 255 - self.numbers.next() / 8],
        };
        let zero_point = i32::from(self.numbers.next());
        let size = window.output;
        let convolution = Convolution::new(self.table, window, shape, &weights, &bias, zero_point, &scale).unwrap();
        let mut output = vec![0; convolution.output_bytes()];
        convolution.run(&self.data, &mut self.scratch, &mut output);
        (self.size, self.channels) = (size, outputs);
        self.take(output);
        self
    }

    /// Adds other bytes.
    fn add(mut self) -> Self {
        let [a, b, y] = [self.numbers.affine(), self.numbers.affine(), self.numbers.affine()];
        let other = self.numbers.bytes(self.data.len());
        let mut output = vec![0; self.data.len()];
        self.table.add(&Add::new(&a, &b, &y, [0, 255]).unwrap(), &self.data, &other, &mut output);
        self.take(output);
        self
    }

    fn max_pool(mut self, kernel: usize, stride: usize, pad: usize) -> Self {
        let window = self.window(kernel, stride, 1, pad);
        let mut output = vec![0; window.output_pixels() * self.channels];
        self.table.max_pool(&window, self.channels, &self.data, &mut output);
        self.size = window.output;
        self.take(output);
        self
    }

    fn average_pool(mut self, kernel: usize, stride: usize, pad: usize) -> Self {
        let window = self.window(kernel, stride, 1, pad);
        let mut output = vec![0; window.output_pixels() * self.channels];
        self.size = window.output;
        let [x, y] = [self.numbers.affine(), self.numbers.affine()];
        let pool = AveragePool::new(window, self.channels, x, y, [0, 255], self.whole).unwrap();
        self.table.average_pool(&pool, &self.data, &mut self.scratch, &mut output);
        self.take(output);
        self
    }

    fn global_average_pool(mut self) -> Self {
        let [x, y] = [self.numbers.affine(), self.numbers.affine()];
        let pool = GlobalAveragePool::new(self.size[0] * self.size[1], self.channels, x, y, [0, 255]).unwrap();
        let mut output = vec![0; self.channels];
        self.table.global_average_pool(&pool, &self.data, &mut self.scratch, &mut output);
        self.size = [1, 1];
        self.take(output);
        self
    }

    fn linear(mut self, columns: usize) -> Self {
        let (depth, rows) = (self.channels, self.size[0] * self.size[1]);
        let weights = self.numbers.weights(depth * columns, self.whole);
        let bias = self.numbers.bias(columns);
        let zero_point = i32::from(self.numbers.next());
        let weights = DenseWeights {
            weights: &weights,
            order: WeightOrder::Columns,
            depth,
            piece: depth,
            columns,
            bias: &bias,
            zero_point,
        };
        let scales = self.numbers.scales(columns);
        let y_scale = 0.002 * (depth as f32).sqrt();
        let requantization = Requantization::new(0.02, &scales, y_scale, 128, 0, 255).unwrap();
        let mut output = vec![0; rows * columns];
        let to = Output::Bytes { data: &mut output, stride: columns, requantization: &requantization };
        Linear::new(self.table, &weights).unwrap().run(&self.data, rows, &mut self.scratch, to);
        self.channels = columns;
        self.take(output);
        self
    }

    /// Bytes as real numbers and back.
    fn through_floats(mut self) -> Self {
        let [x, y] = [self.numbers.affine(), self.numbers.affine()];
        let mut real = vec![0.0; self.data.len()];
        self.table.dequantize(&self.data, &x, &mut real);
        let mut output = vec![0; real.len()];
        self.table.quantize(&real, &y, &mut output);
        self.take(output);
        self
    }
}

/// Every kind of layer, with channels that fill tiles and channels that do not.
fn run(table: &'static Table, seed: u64) -> Network {
    Network::new(table, seed, [23, 21], 3)
        .convolve(24, 1, [3, 2, 1, 1])
        .convolve(24, 24, [3, 1, 1, 1])
        .convolve(37, 1, [1, 1, 1, 0])
        .convolve(37, 37, [5, 1, 1, 2])
        .add()
        .convolve(40, 1, [3, 1, 2, 2])
        .max_pool(3, 2, 1)
        .convolve(40, 4, [3, 1, 1, 1])
        .convolve(9, 1, [1, 1, 1, 0])
        .convolve(9, 9, [3, 1, 2, 2])
        .convolve(5, 1, [2, 1, 1, 0])
        .convolve(5, 5, [3, 1, 1, 1])
        .linear(70)
        .through_floats()
        .average_pool(2, 1, 1)
        .global_average_pool()
        .linear(33)
        .linear(10)
}

#[test]
fn every_instruction_set_gives_the_written_bytes() {
    for table in Isa::all().filter_map(dispatch) {
        let found = GOLDEN.map(|(seed, _)| (seed, run(table, seed).checksum));
        assert_eq!(found, GOLDEN, "{}", table.isa.name());
    }
    // Whoever runs this for a certain CPU says what it must have found there.
    if let Ok(expected) = std::env::var("CASK_TEST_FASTEST_ISA") {
        assert_eq!(fastest().isa.name(), expected);
    }
}

/// Networks whose layers saturate would prove little.
#[test]
fn most_bytes_of_the_networks_are_no_ends() {
    for (seed, _) in GOLDEN {
        let Network { inside, bytes, .. } = run(fastest(), seed);
        assert!(10 * inside > 8 * bytes, "seed {seed}: {inside} of {bytes}");
    }
}
