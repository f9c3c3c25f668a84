//! The configuration as the program uses it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cloud_sync_protocol::BrokerUrl;
use runtime_inference::{Engines, InferenceOptions, ProveOptions};

use super::Config;
use crate::machine::Limits;

/// Where to look for ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrtLibrary {
    /// Nowhere.
    Off,
    /// Where the system's search finds it.
    System,
    /// This file.
    File(PathBuf),
}

/// Typed settings. Every key of the table is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the inference API listens on TCP; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// Whether it listens on `api.sock`.
    pub api_socket: bool,
    /// The largest request body, in bytes.
    pub body_bytes_max: u64,
    /// Requests of one model at the same time.
    pub threads: usize,
    /// Threads of one run.
    pub run_threads: usize,
    /// Requests of one model that wait.
    pub queue_max: usize,
    /// The longest that a request may take.
    pub time_max: Duration,
    /// Engines that may run models; empty: all.
    pub engines: Vec<String>,
    /// Where to look for the library of the engine `ort`.
    pub ort_library: OrtLibrary,
    /// The instruction set that every model runs with; no key: set by whoever reads the environment. `None`: the fastest.
    pub isa: Option<String>,
    /// How a version is proven.
    pub prove: ProveOptions,
    /// The machine's numbers; its salt is set by whoever knows the device.
    pub limits: Limits,
    /// Bytes that all installed versions may take; `None`: what the disk has.
    pub space_bytes_max: Option<u64>,
    /// The broker in place of the enrolment's.
    pub broker: Option<BrokerUrl>,
    /// How long to wait for one answer of the fleet.
    pub answer_max: Duration,
    /// How much `run` logs, as a number of `-v` flags.
    pub verbose: u8,
}

impl Settings {
    pub(super) fn of(config: &Config) -> Settings {
        let size = |name| usize::try_from(config.count(name)).unwrap_or(usize::MAX);
        let number = |name| u32::try_from(config.count(name)).unwrap_or(u32::MAX);
        let seconds_ms = |name| config.count(name).saturating_mul(1_000);
        let space = config.count("install.space_bytes_max");
        Settings {
            // Anything but an address is "off": the table accepts nothing else.
            http: config.text("http.listen").parse().ok(),
            api_socket: config.text("api.socket") == "on",
            body_bytes_max: config.count("api.body_bytes_max"),
            threads: size("inference.threads"),
            run_threads: size("inference.run_threads"),
            queue_max: size("inference.queue_max"),
            time_max: Duration::from_millis(config.count("inference.time_ms_max")),
            engines: config.names("inference.engines").to_vec(),
            ort_library: match config.text("ort.library") {
                "" => OrtLibrary::System,
                "off" => OrtLibrary::Off,
                path => OrtLibrary::File(PathBuf::from(path)),
            },
            isa: None,
            prove: ProveOptions {
                threads: size("inference.run_threads"),
                rounds: size("prove.rounds"),
                slower_percent_max: config.count("prove.slower_percent_max"),
                slower_us_max: config.count("prove.slower_us_max"),
                time_max: Duration::from_secs(config.count("prove.time_s_max")),
                ..ProveOptions::default()
            },
            limits: Limits {
                attempts_max: number("install.attempts_max"),
                settle_ms: seconds_ms("boot.settle_s"),
                boots_unproven_max: number("boot.unproven_max"),
                refresh_ms: seconds_ms("trust.refresh_s"),
                report_ms: seconds_ms("report.interval_s"),
                salt: 0,
            },
            space_bytes_max: (space > 0).then_some(space),
            broker: BrokerUrl::parse(config.text("link.broker")).ok(),
            answer_max: Duration::from_millis(config.count("link.answer_ms_max")),
            verbose: match config.text("log.level") {
                "trace" => 3,
                "debug" => 2,
                "info" => 1,
                _ => 0,
            },
        }
    }

    /// The engines of this process: those of the build, and ONNX Runtime where it is allowed and found.
    pub fn open_engines(&self) -> Engines {
        let engines = Engines::standard().with_isa(self.isa.clone());
        if !self.engines.is_empty() && !self.engines.iter().any(|name| name == "ort") {
            return engines;
        }
        match &self.ort_library {
            OrtLibrary::Off => engines,
            OrtLibrary::System => engines.with_ort(None),
            OrtLibrary::File(path) => engines.with_ort(Some(path)),
        }
    }

    /// How models are run, on `engines`.
    pub fn inference(&self, engines: Engines) -> InferenceOptions {
        InferenceOptions {
            engines,
            threads: self.threads,
            run_threads: self.run_threads,
            queue_max: self.queue_max,
            time_max: self.time_max,
        }
    }
}
