//! An inference request: JSON, or JSON followed by raw tensors (the binary tensor extension), or one raw tensor.
//!
//! `Inference-Header-Content-Length` says how many bytes of the body are JSON; the rest are the inputs that have a
//! `binary_data_size`, little-endian and row-major, in the order of the JSON. Zero means that the whole body is the
//! only input of the model and that all outputs are wanted raw.

mod json;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use hyper::header::HeaderMap;
use runtime_inference::ModelMetadata;
use runtime_tensor::{Dimension, ElementType, NamedTensor, Tensor, TensorSpec};

use crate::error::ApiError;
use crate::limits::ID_BYTES_MAX;
use crate::tensor_json;

use json::{InferJson, InputJson, OutputJson};

/// Name of the header that separates JSON from raw tensors.
pub(crate) const JSON_LENGTH_HEADER: &str = "inference-header-content-length";

/// What a client asks.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: Option<String>,
    pub(crate) inputs: Vec<NamedTensor>,
    /// The outputs wanted, each with whether its data comes raw; empty means all.
    pub(crate) outputs: Vec<(String, bool)>,
    /// Whether the data of outputs that are not named comes raw.
    pub(crate) all_raw: bool,
    /// How long the client wants to wait.
    pub(crate) timeout: Option<Duration>,
    /// Rung 1 or an error.
    pub(crate) strict: bool,
}

/// The length of the JSON part, when the request has raw tensors.
pub(crate) fn json_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let mut values = headers.get_all(JSON_LENGTH_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    match (length, values.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(ApiError::bad("the header Inference-Header-Content-Length is no single number of bytes")),
    }
}

/// Reads a request. `metadata` is the model's, which a single raw tensor needs for its name and shape.
pub(crate) fn parse(
    body: &[u8],
    json_length: Option<usize>,
    metadata: Option<&ModelMetadata>,
) -> Result<Asked, ApiError> {
    let (json, raw) = match json_length {
        None => (body, None),
        Some(0) => return parse_single_raw(body, metadata),
        Some(length) if length > body.len() => {
            return Err(ApiError::bad(format!(
                "the header Inference-Header-Content-Length says {length} bytes of JSON, the body has {}",
                body.len()
            )));
        }
        Some(length) => (&body[..length], Some(&body[length..])),
    };
    let text = std::str::from_utf8(json).map_err(|error| {
        ApiError::bad(format!("the request's JSON is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    let request: InferJson<'_> = serde_json::from_str(text).map_err(|error| json_error(text, &error))?;
    let parameters = request.parameters.unwrap_or_default();
    if parameters.sequence_id.is_some() {
        return Err(ApiError::bad("sequences are not supported: leave sequence_id out"));
    }
    let id = request.id.map(Cow::into_owned);
    if id.as_ref().is_some_and(|id| id.len() > ID_BYTES_MAX) {
        return Err(ApiError::bad(format!("the id is longer than {ID_BYTES_MAX} bytes")));
    }
    let all_raw = parameters.binary_data_output.unwrap_or(false);
    Ok(Asked {
        id,
        inputs: read_inputs(request.inputs.0, raw)?,
        outputs: read_outputs(request.outputs.map(|outputs| outputs.0).unwrap_or_default(), all_raw)?,
        all_raw,
        timeout: parameters.timeout.filter(|timeout_us| *timeout_us > 0).map(Duration::from_micros),
        strict: parameters.strict.unwrap_or(false),
    })
}

fn json_error(text: &str, error: &serde_json::Error) -> ApiError {
    let line_start = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    let place = line_start + error.column();
    let around = text.as_bytes().get(place.saturating_sub(2)..).unwrap_or_default();
    let around = &around[..around.len().min(12)];
    let odd = [b"NaN".as_slice(), b"Infinity", b"nan", b"inf"];
    if error.is_syntax() && odd.iter().any(|odd| around.windows(odd.len()).any(|found| found == *odd)) {
        return ApiError::bad(format!(
            "JSON has no NaN and no infinity (line {}, column {}): send the tensor as binary data",
            error.line(),
            error.column()
        ));
    }
    ApiError::bad(format!("the request's JSON cannot be read: {error}"))
}

fn read_inputs(inputs: Vec<InputJson<'_>>, mut raw: Option<&[u8]>) -> Result<Vec<NamedTensor>, ApiError> {
    let mut tensors: Vec<NamedTensor> = Vec::with_capacity(inputs.len());
    let mut names = BTreeSet::new();
    for input in inputs {
        let name = input.name.into_owned();
        let wrong = |reason: String| ApiError::bad(format!("input {name:?}: {reason}"));
        if !names.insert(name.clone()) {
            return Err(wrong("it is there twice".to_owned()));
        }
        let parameters = input.parameters.unwrap_or_default();
        if parameters.shared_memory_region.is_some() {
            return Err(wrong("shared memory is not supported".to_owned()));
        }
        let element = element(&input.datatype).map_err(wrong)?;
        let shape = input.shape.0.iter().map(|size| usize::try_from(*size)).collect::<Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| wrong("a size of its shape is too large".to_owned()))?;
        let tensor = match (parameters.binary_data_size, input.data) {
            (Some(size), None) => {
                let bytes = take_raw(&mut raw, size).map_err(wrong)?;
                from_raw(element, shape, bytes)
            }
            (None, Some(data)) => from_json(element, shape, data.get()),
            (Some(_), Some(_)) => Err("it has data and binary_data_size; one of them is enough".to_owned()),
            (None, None) => Err("it has neither data nor binary_data_size".to_owned()),
        };
        let tensor = tensor.map_err(wrong)?;
        tensors.push((name, tensor));
    }
    match raw {
        Some([_, ..]) => Err(ApiError::bad(format!(
            "{} bytes are left behind the tensors: the sizes do not add up to the body",
            raw.unwrap_or_default().len()
        ))),
        _ => Ok(tensors),
    }
}

fn element(datatype: &str) -> Result<ElementType, String> {
    ElementType::from_oip(datatype).ok_or_else(|| {
        let datatype: String = datatype.chars().take(40).collect();
        let known: Vec<_> = ElementType::all().map(ElementType::oip).collect();
        format!("the datatype {datatype:?} is not known here; known are {}", known.join(", "))
    })
}

fn take_raw<'a>(raw: &mut Option<&'a [u8]>, size: u64) -> Result<&'a [u8], String> {
    let Some(rest) = raw else {
        return Err("it has binary_data_size, but the header Inference-Header-Content-Length is missing".to_owned());
    };
    let split = usize::try_from(size).ok().and_then(|size| rest.split_at_checked(size));
    let Some((bytes, rest)) = split else {
        return Err(format!("binary_data_size is {size}, the body has {} more bytes", rest.len()));
    };
    *raw = Some(rest);
    Ok(bytes)
}

fn from_raw(element: ElementType, shape: Vec<usize>, bytes: &[u8]) -> Result<Tensor, String> {
    if element == ElementType::Bool
        && let Some(index) = bytes.iter().position(|byte| *byte > 1)
    {
        return Err(format!("element {index} is {}, a BOOL is 0 or 1", bytes[index]));
    }
    Tensor::new(element, shape, bytes).map_err(|error| format!("failed to {error}"))
}

fn from_json(element: ElementType, shape: Vec<usize>, text: &str) -> Result<Tensor, String> {
    let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
    let count = count.ok_or_else(|| "its shape has too many elements".to_owned())?;
    let bytes = tensor_json::read(text, element, count)?;
    Tensor::new(element, shape, &bytes).map_err(|error| format!("failed to {error}"))
}

fn read_outputs(outputs: Vec<OutputJson<'_>>, all_raw: bool) -> Result<Vec<(String, bool)>, ApiError> {
    let mut names = BTreeSet::new();
    let mut wanted = Vec::with_capacity(outputs.len());
    for output in outputs {
        let name = output.name.into_owned();
        let wrong = |reason: &str| Err(ApiError::bad(format!("output {name:?}: {reason}")));
        let parameters = output.parameters.unwrap_or_default();
        if !names.insert(name.clone()) {
            return wrong("it is asked for twice");
        }
        if parameters.classification.is_some_and(|count| count > 0) {
            return wrong("the classification extension is not supported; ask for the scores and the model's labels");
        }
        if parameters.shared_memory_region.is_some() {
            return wrong("shared memory is not supported");
        }
        wanted.push((name, parameters.binary_data.unwrap_or(all_raw)));
    }
    Ok(wanted)
}

/// The whole body is the only input.
fn parse_single_raw(body: &[u8], metadata: Option<&ModelMetadata>) -> Result<Asked, ApiError> {
    let Some([input]) = metadata.map(|metadata| metadata.inputs.as_slice()) else {
        return Err(ApiError::bad("a body without JSON needs a ready model with exactly one input"));
    };
    let wrong = |reason: String| ApiError::bad(format!("input {:?}: {reason}", input.name));
    let shape = shape_of_raw(input, body.len()).map_err(wrong)?;
    let tensor = from_raw(input.element, shape, body).map_err(wrong)?;
    Ok(Asked {
        id: None,
        inputs: vec![(input.name.clone(), tensor)],
        outputs: Vec::new(),
        all_raw: true,
        timeout: None,
        strict: false,
    })
}

/// The shape that `bytes` bytes have, when at most one dimension is open.
fn shape_of_raw(input: &TensorSpec, bytes: usize) -> Result<Vec<usize>, String> {
    let open = input.shape.iter().filter(|size| matches!(size, Dimension::Symbol(_))).count();
    if open > 1 {
        return Err("its shape has more than one open dimension; send JSON with the shape".to_owned());
    }
    let fixed = input.shape.iter().try_fold(input.element.size_bytes(), |bytes, size| match size {
        Dimension::Fixed(size) => bytes.checked_mul(usize::try_from(*size).ok()?),
        Dimension::Symbol(_) => Some(bytes),
    });
    let fits = fixed.filter(|fixed| *fixed > 0 && bytes.is_multiple_of(*fixed));
    let fixed = fits.ok_or_else(|| format!("{bytes} bytes do not fit its shape"))?;
    let size = |size: &Dimension| match size {
        Dimension::Fixed(size) => *size as usize,
        Dimension::Symbol(_) => bytes / fixed,
    };
    Ok(input.shape.iter().map(size).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(body: &[u8], json_length: Option<usize>) -> String {
        parse(body, json_length, None).expect_err("it should be refused").message
    }

    #[test]
    fn json_and_raw_inputs_side_by_side() {
        let json = r#"{"id":"7","parameters":{"binary_data_output":true,"timeout":2500,"strict":true,"other":[1]},
            "inputs":[{"name":"a","shape":[2],"datatype":"INT16","parameters":{"binary_data_size":4}},
                      {"name":"b","shape":[1,2],"datatype":"FP32","data":[[1,2.5]]},
                      {"name":"c","shape":[],"datatype":"BOOL","parameters":{"binary_data_size":1}}],
            "outputs":[{"name":"y"},{"name":"z","parameters":{"binary_data":false}}],"unknown":{}}"#;
        let body = [json.as_bytes(), &[1, 0, 255, 255, 1]].concat();
        let asked = parse(&body, Some(json.len()), None).unwrap();
        assert_eq!(asked.id.as_deref(), Some("7"));
        assert_eq!(asked.timeout, Some(Duration::from_micros(2500)));
        assert!(asked.strict && asked.all_raw);
        assert_eq!(asked.outputs, [("y".to_owned(), true), ("z".to_owned(), false)]);
        let [(_, a), (_, b), (_, c)] = asked.inputs.as_slice() else { panic!("three inputs") };
        assert_eq!(a.bytes(), [1, 0, 255, 255]);
        assert_eq!(b.as_f32().unwrap(), [1.0, 2.5]);
        assert_eq!((c.shape(), c.bytes()), ([].as_slice(), [1].as_slice()));
    }

    #[test]
    fn wrong_requests_say_what_is_wrong() {
        let input = |more: &str| format!(r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"FP32",{more}}}]}}"#);
        let two = format!("[{}]", [r#"{"name":"x","shape":[1],"datatype":"BOOL","data":[true]}"#; 2].join(","));
        let many = format!("[{}]", vec!["1"; 17].join(","));
        let mut failed = Vec::new();
        for (body, part) in [
            ("".to_owned(), "EOF"),
            ("[]".to_owned(), "cannot be read"),
            ("{}".to_owned(), "missing field `inputs`"),
            (r#"{"id":7,"inputs":[]}"#.to_owned(), "expected a string"),
            (input(r#""data":[1,NaN]"#), "no NaN"),
            (input(r#""data":[1,-Infinity]"#), "no NaN"),
            (input("\"data\":\n[1,\nInfinity]"), "no NaN"),
            (input(r#""data":[1]"#), "1 elements, the shape has 2"),
            (input(r#""data":[1,2,3]"#), "more elements"),
            (input(r#""data":"abc""#), "an array of numbers"),
            (input(r#""data":null"#), "neither data nor"),
            (input(r#""parameters":{"binary_data_size":8}"#), "Inference-Header-Content-Length is missing"),
            (input(r#""parameters":{"binary_data_size":8},"data":[1,2]"#), "one of them is enough"),
            (input(r#""parameters":{"shared_memory_region":"r"},"data":[1,2]"#), "shared memory"),
            (format!(r#"{{"inputs":{two}}}"#), "it is there twice"),
            (r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["a"]}]}"#.to_owned(), "BYTES"),
            (r#"{"inputs":[{"name":"x","shape":[-1],"datatype":"FP32","data":[]}]}"#.to_owned(), "invalid value"),
            (format!(r#"{{"inputs":[{{"name":"x","shape":{many},"datatype":"FP32","data":[1]}}]}}"#), "at most 16"),
            (
                r#"{"inputs":[{"name":"x","shape":[4294967296,4294967296],"datatype":"FP32","data":[]}]}"#.to_owned(),
                "too many elements",
            ),
            (r#"{"inputs":[],"parameters":{"sequence_id":7}}"#.to_owned(), "sequence_id"),
            (
                r#"{"inputs":[],"outputs":[{"name":"y","parameters":{"classification":3}}]}"#.to_owned(),
                "classification",
            ),
            (r#"{"inputs":[],"outputs":[{"name":"y"},{"name":"y"}]}"#.to_owned(), "asked for twice"),
        ] {
            let found = message(body.as_bytes(), None);
            if !found.contains(part) {
                failed.push(format!("{body}: found {found:?}, expected {part:?}"));
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
        assert!(message(b"{\"inputs\":\"\xff\"}", None).contains("not UTF-8 from byte 11"));
    }

    #[test]
    fn raw_sizes_must_add_up() {
        let json = |size: u64| {
            format!(
                r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"INT8","parameters":{{"binary_data_size":{size}}}}}]}}"#
            )
        };
        let check = |size: u64, raw: &[u8]| {
            let json = json(size);
            message(&[json.as_bytes(), raw].concat(), Some(json.len()))
        };
        assert!(check(2, &[1]).contains("the body has 1 more bytes"));
        assert!(check(2, &[1, 2, 3]).contains("1 bytes are left"));
        assert!(check(3, &[1, 2, 3]).contains("which needs 2 bytes"));
        assert!(check(u64::MAX, &[1]).contains("the body has 1 more bytes"));
        assert!(message(b"{}", Some(3)).contains("says 3 bytes"));
        assert!(message(b"\x00\x00", Some(0)).contains("exactly one input"));
    }

    #[test]
    fn one_raw_tensor_takes_its_shape_from_the_model() {
        let spec = |shape: Vec<Dimension>| TensorSpec { name: "x".into(), element: ElementType::F32, shape };
        let open = || Dimension::Symbol("batch".into());
        assert_eq!(shape_of_raw(&spec(vec![open(), Dimension::Fixed(2)]), 24), Ok(vec![3, 2]));
        assert_eq!(shape_of_raw(&spec(vec![Dimension::Fixed(2)]), 8), Ok(vec![2]));
        assert!(shape_of_raw(&spec(vec![open(), Dimension::Fixed(2)]), 12).is_err());
        assert!(shape_of_raw(&spec(vec![open(), open()]), 16).is_err());
        assert!(shape_of_raw(&spec(vec![Dimension::Fixed(0)]), 0).is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), length in 0_usize..250) {
            let _ = parse(&body, None, None);
            let _ = parse(&body, Some(length), None);
        }
    }
}
