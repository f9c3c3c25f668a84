//! An engine that is ONNX Runtime in a Python process, reached through pipes.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use runtime_engine::{Coverage, Engine, EngineError, LoadOptions, NumericsClass, Session, check_inputs, check_wanted};
use runtime_graph::{Model, ReadLimits};
use runtime_tensor::{ElementType, NamedTensor, Tensor, TensorSpec};

/// Largest answer that is believed, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 30;
const ELEMENTS: [ElementType; 4] = [ElementType::F32, ElementType::I32, ElementType::I64, ElementType::U8];

/// ONNX Runtime, and the samples that its process makes.
#[derive(Clone)]
pub(crate) struct Peer(Arc<Mutex<Pipes>>);

struct Pipes {
    child: Child,
    sink: ChildStdin,
    source: ChildStdout,
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // The process ends by itself when its input does; a failure here has nowhere to go.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn broken(reason: impl ToString) -> EngineError {
    EngineError::Internal { engine: "peer".to_owned(), reason: reason.to_string() }
}

impl Peer {
    /// Starts the process with the interpreter that `CASK_TEST_PYTHON` names, or `python3`.
    pub(crate) fn start() -> Result<Self, EngineError> {
        let python = std::env::var("CASK_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/passes/peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| broken(format!("python did not start: {error}; name one with CASK_TEST_PYTHON")))?;
        let sink = child.stdin.take().ok_or_else(|| broken("the process has no input"))?;
        let source = child.stdout.take().ok_or_else(|| broken("the process has no output"))?;
        Ok(Self(Arc::new(Mutex::new(Pipes { child, sink, source }))))
    }

    /// Named samples: see `samples.py`.
    pub(crate) fn samples(&self, what: &str, data: &str) -> Result<Vec<NamedTensor>, EngineError> {
        let mut request = vec![4];
        put_bytes(&mut request, what.as_bytes());
        put_bytes(&mut request, data.as_bytes());
        self.ask(&request, Pipes::tensors)
    }

    fn ask<T>(
        &self,
        request: &[u8],
        read: impl FnOnce(&mut Pipes) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut pipes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pipes.sink.write_all(request).and_then(|()| pipes.sink.flush()).map_err(broken)?;
        if pipes.exactly(1)? == [0] {
            return read(&mut pipes);
        }
        let message = pipes.text()?;
        Err(broken(message))
    }
}

impl Pipes {
    fn exactly(&mut self, count: usize) -> Result<Vec<u8>, EngineError> {
        if count > ANSWER_BYTES_MAX {
            return Err(broken(format!("found an answer of {count} bytes, expected at most {ANSWER_BYTES_MAX}")));
        }
        let mut bytes = vec![0; count];
        self.source.read_exact(&mut bytes).map_err(broken)?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<usize, EngineError> {
        let bytes = self.exactly(4)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn text(&mut self) -> Result<String, EngineError> {
        let count = self.number()?;
        String::from_utf8(self.exactly(count)?).map_err(broken)
    }

    fn tensors(&mut self) -> Result<Vec<NamedTensor>, EngineError> {
        let count = self.number()?;
        (0..count).map(|_| self.tensor()).collect()
    }

    fn tensor(&mut self) -> Result<NamedTensor, EngineError> {
        let name = self.text()?;
        let kind = usize::from(self.exactly(1)?[0]);
        let element = *ELEMENTS.get(kind).ok_or_else(|| broken(format!("found element {kind}")))?;
        let rank = self.number()?;
        let shape = (0..rank).map(|_| self.number()).collect::<Result<Vec<usize>, _>>()?;
        let count = self.number()?;
        Ok((name, Tensor::new(element, shape, &self.exactly(count)?)?))
    }
}

fn put(request: &mut Vec<u8>, number: usize) {
    request.extend((number as u32).to_le_bytes());
}

fn put_bytes(request: &mut Vec<u8>, bytes: &[u8]) {
    put(request, bytes.len());
    request.extend(bytes);
}

impl Engine for Peer {
    fn name(&self) -> &'static str {
        "peer"
    }

    fn build(&self) -> String {
        "onnxruntime".to_owned()
    }

    fn load(&self, model: &[u8], options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
        let read = Model::read(model, &ReadLimits::default())
            .map_err(|error| EngineError::BadModel { reason: error.to_string() })?;
        let mut request = vec![1];
        put(&mut request, options.threads);
        put_bytes(&mut request, model);
        let handle = self.ask(&request, Pipes::number)?;
        Ok(Box::new(Running {
            peer: self.clone(),
            handle,
            bytes: model.len() as u64,
            inputs: read.inputs(),
            outputs: read.outputs(),
            coverage: Coverage::default(),
        }))
    }
}

struct Running {
    peer: Peer,
    handle: usize,
    bytes: u64,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    coverage: Coverage,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut request = vec![3];
        put(&mut request, self.handle);
        // A process that is gone holds no session.
        let _ = self.peer.ask(&request, Pipes::tensors);
    }
}

impl Session for Running {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn run(
        &mut self,
        inputs: &[NamedTensor],
        wanted: &[String],
        _deadline: Option<Instant>,
    ) -> Result<Vec<NamedTensor>, EngineError> {
        check_inputs(&self.inputs, inputs)?;
        let wanted = check_wanted(&self.outputs, wanted)?;
        let mut request = vec![2];
        put(&mut request, self.handle);
        put(&mut request, inputs.len());
        for (name, tensor) in inputs {
            let element = ELEMENTS.iter().position(|&element| element == tensor.element());
            put_bytes(&mut request, name.as_bytes());
            request.push(element.ok_or_else(|| broken(format!("{} has no number", tensor.element())))? as u8);
            put(&mut request, tensor.shape().len());
            tensor.shape().iter().for_each(|&size| put(&mut request, size));
            put_bytes(&mut request, tensor.bytes());
        }
        put(&mut request, wanted.len());
        wanted.iter().for_each(|&output| put_bytes(&mut request, self.outputs[output].name.as_bytes()));
        self.peer.ask(&request, Pipes::tensors)
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn resident_bytes(&self) -> u64 {
        self.bytes
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn numerics(&self) -> NumericsClass {
        NumericsClass::Float
    }

    fn isa(&self) -> &str {
        "onnxruntime"
    }
}
