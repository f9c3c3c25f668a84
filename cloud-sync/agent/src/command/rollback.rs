//! `edge-agent rollback`

use runtime_console::{ExitCode, Failure};

use super::Context;
use crate::admin::{AdminClient, InstallReply, Request};
use crate::config::Flags;
use crate::outcome::install_reply;

/// Go back to the last good version
///
/// The version that was active before answers again, and stays until a deployment with a higher sequence than the
/// last one seen. Rolling back twice returns to where it was.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent rollback --model digits")]
pub(super) struct Args {
    /// The model; may be left out where one is installed
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let model = args.model.clone();
    let reply = match AdminClient::connect(&context.folder)? {
        Some(agent) => agent.ask::<InstallReply>(Request::Rollback { model })?,
        None => install_reply(super::status::open(context, &Flags::default())?.rollback(model)?)?,
    };
    super::install::print(context, &reply);
    Ok(ExitCode::Ok)
}
