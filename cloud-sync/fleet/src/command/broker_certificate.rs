//! `fleet broker certificate`.

use std::path::PathBuf;

use clap::Args;
use runtime_console::{Failure, PassphraseArgs};
use serde::Serialize;

use super::session::passphrase_for;
use super::{Context, failed, now, shown};
use crate::error::FleetError;
use crate::fleet::{Outside, open_authority};
use crate::keyring::{self, DEVICE_CA};

/// Make a server certificate for a broker of your own
///
/// It is signed by the fleet's device CA, which its devices trust already.
///
/// The folder gets ca.pem, broker.pem, broker.key (mode 0600), and a mosquitto.conf and mosquitto.acl to begin with:
/// clients need a certificate of the fleet, and each device may only use its own topics.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet broker certificate --host broker.example --host 192.0.2.7 --out broker\n  \
    mosquitto -c broker/mosquitto.conf")]
pub(super) struct Arguments {
    /// A host name or address under which devices reach the broker; may be repeated
    #[arg(long, value_name = "NAME_OR_IP", required = true)]
    host: Vec<String>,
    /// The folder; files of an earlier certificate are replaced
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    folder: PathBuf,
    hosts: Vec<String>,
    expires_unix: u64,
}

pub(super) fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let settings = Outside::read(&context.folder).map_err(failed)?.settings;
    let files = keyring::find(&context.folder.keys(), DEVICE_CA).map_err(|error| failed(FleetError::from(error)))?;
    let secret = passphrase_for(&files, DEVICE_CA, &arguments.passphrase)?;
    let authority = open_authority(&context.folder, &secret).map_err(failed)?;
    let identity = authority.server(&arguments.host, now()).map_err(|error| failed(FleetError::from(error)))?;
    let disk = |error: runtime_disk::DiskError| failed(FleetError::from(error));
    runtime_disk::create_folder(&arguments.out).map_err(disk)?;
    let place = |name: &str| arguments.out.join(name);
    runtime_disk::write_private(&place("broker.key"), identity.key_pem.as_bytes()).map_err(disk)?;
    let fleet = settings.fleet.as_str();
    let texts = [
        ("ca.pem", authority.certificate_pem().to_owned()),
        ("broker.pem", identity.certificate_pem),
        ("mosquitto.acl", access_rules(fleet)),
        ("mosquitto.conf", configuration(&arguments.out)),
    ];
    for (name, text) in texts {
        runtime_disk::write_atomic(&place(name), text.as_bytes()).map_err(disk)?;
    }
    let report = Report { schema: 1, folder: arguments.out, hosts: arguments.host, expires_unix: identity.expires };
    let human = format!(
        "{}: ca.pem, broker.pem, broker.key for {}; ends in {}",
        report.folder.display(),
        report.hosts.join(", "),
        shown::left(report.expires_unix, now()),
    );
    context.console.data(&report, &human);
    Ok(())
}

/// mosquitto's access rules. The controller may do everything in its fleet; a device reads what is published for all
/// and uses its own topics: the name in its certificate is the level in the topic.
fn access_rules(fleet: &str) -> String {
    let controller = crate::certificates::CONTROLLER_NAME;
    format!(
        "# The name of a user is the common name of the certificate (use_identity_as_username).\n\
         user {controller}\n\
         topic readwrite cask/{fleet}/#\n\n\
         pattern read cask/{fleet}/trust/#\n\
         pattern read cask/{fleet}/channel/+/deployment\n\
         pattern read cask/{fleet}/manifest/+\n\
         pattern write cask/{fleet}/device/%u/request\n\
         pattern write cask/{fleet}/device/%u/status\n\
         pattern read cask/{fleet}/device/%u/chunk\n"
    )
}

fn configuration(folder: &std::path::Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        "# Every client needs a certificate of the fleet; its name is its user name.\n\
         listener 8883\n\
         cafile {}\n\
         certfile {}\n\
         # Only its owner reads the key. Started by root, mosquitto becomes the user mosquitto, who must own it then.\n\
         keyfile {}\n\
         require_certificate true\n\
         use_identity_as_username true\n\
         allow_anonymous false\n\
         acl_file {}\n\
         # A device asks for up to 64 chunks of 56 KiB at a time.\n\
         max_inflight_messages 64\n\
         max_queued_messages 1000\n\
         set_tcp_nodelay true\n",
        path("ca.pem"),
        path("broker.pem"),
        path("broker.key"),
        path("mosquitto.acl"),
    )
}
