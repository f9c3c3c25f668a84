//! Servers for tests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use runtime_artifact::{Contract, GoldenSet, Limits, Numerics};
use runtime_engine::testing::{Faults, TestEngine, TestModel};
use runtime_inference::{ActiveModel, Engines, Inference, InferenceOptions, ModelFiles, ModelIdentity, ServedModel};
use runtime_serving::{Serving, ServingLimits, ServingSettings, serve};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::echo::EchoEngine;

pub(crate) const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A running API over one test engine and one echo engine.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) inference: Arc<Inference>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) runtime: Runtime,
    pub(crate) serving: Option<Serving>,
}

pub(crate) fn active(engine: &str, model: Vec<u8>, artifact: &str, number: u64) -> ActiveModel {
    let identity =
        ModelIdentity { artifact: artifact.into(), version: format!("1.{number}.0"), number, digest: DIGEST.into() };
    let contract = Contract {
        inputs: Vec::new(),
        outputs: Vec::new(),
        states: Vec::new(),
        labels: vec!["zero".into(), "one".into()],
        preprocessing: None,
        postprocessing: None,
    };
    let files = ModelFiles {
        identity,
        variant_id: "int8".into(),
        model,
        golden: GoldenSet::default(),
        limits: Limits { p95_us: 0, memory_bytes: 0 },
        numerics: Numerics::Exact,
        contract,
    };
    ActiveModel { primary: ServedModel { files: Arc::new(files), engines: vec![engine.to_owned()] }, last_good: None }
}

pub(crate) fn inference(queue_max: usize) -> (Arc<Inference>, Arc<Faults>) {
    let engine = TestEngine::new("test");
    let faults = engine.faults();
    let engines = Engines::default().with(Arc::new(engine)).with(Arc::new(EchoEngine));
    let inference = Inference::new(InferenceOptions { queue_max, engines, ..InferenceOptions::default() });
    for (name, model) in [("affine", TestModel::Affine), ("rows", TestModel::RowSum), ("pair", TestModel::Pair)] {
        inference.activate(name, active("test", model.bytes(), name, 7)).unwrap();
    }
    inference.activate("echo", active("echo", b"echo".to_vec(), "echo", 1)).unwrap();
    (Arc::new(inference), faults)
}

impl Host {
    pub(crate) fn start() -> Self {
        Self::with(ServingLimits::default())
    }

    pub(crate) fn with(limits: ServingLimits) -> Self {
        Self::with_all(limits, None, 64)
    }

    pub(crate) fn with_all(limits: ServingLimits, unix: Option<PathBuf>, queue_max: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (inference, faults) = inference(queue_max);
        let (stop, stopped) = watch::channel(false);
        let settings = ServingSettings { http: Some("127.0.0.1:0".parse().unwrap()), unix, limits };
        let serving = {
            let _inside = runtime.enter();
            serve(settings, inference.clone(), stopped).unwrap()
        };
        let address = serving.http_address.unwrap();
        Self { address, inference, faults, stop, runtime, serving: Some(serving) }
    }
}
