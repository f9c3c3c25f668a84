//! Student and teacher architectures that need no file: ONNX graphs with seeded weights.

use std::f32::consts::TAU;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use runtime_graph::{Attribute, Graph, Model, Node};
use runtime_tensor::{Dimension, ElementType, Tensor, TensorSpec};

use crate::error::TrainError;

/// Operator set of the graphs.
const OPSET: i64 = 17;
/// Name of the input.
pub const INPUT: &str = "input";
/// Name of the output.
pub const OUTPUT: &str = "logits";
/// Layers of one network; more is a typing error.
const LAYERS_MAX: usize = 64;
/// Channels or units of one layer.
const WIDTH_MAX: usize = 1 << 14;

/// The sizes of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Shape of one sample: `[channels, height, width]` for images, anything for `mlp`.
    pub sample: Vec<usize>,
    /// Classes.
    pub classes: usize,
    /// Channels of each convolutional block; not used by `mlp`.
    pub channels: Vec<usize>,
    /// Units of each hidden layer after that.
    pub hidden: Vec<usize>,
    /// Decides the initial weights.
    pub seed: u64,
}

/// Layers of full connections with relu.
///
/// # Errors
/// [`TrainError::BadOption`] when a size is 0 or absurd.
pub fn mlp(config: &Architecture) -> Result<Model, TrainError> {
    check(config, false)?;
    let mut builder = Builder::new(config.seed);
    let flat = builder.node("Flatten", &[INPUT], |node| node);
    let inputs = config.sample.iter().product();
    builder.classifier(flat, inputs, &config.hidden, config.classes);
    Ok(builder.finish("mlp", config))
}

/// Blocks of a 3x3 convolution with relu and 2x2 maximum pooling (while the image is at least 4 pixels wide and high),
/// then full connections.
///
/// # Errors
/// [`TrainError::BadOption`] when a size is 0 or absurd, or samples are no images.
pub fn cnn(config: &Architecture) -> Result<Model, TrainError> {
    check(config, true)?;
    let mut builder = Builder::new(config.seed);
    let mut image = Image::of(config);
    let mut value = INPUT.to_owned();
    for channels in &config.channels {
        value = builder.convolution(value, &image, *channels, 3, 1, false);
        image.channels = *channels;
        if image.height >= 4 && image.width >= 4 {
            value = builder.node("MaxPool", &[&value], |node| {
                node.with("kernel_shape", Attribute::Ints(vec![2, 2])).with("strides", Attribute::Ints(vec![2, 2]))
            });
            (image.height, image.width) = (image.height / 2, image.width / 2);
        }
    }
    let flat = builder.node("Flatten", &[&value], |node| node);
    let inputs = image.channels * image.height * image.width;
    builder.classifier(flat, inputs, &config.hidden, config.classes);
    Ok(builder.finish("cnn", config))
}

/// A 3x3 convolution, then blocks of a depthwise 3x3 and a 1x1 convolution (with stride 2 while the image is at least
/// 8 pixels wide and high), global average pooling, full connections.
///
/// # Errors
/// [`TrainError::BadOption`] when a size is 0 or absurd, or samples are no images.
pub fn dscnn(config: &Architecture) -> Result<Model, TrainError> {
    check(config, true)?;
    let mut builder = Builder::new(config.seed);
    let mut image = Image::of(config);
    let mut value = INPUT.to_owned();
    for (block, channels) in config.channels.iter().enumerate() {
        if block == 0 {
            value = builder.convolution(value, &image, *channels, 3, 1, false);
            image.channels = *channels;
            continue;
        }
        let stride = if image.height >= 8 && image.width >= 8 { 2 } else { 1 };
        value = builder.convolution(value, &image, image.channels, 3, stride, true);
        (image.height, image.width) = (image.height.div_ceil(stride), image.width.div_ceil(stride));
        value = builder.convolution(value, &image, *channels, 1, 1, false);
        image.channels = *channels;
    }
    let pooled = builder.node("GlobalAveragePool", &[&value], |node| node);
    let flat = builder.node("Flatten", &[&pooled], |node| node);
    builder.classifier(flat, image.channels, &config.hidden, config.classes);
    Ok(builder.finish("dscnn", config))
}

fn check(config: &Architecture, images: bool) -> Result<(), TrainError> {
    let bad = |option: &str, found: String, expected: &str| {
        Err(TrainError::BadOption { option: option.to_owned(), found, expected: expected.to_owned() })
    };
    if images && config.sample.len() != 3 {
        return bad(
            "architecture",
            format!("samples of shape {:?}", config.sample),
            "images [channels, height, width]",
        );
    }
    if config.sample.is_empty() || config.sample.contains(&0) {
        return bad("architecture", format!("samples of shape {:?}", config.sample), "at least one value per sample");
    }
    if config.classes < 2 {
        return bad("classes", config.classes.to_string(), "2 or more");
    }
    if images && config.channels.is_empty() {
        return bad("channels", "none".to_owned(), "one number per block");
    }
    let layers = config.channels.len() + config.hidden.len();
    let widths = || config.channels.iter().chain(&config.hidden);
    if layers > LAYERS_MAX || widths().any(|width| *width == 0 || *width > WIDTH_MAX) {
        return bad(
            "channels and hidden",
            format!("{:?} and {:?}", config.channels, config.hidden),
            "at most 64 layers of 1 to 16384",
        );
    }
    Ok(())
}

struct Image {
    channels: usize,
    height: usize,
    width: usize,
}

impl Image {
    fn of(config: &Architecture) -> Self {
        Self { channels: config.sample[0], height: config.sample[1], width: config.sample[2] }
    }
}

/// Collects nodes and initializers; every layer draws its weights from one seeded stream.
struct Builder {
    graph: Graph,
    random: ChaCha8Rng,
    layers: usize,
}

impl Builder {
    fn new(seed: u64) -> Self {
        Self { graph: Graph::default(), random: ChaCha8Rng::seed_from_u64(seed), layers: 0 }
    }

    /// Adds a node with one output, whose name it returns.
    fn node(&mut self, operator: &str, inputs: &[&str], with: impl FnOnce(Node) -> Node) -> String {
        let output = format!("{}_{}", operator.to_lowercase(), self.graph.nodes.len());
        self.graph.nodes.push(with(Node::new(operator, inputs, &[&output])));
        output
    }

    /// He initialization (He et al., 2015): normal with variance 2 / fan-in, which keeps the size of activations
    /// through relu layers.
    fn weight(&mut self, shape: Vec<usize>, fan_in: usize) -> String {
        let deviation = (2.0 / fan_in as f32).sqrt();
        let count: usize = shape.iter().product();
        let values = (0..count).map(|_| normal(&mut self.random) * deviation).collect();
        self.initializer("weight", shape, values)
    }

    fn bias(&mut self, count: usize) -> String {
        self.initializer("bias", vec![count], vec![0.0; count])
    }

    fn initializer(&mut self, kind: &str, shape: Vec<usize>, values: Vec<f32>) -> String {
        let name = format!("layer{}.{kind}", self.layers);
        let tensor = Tensor::from_f32(shape, values).expect("sizes were checked and values counted from the shape");
        self.graph.initializers.insert(name.clone(), tensor);
        name
    }

    /// A convolution with relu; depthwise ones keep the channels.
    fn convolution(
        &mut self,
        value: String,
        image: &Image,
        channels: usize,
        kernel: usize,
        stride: usize,
        depthwise: bool,
    ) -> String {
        let groups = if depthwise { image.channels } else { 1 };
        let group_in = image.channels / groups;
        let weight = self.weight(vec![channels, group_in, kernel, kernel], group_in * kernel * kernel);
        let bias = self.bias(channels);
        self.layers += 1;
        let (size, pad) = (kernel as i64, (kernel / 2) as i64);
        let convolved = self.node("Conv", &[&value, &weight, &bias], |node| {
            node.with("kernel_shape", Attribute::Ints(vec![size, size]))
                .with("strides", Attribute::Ints(vec![stride as i64; 2]))
                .with("pads", Attribute::Ints(vec![pad; 4]))
                .with("group", Attribute::Int(groups as i64))
        });
        self.node("Relu", &[&convolved], |node| node)
    }

    /// Full connections with relu between them; the last one makes [`OUTPUT`].
    fn classifier(&mut self, mut value: String, mut inputs: usize, hidden: &[usize], classes: usize) {
        for units in hidden {
            let connected = self.full(&value, inputs, *units);
            value = self.node("Relu", &[&connected], |node| node);
            inputs = *units;
        }
        let last = self.full(&value, inputs, classes);
        let node = self.graph.nodes.last_mut().expect("`full` has just added a node");
        debug_assert_eq!(node.outputs[0], last);
        OUTPUT.clone_into(&mut node.outputs[0]);
        node.name = format!("{}:{OUTPUT}", node.operator);
    }

    fn full(&mut self, value: &str, inputs: usize, units: usize) -> String {
        let weight = self.weight(vec![units, inputs], inputs);
        let bias = self.bias(units);
        self.layers += 1;
        self.node("Gemm", &[value, &weight, &bias], |node| node.with("transB", Attribute::Int(1)))
    }

    fn finish(mut self, name: &str, config: &Architecture) -> Model {
        let batch = Dimension::Symbol("batch".to_owned());
        let fixed = |size: &usize| Dimension::Fixed(*size as u64);
        name.clone_into(&mut self.graph.name);
        self.graph.inputs = vec![TensorSpec {
            name: INPUT.to_owned(),
            element: ElementType::F32,
            shape: std::iter::once(batch.clone()).chain(config.sample.iter().map(fixed)).collect(),
        }];
        self.graph.outputs = vec![TensorSpec {
            name: OUTPUT.to_owned(),
            element: ElementType::F32,
            shape: vec![batch, fixed(&config.classes)],
        }];
        Model::from_graph(self.graph, OPSET)
    }
}

/// A standard normal number (Box and Muller).
fn normal(random: &mut ChaCha8Rng) -> f32 {
    // 1 - u lies in (0, 1], so the logarithm is finite.
    let radius = (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
    radius * (TAU * random.random::<f32>()).cos()
}
