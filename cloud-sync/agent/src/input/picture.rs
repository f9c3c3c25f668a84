//! Pictures: decoded with limits, resized to what the contract says, `pixel * scale + offset`.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use runtime_artifact::{Contract, Preprocessing, TensorContract};
use runtime_tensor::{Dimension, ElementType, NamedTensor, Tensor};

use super::{InputError, fit, shown};

/// Pixels along one side of a picture.
const SIDE_MAX: u32 = 16_384;
/// Memory that decoding may take.
const DECODE_BYTES_MAX: u64 = 256 << 20;
/// The formats of this build.
const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Pnm];
/// The contract's factors are in 1e-12.
const E12: f64 = 1e12;

/// Whether the bytes begin as a picture does.
pub(super) fn is_picture(bytes: &[u8]) -> bool {
    image::guess_format(bytes).is_ok_and(|format| FORMATS.contains(&format))
}

/// Where a picture's channels, rows and columns lie in the input.
struct Layout {
    channels: usize,
    height: usize,
    width: usize,
    channels_last: bool,
}

fn unfit(input: &TensorContract, found: impl Into<String>, expected: impl Into<String>) -> InputError {
    InputError::Unfit { input: input.name.clone(), found: found.into(), expected: expected.into() }
}

impl Layout {
    fn of(steps: &Preprocessing, input: &TensorContract) -> Result<Layout, InputError> {
        let channels_last = match steps.layout.as_str() {
            "nchw" => false,
            "nhwc" => true,
            other => return Err(unfit(input, format!("layout {other:?}"), "nchw or nhwc")),
        };
        let axes: Option<Vec<usize>> = input
            .shape
            .iter()
            .skip(1)
            .map(|axis| match axis {
                Dimension::Fixed(size) => usize::try_from(*size).ok().filter(|size| *size <= SIDE_MAX as usize),
                Dimension::Symbol(_) => None,
            })
            .collect();
        let layout = match axes.as_deref() {
            Some([height, width, channels]) if channels_last => (*channels, *height, *width),
            Some([channels, height, width]) if !channels_last => (*channels, *height, *width),
            _ => {
                return Err(unfit(
                    input,
                    "a picture",
                    format!("a tensor {}, which no picture fills", shown(&input.shape)),
                ));
            }
        };
        let (channels, height, width) = layout;
        if !matches!(channels, 1 | 3) || height == 0 || width == 0 {
            return Err(unfit(input, "a picture", format!("{channels} channels of {height}x{width}, not 1 or 3")));
        }
        for factors in [&steps.scale_e12, &steps.offset_e12] {
            if factors.len() != channels {
                return Err(unfit(input, format!("{} factors", factors.len()), format!("{channels}, one a channel")));
            }
        }
        Ok(Layout { channels, height, width, channels_last })
    }

    /// Turns interleaved pixels into the input.
    fn tensor(&self, pixels: &[u8], steps: &Preprocessing, input: &TensorContract) -> Result<NamedTensor, InputError> {
        let plane = self.height * self.width;
        let mut values = vec![0_f32; plane * self.channels];
        for (place, pixel) in pixels.chunks_exact(self.channels).enumerate() {
            for (channel, value) in pixel.iter().enumerate() {
                let scaled = f64::from(*value) * (steps.scale_e12[channel] as f64 / E12)
                    + steps.offset_e12[channel] as f64 / E12;
                let at = if self.channels_last { place * self.channels + channel } else { channel * plane + place };
                values[at] = scaled as f32;
            }
        }
        let shape = if self.channels_last {
            vec![1, self.height, self.width, self.channels]
        } else {
            vec![1, self.channels, self.height, self.width]
        };
        let wrong = |error: runtime_tensor::TensorError| InputError::Picture(error.to_string());
        let tensor = match input.element {
            ElementType::U8 => Tensor::from_u8(shape, values.iter().map(|value| value.round() as u8).collect()),
            ElementType::I8 => Tensor::from_i8(shape, values.iter().map(|value| value.round() as i8).collect()),
            _ => Tensor::from_f32(shape, values),
        };
        fit(tensor.map_err(wrong)?, input)
    }
}

/// Decodes a picture and makes the model's input of it.
pub(super) fn read(bytes: &[u8], contract: &Contract, notes: &mut Vec<String>) -> Result<Vec<NamedTensor>, InputError> {
    let steps = contract.preprocessing.as_ref().filter(|steps| steps.kind == "image").ok_or_else(|| {
        InputError::Picture(
            "this model's contract does not say how a picture becomes an input; use .npy or JSON".into(),
        )
    })?;
    let input = contract.inputs.iter().find(|input| input.name == steps.input).ok_or_else(|| {
        InputError::Picture(format!("the contract names the input {:?}, which the model does not have", steps.input))
    })?;
    let layout = Layout::of(steps, input)?;
    let mut picture = decode(bytes)?;
    let (width, height) = (layout.width as u32, layout.height as u32);
    if (picture.width(), picture.height()) != (width, height) {
        notes.push(format!("the picture is {}x{}: resized to {width}x{height}", picture.width(), picture.height()));
        picture = picture.resize_exact(width, height, FilterType::Triangle);
    }
    let pixels = if layout.channels == 1 { picture.to_luma8().into_raw() } else { picture.to_rgb8().into_raw() };
    Ok(vec![layout.tensor(&pixels, steps, input)?])
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, InputError> {
    let wrong = |error: &dyn std::fmt::Display| InputError::Picture(error.to_string());
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| wrong(&error))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    reader.limits(limits);
    reader.decode().map_err(|error| wrong(&error))
}

/// An array of bytes as the pixels of a picture: `[height, width]`, `[height, width, channels]` or the input's own
/// shape, one sample.
pub(super) fn pixels(
    tensor: &Tensor,
    steps: &Preprocessing,
    input: &TensorContract,
) -> Result<NamedTensor, InputError> {
    let layout = Layout::of(steps, input)?;
    let Layout { channels, height, width, channels_last } = layout;
    let bytes = tensor.bytes();
    let interleaved = match tensor.shape() {
        [h, w] if channels == 1 && (*h, *w) == (height, width) => bytes.to_vec(),
        [h, w, c] | [1, h, w, c] if (*h, *w, *c) == (height, width, channels) => bytes.to_vec(),
        [c, h, w] | [1, c, h, w] if !channels_last && (*c, *h, *w) == (channels, height, width) => {
            let plane = height * width;
            (0..plane).flat_map(|place| (0..channels).map(move |channel| bytes[channel * plane + place])).collect()
        }
        found => {
            let expected = format!("bytes [{height}, {width}] or [{height}, {width}, {channels}]");
            return Err(unfit(input, format!("u8 {found:?}"), expected));
        }
    };
    layout.tensor(&interleaved, steps, input)
}
