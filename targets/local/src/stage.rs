//! The actors: one operator, one broker, three devices, each a process with its own folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::api::Client;
use crate::layout::Layout;
use crate::programs::{Daemon, Programs};
use crate::samples::{Samples, argmax};

/// The model's name in recipe, fleet and API.
pub const MODEL: &str = "digits";

/// The channel that every device follows.
pub const CHANNEL: &str = "stable";

/// The devices of the story.
pub const DEVICE_NAMES: [&str; 3] = ["camera-1", "gateway-2", "kiosk-3"];

/// The longest that a program may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// The longest that a device may take to activate or refuse what it was told to run.
const REACTION_LIMIT: Duration = Duration::from_secs(60);

/// How often a device is asked for its state.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The largest state file of a program that is read, in bytes.
const STATE_BYTES_MAX: u64 = 64 * 1024;

/// Which broker the story runs over.
#[derive(Debug)]
pub enum Broker {
    /// The one that `fleet serve` carries.
    Embedded,
    /// Somebody else's.
    Outside(Box<dyn OutsideBroker>),
}

/// A broker that is not part of the programs, and that the story starts and kills.
pub trait OutsideBroker: std::fmt::Debug {
    /// Where it listens: `mqtts://HOST:PORT`, the same after each start.
    fn url(&self) -> String;

    /// Starts it with the certificates in `folder`: `ca.pem`, `broker.pem`, `broker.key`.
    fn start(&mut self, folder: &Path) -> Result<()>;

    /// Kills it.
    fn kill(&mut self) -> Result<()>;
}

/// One device.
#[derive(Debug)]
pub struct Device {
    /// Its name in the fleet.
    pub name: &'static str,
    /// Its folder.
    pub folder: PathBuf,
    daemon: Option<Daemon>,
    address: Option<SocketAddr>,
}

/// All actors.
#[derive(Debug)]
pub struct Stage {
    /// Where everything lies.
    pub layout: Layout,
    /// The programs.
    pub programs: Programs,
    /// The devices.
    pub devices: Vec<Device>,
    broker: Broker,
    serve: Option<Daemon>,
}

/// What asking every device about every image gave.
#[derive(Debug, Default, Clone)]
pub struct Answers {
    /// Answers whose every byte equals the saved one, from the expected artifact.
    pub equal: u64,
    /// Answers asked for.
    pub total: u64,
    /// Answers with the true label.
    pub correct: u64,
    /// How long each took.
    pub elapsed: Vec<Duration>,
}

impl Stage {
    /// Actors in `layout`, none of them running.
    pub fn new(layout: Layout, programs: Programs, broker: Broker) -> Self {
        let devices = DEVICE_NAMES
            .map(|name| Device { name, folder: layout.agent(name), daemon: None, address: None })
            .into_iter()
            .collect();
        Stage { layout, programs, devices, broker, serve: None }
    }

    /// Runs a `fleet` command on this fleet.
    pub fn fleet(&self, arguments: &[&str]) -> Result<Value> {
        let folder = self.layout.fleet();
        let folder = folder.to_str().context("the folder's name is not UTF-8")?;
        self.programs.json("fleet", [&["--dir", folder], arguments].concat())
    }

    /// Starts `fleet serve`, with its broker if the broker is its own.
    pub fn start_controller(&mut self) -> Result<()> {
        let folder = self.layout.fleet();
        let ready_file = folder.join("serve.json");
        let mut arguments = vec!["--dir".into(), folder.into_os_string(), "serve".into()];
        if let Broker::Outside(_) = &self.broker {
            let certificates = self.broker_certificates()?;
            let Broker::Outside(broker) = &mut self.broker else { unreachable!("matched above") };
            broker.start(&certificates)?;
            arguments.extend(["--broker".into(), broker.url().into()]);
        }
        let mut daemon = self.programs.daemon("fleet", arguments, &self.layout.log("fleet"))?;
        let id = u64::from(daemon.id());
        daemon.wait_until("listening", READY_LIMIT, || state_of(&ready_file, id))?;
        self.serve = Some(daemon);
        Ok(())
    }

    /// The broker's certificate, issued by the fleet's own authority at the first call.
    fn broker_certificates(&self) -> Result<PathBuf> {
        let folder = self.layout.root().join("broker");
        if !runtime_disk::exists(&folder)? {
            self.fleet(&["broker", "certificate", "--host", "127.0.0.1", "--out", path_text(&folder)?])?;
        }
        Ok(folder)
    }

    /// Kills the controller and the broker.
    pub fn kill_controller(&mut self) -> Result<()> {
        self.serve.take().context("the controller does not run")?.kill()?;
        match &mut self.broker {
            Broker::Embedded => Ok(()),
            Broker::Outside(broker) => broker.kill(),
        }
    }

    /// Enrols every device and starts its agent.
    pub fn start_devices(&mut self) -> Result<()> {
        for index in 0..self.devices.len() {
            let file = self.layout.root().join("agents").join(format!("{}.enrolment.json", self.devices[index].name));
            self.fleet(&[
                "device",
                "enroll",
                self.devices[index].name,
                "--channel",
                CHANNEL,
                "--out",
                path_text(&file)?,
            ])?;
            let folder = path_text(&self.devices[index].folder)?.to_owned();
            self.programs.json("edge-agent", ["--dir", &folder, "enroll", path_text(&file)?])?;
            self.start_device(index)?;
        }
        Ok(())
    }

    /// Starts one agent and waits for its local API.
    pub fn start_device(&mut self, index: usize) -> Result<()> {
        let device = &mut self.devices[index];
        let arguments = ["--dir", path_text(&device.folder)?, "run", "--http-listen", "127.0.0.1:0"];
        let mut daemon = self.programs.daemon("edge-agent", arguments, &self.layout.log(device.name))?;
        let state_file = device.folder.join("agent.json");
        let id = u64::from(daemon.id());
        let state = daemon.wait_until("listening", READY_LIMIT, || state_of(&state_file, id))?;
        device.address = Some(state["http"].as_str().context("agent.json names no address")?.parse()?);
        device.daemon = Some(daemon);
        Ok(())
    }

    /// Kills one agent as a power cut would.
    pub fn kill_device(&mut self, index: usize) -> Result<()> {
        self.devices[index].daemon.take().context("the agent does not run")?.kill()
    }

    /// Waits until the operator sees every device online.
    pub fn wait_enrolled(&self) -> Result<()> {
        self.wait("every device in `fleet device list`", || {
            let list = self.fleet(&["device", "list"])?;
            let devices = list["devices"].as_array().context("no list of devices")?;
            let online = |name: &str| devices.iter().any(|device| device["id"] == name && device["online"] == true);
            Ok(DEVICE_NAMES.iter().all(|name| online(name)).then_some(()))
        })
    }

    /// What `edge-agent status` says of the model on one device.
    pub fn model_status(&self, index: usize) -> Result<Value> {
        let folder = path_text(&self.devices[index].folder)?;
        let status = self.programs.json("edge-agent", ["--dir", folder, "status"])?;
        let models = status["models"].as_array().context("status lists no models")?;
        Ok(models.iter().find(|model| model["name"] == MODEL).cloned().unwrap_or(Value::Null))
    }

    /// Waits until `digest` is active on every device; returns how many.
    pub fn wait_active(&self, digest: &str) -> Result<usize> {
        for index in 0..self.devices.len() {
            let what = format!("{} active on {}", &digest[..12.min(digest.len())], self.devices[index].name);
            self.wait(&what, || {
                let model = self.model_status(index)?;
                Ok((model["active"]["digest"] == digest).then_some(()))
            })?;
        }
        Ok(self.devices.len())
    }

    /// Waits until a device refuses the deployment with `sequence`; returns the refusal.
    pub fn wait_refused(&self, index: usize, sequence: u64) -> Result<Value> {
        self.wait(&format!("deployment {sequence} refused by {}", self.devices[index].name), || {
            let model = self.model_status(index)?;
            Ok((model["refusal"]["sequence"] == sequence).then(|| model["refusal"].clone()))
        })
    }

    /// Waits until the operator sees that every device runs `digest`.
    pub fn wait_reported(&self, digest: &str) -> Result<()> {
        self.wait("every device's report in `fleet device list`", || {
            let list = self.fleet(&["device", "list"])?;
            let devices = list["devices"].as_array().context("no list of devices")?;
            let runs = |device: &Value| {
                let models = device["models"].as_array().map(Vec::as_slice).unwrap_or_default();
                models.iter().any(|model| model["name"] == MODEL && model["active"]["digest"] == digest)
            };
            Ok((devices.iter().filter(|device| runs(device)).count() == self.devices.len()).then_some(()))
        })
    }

    /// Sends the images of `range` to one device and compares every byte of every answer.
    pub fn ask(&self, index: usize, samples: &Samples, digest: &str, count: usize) -> Result<Answers> {
        let address = self.devices[index].address.context("the agent does not run")?;
        let client = Client::new(address, MODEL, &samples.input_name);
        let mut answers = Answers::default();
        for image in 0..count.min(samples.len()) {
            let answer = client.infer(&samples.shape, samples.input(image))?;
            answers.total += 1;
            answers.equal += u64::from(answer.output == samples.output(image) && answer.digest == digest);
            answers.correct += u64::from(argmax(&answer.output) == samples.label(image));
            answers.elapsed.push(answer.elapsed);
        }
        Ok(answers)
    }

    /// Asks every device about every image.
    pub fn ask_all(&self, samples: &Samples, digest: &str) -> Result<Answers> {
        let mut all = Answers::default();
        for index in 0..self.devices.len() {
            let one = self.ask(index, samples, digest, samples.len())?;
            all.equal += one.equal;
            all.total += one.total;
            all.correct += one.correct;
            all.elapsed.extend(one.elapsed);
        }
        Ok(all)
    }

    /// The local address of one device.
    pub fn address(&self, index: usize) -> Option<SocketAddr> {
        self.devices[index].address
    }

    /// Lets every program run on after this process has ended.
    pub fn keep(self) {
        let daemons = self.devices.into_iter().filter_map(|device| device.daemon).chain(self.serve);
        daemons.for_each(Daemon::keep);
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(value) = look()? {
                return Ok(value);
            }
            ensure!(
                start.elapsed() < REACTION_LIMIT,
                "gave up waiting for {what}; logs are in {}",
                self.logs().display()
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn logs(&self) -> PathBuf {
        self.layout.root().join("logs")
    }
}

/// The state file of the process `id`, once it is there; an older process's file does not count.
fn state_of(file: &Path, id: u64) -> Option<Value> {
    let bytes = runtime_disk::read_bounded(file, STATE_BYTES_MAX).ok()?;
    let state: Value = serde_json::from_slice(&bytes).ok()?;
    (state["pid"] == id).then_some(state)
}

/// A path as an argument.
pub fn path_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("the path {} is not UTF-8", path.display()))
}
