//! `edge-agent doctor`

use cloud_sync_store::{Store, StoreError};
use runtime_console::{Classified, ExitCode, Failure, human_bytes, table};
use runtime_inference::{Engines, ISA_VARIABLE, fastest_isa, isa_levels, read_machine};
use runtime_trust::TrustState;
use serde::Serialize;

use super::Context;
use crate::admin::{AdminClient, Request};
use crate::clock;
use crate::config::{Config, Flags, Origin, OrtLibrary, Settings};
use crate::folder::FolderError;
use crate::status::Status;

/// Below this the next install may not fit.
const FREE_BYTES_MIN: u64 = 256 << 20;

/// Say what is on this device, and what is wrong with it
///
/// CPU and instruction sets, memory, engines, ONNX Runtime, disk, clock, enrolment, store, connection, and where each configuration value comes from.
/// Each problem says what to do. Ends with 2 when something is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent doctor --json")]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Health {
    Ok,
    Note,
    Problem,
}

#[derive(Debug, Serialize)]
struct Finding {
    about: &'static str,
    health: Health,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct ValueShown {
    key: &'static str,
    value: String,
    origin: String,
}

#[derive(Serialize)]
struct Diagnosis {
    schema: u32,
    problems: usize,
    findings: Vec<Finding>,
    configuration: Vec<ValueShown>,
}

fn ok(about: &'static str, found: impl Into<String>) -> Finding {
    Finding { about, health: Health::Ok, found: found.into(), next: None }
}

fn note(about: &'static str, found: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { about, health: Health::Note, found: found.into(), next: Some(next.into()) }
}

fn problem(about: &'static str, found: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { about, health: Health::Problem, found: found.into(), next: Some(next.into()) }
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let (config, trouble) = configuration(context, &args.flags);
    let settings = config.as_ref().map(Config::settings);
    let engines = settings.as_ref().map_or_else(Engines::standard, Settings::open_engines);
    let mut findings = machine(&engines);
    findings.push(isa(context));
    findings.push(onnxruntime(settings.as_ref(), &engines));
    findings.push(disk(context));
    findings.extend(trouble);
    findings.extend(settings.iter().flat_map(|settings| unknown_engines(settings, &engines)));
    findings.push(enrolment(context));
    let status = match AdminClient::connect(&context.folder) {
        Ok(Some(agent)) => agent.ask::<Status>(Request::Status {}).map(Some),
        Ok(None) => Ok(None),
        Err(failure) => Err(failure),
    };
    match status {
        Ok(Some(status)) => findings.extend(running(&status)),
        Ok(None) => {
            findings.push(note("agent", "no agent runs in this folder", "`edge-agent run` starts one"));
            findings.push(store(context));
            findings.push(system_clock(context));
        }
        Err(failure) => {
            let next = failure.hint().unwrap_or("run this command as the agent's own user").to_owned();
            findings.push(problem("agent", failure.message(), next));
        }
    }
    let configuration = config.iter().flat_map(Config::rows).map(|(key, value, origin)| ValueShown {
        key: key.name,
        value: value.to_string(),
        origin: origin.describe(key),
    });
    let problems = findings.iter().filter(|finding| finding.health == Health::Problem).count();
    let diagnosis = Diagnosis { schema: 1, problems, findings, configuration: configuration.collect() };
    context.console.data(&diagnosis, &human(&diagnosis, config.as_ref()));
    Ok(if problems == 0 { ExitCode::Ok } else { ExitCode::Usage })
}

fn machine(engines: &Engines) -> Vec<Finding> {
    let profile = read_machine(engines);
    let features: Vec<&str> = profile.cpu_features.iter().map(String::as_str).collect();
    let cpu = format!("{} {}, {} cores, {}", profile.architecture, profile.os, profile.cores, features.join(" "));
    let memory = match profile.memory_bytes {
        0 => note("memory", "the system does not say how much there is", "requirements on memory are not met here"),
        bytes => ok("memory", human_bytes(bytes)),
    };
    let engines = if profile.engine_order.is_empty() {
        problem("engines", "none", "this build runs no model: build it with an engine")
    } else {
        ok("engines", profile.engine_order.join(", "))
    };
    let accelerators: Vec<String> =
        profile.accelerators.iter().map(|found| format!("{} {}", found.kind, found.name)).collect();
    let accelerators =
        if accelerators.is_empty() { "none that this build uses".to_owned() } else { accelerators.join(", ") };
    vec![ok("cpu", cpu), memory, engines, ok("accelerators", accelerators)]
}

/// The instruction set that kernels use, and those that this CPU has.
fn isa(context: &Context) -> Finding {
    let available = isa_levels().into_iter().filter(|level| level.available).map(|level| level.name);
    let available = available.collect::<Vec<_>>().join(", ");
    match &context.isa {
        Some(forced) => note(
            "isa",
            format!("{forced}; this CPU has {available}"),
            format!("{ISA_VARIABLE} forces it; without the variable it is {}", fastest_isa()),
        ),
        None => ok("isa", format!("{}; this CPU has {available}", fastest_isa())),
    }
}

/// Whether a usable library was found.
fn onnxruntime(settings: Option<&Settings>, engines: &Engines) -> Finding {
    const ABOUT: &str = "onnxruntime";
    match engines.ort_library() {
        Some(Ok(library)) => ok(ABOUT, format!("{} at {}", library.version, library.path.display())),
        Some(Err(error)) => {
            let found = format!("failed to {error}");
            let next = format!("models run on {}; ort.library names the library", engines.names().join(", "));
            match settings.map(|settings| &settings.ort_library) {
                Some(OrtLibrary::File(_)) => problem(ABOUT, found, next),
                _ => note(ABOUT, found, next),
            }
        }
        None => ok(ABOUT, "not looked for: the configuration leaves the engine ort out"),
    }
}

fn unknown_engines(settings: &Settings, engines: &Engines) -> Vec<Finding> {
    let known = engines.names();
    let unknown = settings.engines.iter().filter(|engine| !known.contains(&engine.as_str()));
    let tell = |engine: &String| {
        let next = format!("here are {}", known.join(", "));
        problem("configuration", format!("inference.engines names {engine:?}"), next)
    };
    unknown.map(tell).collect()
}

fn disk(context: &Context) -> Finding {
    let path = context.folder.path();
    if !runtime_disk::exists(path).unwrap_or(false) {
        let found = format!("{} does not exist", path.display());
        return problem("folder", found, "`edge-agent enroll FILE` makes it; --dir or CASK_AGENT_DIR names another");
    }
    match runtime_disk::free_bytes(path) {
        Ok(bytes) if bytes < FREE_BYTES_MIN => problem(
            "disk",
            format!("{} free at {}", human_bytes(bytes), path.display()),
            "free some: a new version is kept beside the active and the last good one",
        ),
        Ok(bytes) => ok("disk", format!("{} free at {}", human_bytes(bytes), path.display())),
        Err(error) => problem("disk", format!("failed to {error}"), "see that the agent's user may read the folder"),
    }
}

fn configuration(context: &Context, flags: &Flags) -> (Option<Config>, Vec<Finding>) {
    let mut findings = Vec::new();
    let unknown = crate::config::unknown_variables(&super::run::environment_names());
    for (name, near) in unknown {
        let next = near.map_or_else(|| "remove it".to_owned(), |near| format!("did you mean {near}?"));
        findings.push(note("configuration", format!("the variable {name} is no key and changes nothing"), next));
    }
    let config = Config::load(context.folder.path(), &|name| std::env::var_os(name), flags);
    match config {
        Ok(config) => {
            findings.push(ok("configuration", "every key is known"));
            (Some(config), findings)
        }
        Err(error) => {
            let next = error.hint().unwrap_or_else(|| "mend the file".to_owned());
            findings.push(problem("configuration", format!("failed to {error}"), next));
            (None, findings)
        }
    }
}

fn enrolment(context: &Context) -> Finding {
    match context.folder.enrolment() {
        Ok(enrolment) => ok(
            "enrolment",
            format!(
                "{} of fleet {} on channel {}, broker {}",
                enrolment.device, enrolment.fleet, enrolment.channel, enrolment.broker
            ),
        ),
        Err(FolderError::NotEnrolled(_)) => note(
            "enrolment",
            "this folder belongs to no fleet",
            "`edge-agent enroll FILE` joins one; `edge-agent install FILE.cask` needs none",
        ),
        Err(error) => problem("enrolment", format!("failed to {error}"), error.hint().unwrap_or_default()),
    }
}

fn store(context: &Context) -> Finding {
    if !runtime_disk::exists(context.folder.path()).unwrap_or(false) {
        return note("store", "there is none yet", "enroll first");
    }
    match Store::open(context.folder.path()) {
        Ok(store) => {
            let state = store.state();
            if !state.trust.is_empty()
                && let Err(error) = TrustState::parse(&state.trust)
            {
                let next = "move the folder aside and enroll again";
                return problem("store", format!("failed to {error}"), next);
            }
            let models = match state.models.len() {
                1 => "1 model".to_owned(),
                count => format!("{count} models"),
            };
            ok("store", format!("whole, with {models}"))
        }
        Err(StoreError::InUse { pid, .. }) => {
            let who = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            problem("store", format!("in use by {who}, which does not answer"), "stop it, or wait until it is done")
        }
        Err(error) => {
            let next = "move the folder aside and enroll again: models come back with the next deployment";
            problem("store", format!("failed to {error}"), next)
        }
    }
}

fn system_clock(context: &Context) -> Finding {
    let enrolled = context.folder.enrolment().map_or(0, |enrolment| enrolment.time);
    clock_finding(clock::system_unix(), clock::build_unix().max(enrolled))
}

fn clock_finding(system: u64, known: u64) -> Finding {
    if system < known {
        let found = format!("{system} s since 1970, {} s behind a time that is known to have been", known - system);
        return note("clock", found, "the later time is used; set the clock so that expiry is noticed in time");
    }
    ok("clock", format!("{system} s since 1970"))
}

fn running(status: &Status) -> Vec<Finding> {
    let pid = status.pid.map_or_else(String::new, |pid| format!("process {pid}, "));
    let http = status.http.as_deref().unwrap_or("no TCP address");
    let mut findings = vec![ok("agent", format!("{pid}API at {http}"))];
    findings.push(match &status.link_problem {
        _ if status.device.is_none() => ok("link", "none: not enrolled"),
        None => ok("link", "connected"),
        Some(why) => problem("link", why, "serving goes on; the agent keeps trying"),
    });
    findings.push(clock_finding(status.clock.system_unix, status.clock.used_unix));
    for model in &status.models {
        let version = model.active.as_ref().map_or("nothing", |active| active.version.as_str());
        let found = format!("{}: {} is active, {}", model.name, version, model.state);
        findings.push(match &model.refusal {
            Some(refusal) => note("model", found, format!("refused ({}): {}", refusal.reason, refusal.message)),
            None if model.active.is_none() => note("model", found, "deploy a version, or install one"),
            None => ok("model", found),
        });
    }
    findings
}

fn human(diagnosis: &Diagnosis, config: Option<&Config>) -> String {
    let mark = |health: Health| match health {
        Health::Ok => "ok",
        Health::Note => "note",
        Health::Problem => "PROBLEM",
    };
    let mut text = String::new();
    for finding in &diagnosis.findings {
        text.push_str(&format!("{:8} {:14} {}\n", mark(finding.health), finding.about, finding.found));
        if let Some(next) = &finding.next {
            text.push_str(&format!("{:23} -> {next}\n", ""));
        }
    }
    let rows: Vec<Vec<String>> = config
        .iter()
        .flat_map(|config| config.rows())
        .filter(|(_, _, origin)| *origin != Origin::Default)
        .map(|(key, value, origin)| vec![key.name.to_owned(), value.to_string(), origin.describe(key)])
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["key", "value", "from"], &rows));
    }
    text
}
