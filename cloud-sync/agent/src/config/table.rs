//! The one table of configuration keys.

use std::sync::OnceLock;

/// What every environment variable of this system begins with.
pub(crate) const VARIABLE_PREFIX: &str = "CASK_";

/// Variables of this system that are no configuration keys: folders, secrets and the log filter.
pub(crate) const OTHER_VARIABLES: &[&str] =
    &["CASK_AGENT_DIR", "CASK_FLEET_DIR", "CASK_ISA", "CASK_LOG", "CASK_PASSPHRASE", "CASK_DATA_DIR"];

/// What a key's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `address:port`, or `off`.
    Address,
    /// A broker URL, or empty.
    Broker,
    /// A whole number from `min` to `max`.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A file's path, `off`, or empty.
    File,
    /// A list of names.
    Names,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// For people.
    pub fn describe(self) -> String {
        match self {
            Kind::Address => "address:port, or \"off\"".to_owned(),
            Kind::Broker => "mqtts://host:port, or empty".to_owned(),
            Kind::Count { min, max } => format!("a whole number from {min} to {max}"),
            Kind::File => "a file's path, \"off\", or empty".to_owned(),
            Kind::Names => "a list of names (in a variable or flag: separated by commas)".to_owned(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// `section.name` in `agent.toml`.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// As a variable or flag would write it.
    pub default: &'static str,
    /// Another value, for the documentation.
    pub example: &'static str,
    /// What it is for, as one sentence or two.
    pub doc: &'static str,
}

impl Key {
    /// The flag's name without its dashes: `http-listen`.
    pub fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    /// The environment variable: `CASK_HTTP_LISTEN`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }

    /// The row of this name.
    pub fn named(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }
}

/// The flags' names, which must outlive every command line that is built from them.
pub(crate) fn flag_names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| KEYS.iter().map(Key::flag).collect())
}

/// Every key.
pub const KEYS: &[Key] = &[
    Key {
        name: "http.listen",
        kind: Kind::Address,
        default: "127.0.0.1:8000",
        example: "127.0.0.1:0",
        doc: "Where the inference API listens on TCP. Loopback only; port 0 takes a free one, which agent.json names.",
    },
    Key {
        name: "api.socket",
        kind: Kind::Choice(&["on", "off"]),
        default: "on",
        example: "off",
        doc: "Whether the inference API also listens on api.sock in the agent's folder.",
    },
    Key {
        name: "api.body_bytes_max",
        kind: Kind::Count { min: 1 << 10, max: 1 << 30 },
        default: "67108864",
        example: "8388608",
        doc: "The largest request body of the inference API, in bytes; a larger one is refused before it is read.",
    },
    Key {
        name: "inference.threads",
        kind: Kind::Count { min: 1, max: 64 },
        default: "1",
        example: "2",
        doc: "Requests of one model that run at the same time; each takes a session of its own, and its memory.",
    },
    Key {
        name: "inference.run_threads",
        kind: Kind::Count { min: 1, max: 64 },
        default: "1",
        example: "4",
        doc: "Threads that one run of a model may use.",
    },
    Key {
        name: "inference.queue_max",
        kind: Kind::Count { min: 1, max: 65_536 },
        default: "64",
        example: "256",
        doc: "Requests of one model that may wait; the next one is answered 503.",
    },
    Key {
        name: "inference.time_ms_max",
        kind: Kind::Count { min: 1, max: 3_600_000 },
        default: "30000",
        example: "2000",
        doc: "The longest that a request may take, waiting included, in milliseconds.",
    },
    Key {
        name: "inference.engines",
        kind: Kind::Names,
        default: "",
        example: "native",
        doc: "Engines that may run models, the preferred one first. Empty: all of this build, chosen by measurement.",
    },
    Key {
        name: "ort.library",
        kind: Kind::File,
        default: "",
        example: "/opt/onnxruntime/lib/libonnxruntime.so",
        doc: "ONNX Runtime's shared library, for the engine ort. Empty: what the system's search finds; off: none.",
    },
    Key {
        name: "prove.rounds",
        kind: Kind::Count { min: 1, max: 100 },
        default: "3",
        example: "5",
        doc: "Rounds of measurement before a new version becomes active; it is too slow only if it is in every one.",
    },
    Key {
        name: "prove.slower_percent_max",
        kind: Kind::Count { min: 100, max: 100_000 },
        default: "125",
        example: "150",
        doc: "Share of the active version's p95 latency that a new one may take, in percent.",
    },
    Key {
        name: "prove.slower_us_max",
        kind: Kind::Count { min: 0, max: 60_000_000 },
        default: "1000",
        example: "5000",
        doc: "How much more than the active version's p95 a new one may take all the same, in microseconds.",
    },
    Key {
        name: "prove.time_s_max",
        kind: Kind::Count { min: 1, max: 3_600 },
        default: "60",
        example: "300",
        doc: "The longest that the proof of a new version on one engine may take, in seconds.",
    },
    Key {
        name: "boot.settle_s",
        kind: Kind::Count { min: 0, max: 86_400 },
        default: "10",
        example: "60",
        doc: "Seconds of serving after which a start counts as survived.",
    },
    Key {
        name: "boot.unproven_max",
        kind: Kind::Count { min: 2, max: 100 },
        default: "3",
        example: "5",
        doc: "The start, counted since the last one that was survived, at which the last good version takes over.",
    },
    Key {
        name: "install.attempts_max",
        kind: Kind::Count { min: 1, max: 1_000 },
        default: "8",
        example: "20",
        doc: "Attempts at one deployment, with growing pauses, before the agent waits for a new one or a new connection.",
    },
    Key {
        name: "install.space_bytes_max",
        kind: Kind::Count { min: 0, max: 1 << 50 },
        default: "0",
        example: "536870912",
        doc: "Bytes that all installed versions together may take in the agent's folder. 0: what the disk has.",
    },
    Key {
        name: "trust.refresh_s",
        kind: Kind::Count { min: 10, max: 2_592_000 },
        default: "3600",
        example: "600",
        doc: "Seconds between looks at the fleet's trust metadata when nothing new was announced.",
    },
    Key {
        name: "link.broker",
        kind: Kind::Broker,
        default: "",
        example: "mqtts://broker.example:8883",
        doc: "The broker to use in place of the one in the enrolment file, for a fleet whose broker has moved.",
    },
    Key {
        name: "link.answer_ms_max",
        kind: Kind::Count { min: 100, max: 600_000 },
        default: "10000",
        example: "60000",
        doc: "How long to wait for one answer of the fleet, in milliseconds; raise it on a slow connection.",
    },
    Key {
        name: "report.interval_s",
        kind: Kind::Count { min: 1, max: 86_400 },
        default: "60",
        example: "600",
        doc: "Seconds between reports to the fleet when nothing changed.",
    },
    Key {
        name: "log.level",
        kind: Kind::Choice(&["warn", "info", "debug", "trace"]),
        default: "info",
        example: "debug",
        doc: "How much `run` logs on standard error. CASK_LOG overrides it with a filter per module.",
    },
];
