//! Requests that are right.

use std::io::Write;

use half::f16;
use runtime_engine::testing::TestModel;
use runtime_inference::Absence;
use runtime_tensor::ElementType;
use serde_json::{Value, json};

use crate::client::{connect, get, post, post_raw, read_answer, split_raw};
use crate::host::{DIGEST, Host, active};

pub(crate) fn affine_json() -> Value {
    json!({ "id": "42", "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4.5] }] })
}

#[test]
fn health_and_metadata() {
    let host = Host::start();
    let mut client = connect(host.address);
    assert_eq!(get(&mut client, "/v2/health/live").json(), json!({ "live": true }));
    assert_eq!(get(&mut client, "/v2/health/ready").json(), json!({ "ready": true }));
    let server = get(&mut client, "/v2").json();
    assert_eq!(server["name"], "cask");
    assert_eq!(server["extensions"], json!(["binary_tensor_data", "model_configuration"]));
    let model = get(&mut client, "/v2/models/pair").json();
    assert_eq!(
        model,
        json!({
            "name": "pair", "versions": ["7"], "platform": "onnx_onnxv1",
            "inputs": [
                { "name": "left", "datatype": "FP32", "shape": [-1, 3] },
                { "name": "right", "datatype": "INT32", "shape": [-1, 3] },
            ],
            "outputs": [
                { "name": "sum", "datatype": "FP32", "shape": [-1, 3] },
                { "name": "difference", "datatype": "FP32", "shape": [-1, 3] },
            ],
            "parameters": {
                "artifact": "pair", "version": "1.7.0", "digest": DIGEST, "engine": "test",
                "isa": model["parameters"]["isa"], "labels": ["zero", "one"],
            },
        })
    );
    assert_eq!(get(&mut client, "/v2/models/pair/versions/7").json(), model);
    assert_eq!(get(&mut client, "/v2/models/pair/ready").json(), json!({ "name": "pair", "ready": true }));
    let config = get(&mut client, "/v2/models/affine/config").json();
    assert_eq!(config["max_batch_size"], 0);
    assert_eq!(config["input"], json!([{ "name": "x", "data_type": "TYPE_FP32", "dims": [1, 4] }]));
    assert_eq!(config["output"], json!([{ "name": "y", "data_type": "TYPE_FP32", "dims": [1, 4] }]));
}

#[test]
fn head_is_get_without_a_body() {
    let host = Host::start();
    let mut client = connect(host.address);
    client.write_all(b"HEAD /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    // The body is stated and not sent: the next answer begins right behind the head.
    let next = get(&mut HeadlessBody(&mut client, 13), "/v2/health/live");
    assert_eq!(next.status, 200);

    /// Gives `1` bytes of a body that HEAD leaves out to the reader of the first answer.
    struct HeadlessBody<'a>(&'a mut std::net::TcpStream, usize);
    impl std::io::Read for HeadlessBody<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for HeadlessBody<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut head = Vec::new();
            let mut byte = [0];
            while self.1 > 0 && !head.ends_with(b"\r\n\r\n") {
                std::io::Read::read_exact(self.0, &mut byte)?;
                head.push(byte[0]);
            }
            if self.1 > 0 {
                let head = String::from_utf8(head).unwrap();
                assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 13"), "{head}");
                self.1 = 0;
            }
            self.0.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            self.0.flush()
        }
    }
}

#[test]
fn json_in_and_out_names_what_answered() {
    let host = Host::start();
    let mut client = connect(host.address);
    for path in ["/v2/models/affine/infer", "/v2/models/affine/versions/7/infer"] {
        let answer = post(&mut client, path, "", affine_json().to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("inference-header-content-length"), None);
        assert_eq!(
            answer.json(),
            json!({
                "model_name": "affine", "model_version": "7", "id": "42",
                "parameters": {
                    "artifact": "affine", "version": "1.7.0", "digest": DIGEST, "engine": "test", "rung": 1,
                },
                "outputs": [{ "name": "y", "datatype": "FP32", "shape": [1, 4], "data": [3.0, 5.0, 7.0, 10.0] }],
            })
        );
    }
}

#[test]
fn raw_tensors_in_both_directions_and_mixed() {
    let host = Host::start();
    let mut client = connect(host.address);
    let left: Vec<u8> = [1_f32, 2.0, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let request = |outputs: Value| {
        json!({
            "parameters": { "binary_data_output": true },
            "inputs": [
                { "name": "left", "shape": [1, 3], "datatype": "FP32", "parameters": { "binary_data_size": 12 } },
                { "name": "right", "shape": [1, 3], "datatype": "INT32", "data": [[10, 20, 30]] },
            ],
            "outputs": outputs,
        })
    };
    let answer = post_raw(&mut client, "/v2/models/pair/infer", &request(Value::Null), &left);
    let (json, raw) = split_raw(&answer);
    assert_eq!(json["outputs"][0]["parameters"], json!({ "binary_data_size": 12 }));
    let floats: Vec<f32> = raw.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(floats, [11.0, 22.0, 33.0, -9.0, -18.0, -27.0]);
    let outputs = json!([{ "name": "difference", "parameters": { "binary_data": false } }, { "name": "sum" }]);
    let answer = post_raw(&mut client, "/v2/models/pair/infer", &request(outputs), &left);
    let (json, raw) = split_raw(&answer);
    assert_eq!(json["outputs"][0]["data"], json!([-9.0, -18.0, -27.0]));
    assert_eq!(json["outputs"][1]["name"], "sum");
    assert_eq!(raw.len(), 12);
}

#[test]
fn one_raw_tensor_without_json() {
    let host = Host::start();
    let mut client = connect(host.address);
    let floats: Vec<u8> = (0..8).flat_map(|value| (value as f32).to_le_bytes()).collect();
    let more = "inference-header-content-length: 0\r\n";
    let answer = post(&mut client, "/v2/models/rows/infer", more, &floats);
    let (json, raw) = split_raw(&answer);
    assert_eq!(json["outputs"][0]["shape"], json!([2]));
    assert_eq!(raw, [6_f32, 22.0].map(f32::to_le_bytes).concat());
    let answer = post(&mut client, "/v2/models/pair/infer", more, &floats);
    assert_eq!(answer.status, 400);
    assert!(answer.error().contains("exactly one input"));
}

#[test]
fn every_element_type_comes_back_unchanged() {
    let host = Host::start();
    let mut client = connect(host.address);
    let halves = [f16::from_f32(1.5), f16::NEG_INFINITY].map(f16::to_le_bytes).concat();
    let bytes_of = |element: ElementType| match element {
        ElementType::Bool => vec![1, 0],
        ElementType::F16 | ElementType::BF16 => halves.clone(),
        ElementType::F32 => [f32::MIN_POSITIVE, -0.1].map(f32::to_le_bytes).concat(),
        ElementType::F64 => [f64::MAX, 0.1].map(f64::to_le_bytes).concat(),
        element => vec![0x80; 2 * element.size_bytes()],
    };
    let input = |element: ElementType| {
        let size = 2 * element.size_bytes();
        json!({
            "name": format!("in_{}", element.name()), "shape": [1, 2], "datatype": element.oip(),
            "parameters": { "binary_data_size": size },
        })
    };
    let raw: Vec<u8> = ElementType::all().flat_map(bytes_of).collect();
    let inputs: Vec<Value> = ElementType::all().map(input).collect();
    let request = json!({ "inputs": inputs, "parameters": { "binary_data_output": true } });
    let answer = post_raw(&mut client, "/v2/models/echo/infer", &request, &raw);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(split_raw(&answer).1, raw);

    // What came out as JSON goes in as JSON and comes out the same.
    let has_json = |element: &ElementType| !matches!(element, ElementType::F16 | ElementType::BF16);
    let outputs: Vec<Value> = ElementType::all()
        .map(|element| json!({ "name": format!("out_{}", element.name()), "parameters": { "binary_data": !has_json(&element) } }))
        .collect();
    let request = json!({ "inputs": inputs, "outputs": outputs });
    let first = post_raw(&mut client, "/v2/models/echo/infer", &request, &raw);
    let (first, halves_raw) = split_raw(&first);
    let with_data: Vec<Value> = ElementType::all()
        .zip(first["outputs"].as_array().unwrap())
        .map(|(element, output)| {
            let mut input = input(element);
            if has_json(&element) {
                input["data"] = output["data"].clone();
                input.as_object_mut().unwrap().remove("parameters");
            }
            input
        })
        .collect();
    let request = json!({ "inputs": with_data, "parameters": { "binary_data_output": true } });
    let second = post_raw(&mut client, "/v2/models/echo/infer", &request, halves_raw);
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(split_raw(&second).1, raw);
}

#[test]
fn several_requests_in_one_packet_are_answered_in_order() {
    let host = Host::start();
    let mut client = connect(host.address);
    let one = "GET /v2/models/rows/ready HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let two = "GET /v2/models/nothing/ready HTTP/1.1\r\nhost: localhost\r\n\r\n";
    client.write_all(format!("{one}{two}{one}").as_bytes()).unwrap();
    let statuses = [(); 3].map(|()| read_answer(&mut client).status);
    assert_eq!(statuses, [200, 404, 200]);
}

#[test]
fn a_new_version_answers_at_once_and_the_old_number_is_gone() {
    let host = Host::start();
    let mut client = connect(host.address);
    host.inference.activate("affine", active("test", TestModel::Affine.bytes(), "affine", 8)).unwrap();
    let answer = post(&mut client, "/v2/models/affine/infer", "", affine_json().to_string().as_bytes());
    assert_eq!(answer.json()["model_version"], "8");
    let answer = post(&mut client, "/v2/models/affine/versions/7/infer", "", affine_json().to_string().as_bytes());
    assert_eq!(answer.status, 404);
    assert!(answer.error().contains("the active version is 8"), "{}", answer.error());
}

#[test]
fn a_model_that_does_not_answer_says_why() {
    let host = Host::start();
    let mut client = connect(host.address);
    for (absence, code) in [(Absence::NotReady("being fetched".into()), "no-model"), (Absence::Denied, "denied")] {
        host.inference.deactivate("affine", absence);
        let infer = post(&mut client, "/v2/models/affine/infer", "", affine_json().to_string().as_bytes());
        let ready = get(&mut client, "/v2/models/affine/ready");
        for answer in [infer, ready] {
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert_eq!(answer.json()["code"], code);
        }
        assert_eq!(get(&mut client, "/v2/health/ready").status, 503);
        assert_eq!(get(&mut client, "/v2/health/live").status, 200);
        assert_eq!(get(&mut client, "/v2/models/rows/ready").status, 200);
    }
}

#[test]
fn outputs_that_json_cannot_hold_are_refused_by_name() {
    let host = Host::start();
    let mut client = connect(host.address);
    let request = json!({
        "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": { "binary_data_size": 16 } }],
        "outputs": [{ "name": "y", "parameters": { "binary_data": false } }],
    });
    let raw = [1.0, f32::NAN, 1.0, 1.0].map(f32::to_le_bytes).concat();
    let answer = post_raw(&mut client, "/v2/models/affine/infer", &request, &raw);
    assert_eq!(answer.status, 400);
    assert!(answer.error().contains("output \"y\": element 1 is NaN"), "{}", answer.error());
}
