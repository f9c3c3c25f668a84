//! A client of the agent's local API: Open Inference Protocol v2 over HTTP, with the binary tensor extension.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest reply that is read, in bytes.
const REPLY_BYTES_MAX: u64 = 1 << 20;

/// The header that says how many bytes of a body are JSON; tensors follow.
const JSON_LENGTH_HEADER: &str = "Inference-Header-Content-Length";

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The bytes of the first output tensor.
    pub output: Vec<u8>,
    /// The manifest digest of the artifact that answered.
    pub digest: String,
    /// How long it took, from sending to the last byte.
    pub elapsed: Duration,
}

/// A connection to one agent, kept open between requests.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    input: String,
}

impl Client {
    /// A client of `model`, whose input tensor is called `input`, at `address`.
    pub fn new(address: SocketAddr, model: &str, input: &str) -> Self {
        let config =
            ureq::Agent::config_builder().timeout_global(Some(REQUEST_TIMEOUT)).http_status_as_error(false).build();
        let url = format!("http://{address}/v2/models/{model}/infer");
        Client { agent: config.into(), url, input: input.to_owned() }
    }

    /// Sends one f32 tensor and returns the answer's bytes and provenance.
    pub fn infer(&self, shape: &[usize], tensor: &[u8]) -> Result<Answer> {
        let header = json!({
            "inputs": [{"name": self.input, "shape": shape, "datatype": "FP32",
                        "parameters": {"binary_data_size": tensor.len()}}],
            "parameters": {"binary_data_output": true},
        })
        .to_string();
        let body = [header.as_bytes(), tensor].concat();
        let start = Instant::now();
        let mut reply = self
            .agent
            .post(&self.url)
            .header(JSON_LENGTH_HEADER, header.len().to_string())
            .header("Content-Type", "application/octet-stream")
            .send(&body[..])
            .with_context(|| format!("no answer from {}", self.url))?;
        let status = reply.status();
        let json_bytes = reply.headers().get(JSON_LENGTH_HEADER).map(|value| value.to_str().map(str::to_owned));
        let bytes = reply.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec()?;
        let elapsed = start.elapsed();
        if status != 200 {
            bail!("{} answered {status}: {}", self.url, String::from_utf8_lossy(&bytes));
        }
        let json_bytes: usize = json_bytes.context("the reply carries no binary tensor")??.parse()?;
        let (json, output) = bytes.split_at_checked(json_bytes).context("the reply is shorter than its header says")?;
        let json: Value = serde_json::from_slice(json)?;
        let digest = json["parameters"]["digest"].as_str().context("the reply names no digest")?.to_owned();
        Ok(Answer { output: output.to_vec(), digest, elapsed })
    }
}
