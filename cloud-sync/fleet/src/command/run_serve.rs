//! `fleet serve`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use cloud_sync_link::{MqttSettings, connect};
use cloud_sync_protocol::BrokerUrl;
use runtime_console::{Failure, PassphraseArgs};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::session::passphrase_for;
use super::{Context, failed, now};
use crate::admin::AdminSocket;
use crate::certificates::Identity;
use crate::error::FleetError;
use crate::fleet::{Fleet, read_text};
use crate::remembered::{BrokerAddress, RememberedBroker};
use crate::serve::serve;
use crate::settings::BrokerSettings;

/// How long the first connection may take before the operator is told; trying goes on.
const FIRST_CONNECT: Duration = Duration::from_secs(5);

/// Run the controller of the fleet until it is told to end
///
/// It publishes trust files, deployments and manifests at each connect, answers devices that ask for chunks, collects
/// what they report, and renews the signatures of the deploy key before they end. Other `fleet` commands reach it
/// through the admin socket in the fleet folder. It opens the deploy key and the device CA's key; the release and
/// root keys are never needed here.
///
/// Without --broker, and without a [broker] section in fleet.toml, it starts an embedded broker on loopback: for
/// trying out on one machine. That one has no access control: any enrolled device may read and write any topic.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fleet serve\n  fleet serve --broker mqtts://broker.example:8883")]
pub(super) struct Arguments {
    /// A broker that somebody else runs
    #[arg(long, value_name = "URL")]
    broker: Option<BrokerUrl>,
    /// PEM file with the authority that signed the broker's certificate [default: the device CA]
    #[arg(long, value_name = "FILE", requires = "broker")]
    ca: Option<PathBuf>,
    /// PEM file with the controller's certificate [default: made by the device CA]
    #[arg(long, value_name = "FILE", requires = "broker", requires = "key")]
    cert: Option<PathBuf>,
    /// PEM file with the controller's private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// What `serve.json` and `--json` say.
#[derive(Serialize)]
struct Ready {
    schema: u32,
    pid: u32,
    fleet: String,
    broker: String,
    embedded: bool,
    admin_socket: PathBuf,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let files = Fleet::service_keys(&context.folder).map_err(failed)?;
    let mut fleet = Fleet::open(&context.folder).await.map_err(failed)?;
    let secret = passphrase_for(&files, "deploy", &arguments.passphrase)?;
    fleet.unlock_deploy(&secret).map_err(failed)?;
    fleet.unlock_authority(&secret).map_err(failed)?;
    remove_leftover(&context.folder.serve()).map_err(failed)?;
    let outside = outside_broker(&arguments, &fleet);
    let embedded = outside.is_none();
    let mut settings = match outside {
        Some(broker) => outside_settings(&fleet, &broker, context).map_err(failed)?,
        None => embedded_settings(&mut fleet).await.map_err(failed)?,
    };
    settings.seed = seed();
    let address = BrokerAddress { url: settings.url.clone(), ca_pem: settings.ca_pem.clone() };
    let remembered = RememberedBroker { last: Some(address), ..fleet.broker().clone() };
    fleet.remember_broker(remembered).map_err(failed)?;
    let url = settings.url.to_string();
    // Before the broker is waited for: other commands wait for their answer instead of finding the folder in use.
    let (socket, calls) = AdminSocket::listen(&context.folder).map_err(|error| failed(FleetError::from(error)))?;
    let (link, events) = connect(settings).map_err(|source| failed(FleetError::Link { url: url.clone(), source }))?;
    match link.wait_until_up(FIRST_CONNECT).await {
        Ok(()) => {}
        Err(source) if source.needs_a_person() => return Err(failed(FleetError::Link { url, source })),
        Err(why) => context.console.warn(&format!("no connection to {url} yet ({why}); trying on")),
    }
    let ready = Ready {
        schema: 1,
        pid: std::process::id(),
        fleet: fleet.settings().fleet.to_string(),
        broker: url,
        embedded,
        admin_socket: context.folder.socket(),
    };
    announce(context, &ready).map_err(failed)?;
    let outcome = serve(fleet, link, events, calls, Arc::new(now), end_signal()?).await;
    drop(socket);
    let removed = remove_leftover(&context.folder.serve());
    outcome.map_err(failed)?;
    removed.map_err(failed)
}

fn outside_broker(arguments: &Arguments, fleet: &Fleet) -> Option<BrokerSettings> {
    match &arguments.broker {
        Some(url) => Some(BrokerSettings {
            url: url.clone(),
            ca: arguments.ca.clone(),
            certificate: arguments.cert.clone(),
            key: arguments.key.clone(),
        }),
        None => fleet.settings().broker.clone().map(|broker| {
            // Paths in fleet.toml are relative to it; `join` keeps absolute ones.
            let place = |path: PathBuf| fleet.folder().path().join(path);
            BrokerSettings {
                url: broker.url,
                ca: broker.ca.map(place),
                certificate: broker.certificate.map(place),
                key: broker.key.map(place),
            }
        }),
    }
}

/// The controller's client id: several controllers may be connected at a time.
fn client_id(fleet: &Fleet) -> String {
    format!("_fleet-{}-{:08x}", fleet.settings().fleet, seed() as u32)
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Only spreads the moments of reconnects; the process number does as well.
    if getrandom::fill(&mut bytes).is_err() {
        return u64::from(std::process::id());
    }
    u64::from_le_bytes(bytes)
}

fn outside_settings(fleet: &Fleet, broker: &BrokerSettings, context: &Context) -> Result<MqttSettings, FleetError> {
    let mut settings = MqttSettings::new(broker.url.clone(), client_id(fleet), Arc::new(now), 0);
    settings.ca_pem = match &broker.ca {
        Some(path) => read_text(path)?,
        None => fleet.authority()?.certificate_pem().to_owned(),
    };
    match (&broker.certificate, &broker.key) {
        (Some(certificate), Some(key)) => {
            settings.certificate_pem = read_text(certificate)?;
            settings.key_pem = read_text(key)?;
        }
        (None, None) => identify(&mut settings, fleet.authority()?.controller(now())?),
        _ => {
            return Err(FleetError::Usage {
                message: "use the controller's certificate: certificate and key go together".to_owned(),
                hint: "name both or none in fleet.toml".to_owned(),
            });
        }
    }
    if !broker.url.is_encrypted() {
        context.console.warn("the broker is not encrypted: whoever is on the path reads and changes every message");
    }
    Ok(settings)
}

fn identify(settings: &mut MqttSettings, identity: Identity) {
    settings.certificate_pem = identity.certificate_pem;
    settings.key_pem = identity.key_pem.to_string();
}

/// Starts the embedded broker with a new certificate and returns how to reach it.
#[cfg(feature = "embedded-broker")]
async fn embedded_settings(fleet: &mut Fleet) -> Result<MqttSettings, FleetError> {
    let port = fleet.embedded_port()?;
    let folder = fleet.folder().clone();
    let (certificate, key) = (folder.tls().join("server.pem"), folder.tls().join("server.key"));
    let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let server = fleet.authority()?.server(&hosts, now())?;
    runtime_disk::write_atomic(&certificate, server.certificate_pem.as_bytes())?;
    runtime_disk::write_private(&key, server.key_pem.as_bytes())?;
    crate::broker::start(port, &folder.device_ca(), &certificate, &key).await?;
    let url = BrokerUrl::encrypted("127.0.0.1", port)?;
    let mut settings = MqttSettings::new(url, client_id(fleet), Arc::new(now), 0);
    settings.ca_pem = fleet.authority()?.certificate_pem().to_owned();
    identify(&mut settings, fleet.authority()?.controller(now())?);
    Ok(settings)
}

#[cfg(not(feature = "embedded-broker"))]
async fn embedded_settings(fleet: &mut Fleet) -> Result<MqttSettings, FleetError> {
    fleet.embedded_port().map(|_| unreachable!("a build without the embedded broker has no port"))
}

fn announce(context: &Context, ready: &Ready) -> Result<(), FleetError> {
    let bytes = serde_json::to_vec(ready).expect("texts and numbers serialize to JSON");
    runtime_disk::write_atomic(&context.folder.serve(), &bytes)?;
    let human = format!("fleet {} serves over {} (process {})", ready.fleet, ready.broker, ready.pid);
    context.console.data(ready, &human);
    if ready.embedded {
        context.console.note(
            "The embedded broker listens on loopback only and has no access control: any enrolled device may use any \
             topic. It is for trying out; name a broker with --broker for everything else.",
        );
    }
    Ok(())
}

fn remove_leftover(path: &Path) -> Result<(), FleetError> {
    match runtime_disk::remove_file(path) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

fn end_signal() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::from_error(&error, runtime_console::ExitCode::NoRoom));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
