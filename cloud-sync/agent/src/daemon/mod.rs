//! `edge-agent run`: the device's agent as a process that stays.
//!
//! Models answer first: the folder is opened, what is active is loaded and the API listens before anything is said
//! to the network. One thread (the director) owns the state machine and everything that changes; the async side
//! only carries: the broker, the admin socket, signals.

mod director;
mod hear;
mod report;
mod service;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use cloud_sync_link::{Link, LinkEvent, MqttSettings, Will};
use cloud_sync_protocol::{Enrolment, Topic};
use runtime_console::{Console, ExitCode, Failure};
use runtime_inference::Inference;
use runtime_serving::{ServingError, ServingLimits, ServingSettings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::admin;
use crate::device::{Device, DeviceError};
use crate::folder::{AgentFolder, FolderError};
use crate::outcome::{failed, failed_as};

pub(crate) use director::{Director, Message};

/// Messages that wait for the director.
const INBOX_MAX: usize = 256;
/// Threads that carry bytes; models have their own.
const CARRIERS: usize = 2;
/// Time for the last report to leave.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
/// Time for everything to stop, before the process ends all the same.
const STOP_MAX: Duration = Duration::from_secs(20);

/// How a daemon connects; tests connect to a broker in memory.
pub(crate) type Connect =
    Box<dyn FnOnce(MqttSettings) -> Result<(Link, mpsc::Receiver<LinkEvent>), cloud_sync_link::LinkError> + Send>;

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(device: Arc<Device>, enrolment: Option<Enrolment>, console: &Console) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CARRIERS)
        .thread_name("carrier")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitCode::NoRoom, format!("failed to start threads: {error}")))?;
    let ended = runtime.block_on(async {
        let daemon = Daemon::start(device, enrolment, Box::new(cloud_sync_link::connect)).await?;
        console.note(&daemon.ready_line());
        wait_for_signal().await?;
        tracing::info!("stopping");
        if tokio::time::timeout(STOP_MAX, daemon.stop()).await.is_err() {
            tracing::warn!("not everything stopped in time: what is on the disk is whole, ending");
        }
        Ok(ExitCode::Ok)
    });
    // A job that hangs in an engine must not keep the process.
    runtime.shutdown_timeout(GOODBYE_MAX);
    ended
}

async fn wait_for_signal() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(ExitCode::Bug, format!("failed to wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// An agent that runs.
pub(crate) struct Daemon {
    folder: AgentFolder,
    inference: Inference,
    http: Option<String>,
    serving: runtime_serving::Serving,
    inbox: mpsc::Sender<Message>,
    director: std::thread::JoinHandle<()>,
    link: Option<Link>,
    stop: watch::Sender<bool>,
}

impl Daemon {
    /// Serves what is installed, listens, and then begins to connect.
    pub(crate) async fn start(
        device: Arc<Device>,
        enrolment: Option<Enrolment>,
        connect: Connect,
    ) -> Result<Daemon, Failure> {
        let trust = device.trust()?;
        let inference = Inference::new(device.settings.inference(device.engines.clone()));
        let (inbox, messages) = mpsc::channel(INBOX_MAX);
        let (started, begun) = oneshot::channel();
        let director = Director::new(Arc::clone(&device), inference.clone(), &trust, inbox.clone());
        let shared = director.shared();
        let publications = director.publications();
        let time_seen = director.time_seen();
        let thread = director.spawn(messages, started);
        // The director says so once what is active answers, or was found not to.
        begun.await.map_err(|_| Failure::new(ExitCode::Bug, "the agent ended while it started"))?;

        let (stop, stopping) = watch::channel(false);
        let serving = listen(&device, &inference, stopping.clone())?;
        let http = serving.http_address.map(|address| address.to_string());
        let folder = device.folder.clone();
        let service =
            service::Service { inbox: inbox.clone(), shared, inference: inference.clone(), http: http.clone() };
        let socket = folder.admin_socket();
        admin::serve(&socket, Arc::new(service), stopping).map_err(|error| {
            Failure::new(ExitCode::NoRoom, format!("failed to listen on {}: {error}", socket.display()))
                .with_hint("a socket's path may have 107 bytes: use a shorter --dir")
        })?;
        folder.write_running(http.clone()).map_err(|error| failed(&FolderError::from(error)))?;

        let mut daemon = Daemon { folder, inference, http, serving, inbox, director: thread, link: None, stop };
        if let Some(enrolment) = enrolment {
            daemon.connect(&device, enrolment, connect, hear::Ears { publications, time_seen }).await;
        } else {
            tracing::info!("not enrolled: serving what is installed, without a fleet");
        }
        Ok(daemon)
    }

    /// Begins to connect. A connection that cannot even be tried is reported like one that fails.
    async fn connect(&mut self, device: &Device, enrolment: Enrolment, connect: Connect, ears: hear::Ears) {
        let boot = report::next_boot(device);
        let settings = mqtt_settings(device, enrolment, &ears, boot);
        let Some(identity) = device.identity.clone() else { return };
        let deployment = Topic::Deployment(identity.fleet.clone(), identity.channel.clone());
        let timestamp = Topic::Timestamp(identity.fleet.clone());
        let connected = connect(settings).and_then(|(link, events)| {
            link.subscribe(&deployment)?;
            link.subscribe(&timestamp)?;
            Ok((link, events))
        });
        match connected {
            Ok((link, events)) => {
                self.link = Some(link.clone());
                // The director is there until `stop`.
                let _ = self.inbox.send(Message::Connected { link, boot }).await;
                tokio::spawn(hear::hear(events, deployment, timestamp, ears, self.inbox.clone()));
            }
            Err(error) => {
                let event = crate::machine::Event::LinkDown { why: format!("failed to {error}") };
                let _ = self.inbox.send(Message::Event(event)).await;
            }
        }
    }

    /// What is printed once the agent is ready.
    pub(crate) fn ready_line(&self) -> String {
        let folder = self.folder.path().display();
        match &self.http {
            Some(http) => format!("ready: the inference API listens on http://{http}, the folder is {folder}"),
            None => format!("ready: the folder is {folder}"),
        }
    }

    /// Stops: no new requests, the running job told to stop, a last report, a goodbye to the broker.
    pub(crate) async fn stop(self) {
        // Nobody may be left to hear it.
        let _ = self.stop.send(true);
        let _ = self.inbox.send(Message::Stop).await;
        drop(self.inbox);
        let director = self.director;
        let _ = tokio::task::spawn_blocking(move || director.join()).await;
        if let Some(link) = self.link {
            if link.is_up() {
                let _ = link.flush(GOODBYE_MAX).await;
            }
            link.close().await;
        }
        self.serving.stopped().await;
        let inference = self.inference;
        let _ = tokio::task::spawn_blocking(move || inference.shutdown()).await;
        // Another start replaces them anyway.
        let _ = runtime_disk::remove_file(&self.folder.running_file());
        let _ = runtime_disk::remove_file(&self.folder.admin_socket());
    }
}

/// Starts the inference API.
fn listen(
    device: &Device,
    inference: &Inference,
    stopping: watch::Receiver<bool>,
) -> Result<runtime_serving::Serving, Failure> {
    let settings = &device.settings;
    let limits = ServingLimits { body_bytes_max: settings.body_bytes_max, ..ServingLimits::default() };
    let unix = settings.api_socket.then(|| device.folder.api_socket());
    let serving = ServingSettings { http: settings.http, unix, limits };
    runtime_serving::serve(serving, Arc::new(inference.clone()), stopping).map_err(|error| {
        let code = match error {
            ServingError::NotLoopback { .. } => ExitCode::Usage,
            _ => ExitCode::NoRoom,
        };
        let failure = failed_as(&error, code);
        match error {
            ServingError::Address { .. } => {
                failure.with_hint("--http-listen 127.0.0.1:0 takes a free port, which agent.json names")
            }
            _ => failure,
        }
    })
}

fn mqtt_settings(device: &Device, enrolment: Enrolment, ears: &hear::Ears, boot: u64) -> MqttSettings {
    let url = device.settings.broker.clone().unwrap_or(enrolment.broker);
    let time_seen = ears.time_seen.clone();
    let enrolled = enrolment.time;
    // The highest time that is known to have been: a device whose clock stands at 1970 can check certificates.
    let clock = move || {
        let seen = time_seen.load(std::sync::atomic::Ordering::Relaxed);
        crate::clock::certificates_unix(crate::clock::system_unix(), enrolled, seen)
    };
    let mut settings = MqttSettings::new(url, enrolment.device.as_str(), Arc::new(clock), device.salt());
    settings.ca_pem = enrolment.ca_pem;
    settings.certificate_pem = enrolment.certificate_pem;
    settings.key_pem = enrolment.key_pem;
    settings.will = report::will(&enrolment.fleet, &enrolment.device, boot, device.unix())
        .map(|payload| Will { topic: Topic::Status(enrolment.fleet, enrolment.device).to_string(), payload });
    settings
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        failed(&error)
    }
}
