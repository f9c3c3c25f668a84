//! `fleet rollout start`.

use std::time::{Duration, Instant};

use clap::Args;
use cloud_sync_protocol::ChannelId;
use runtime_console::{ExitCode, Failure, PassphraseArgs};

use super::session::Session;
use super::target::Target;
use super::{Context, now, shown};
use crate::admin::Request;
use crate::report::{Deployed, RolloutStatus};

/// The channel when none is named.
pub(super) const CHANNEL_DEFAULT: &str = "stable";
/// How often --wait looks.
const WAIT_INTERVAL: Duration = Duration::from_millis(500);

/// Deploy a version of an artifact to a channel
///
/// The channel's other models stay as they are. Devices verify it, try it on themselves, and only then use it. With
/// --wait the command ends when every device of the channel runs it (exit 0), when the last one has refused it
/// (exit 8), or when the time is over (exit 6).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleet rollout start digits@1.1.0 --channel stable --wait")]
pub(super) struct Arguments {
    /// NAME, NAME@VERSION, NAME@NUMBER or NAME@DIGEST; without a version the newest allowed one
    target: Target,
    /// The channel
    #[arg(long, value_name = "NAME", default_value = CHANNEL_DEFAULT)]
    channel: ChannelId,
    /// Use at least this sequence: after the folder was restored from a backup
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    sequence: u64,
    /// Wait until every device of the channel runs or refuses it
    #[arg(long)]
    wait: bool,
    /// How long --wait waits, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "wait")]
    timeout: u64,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) async fn run(context: &Context, arguments: Arguments) -> Result<(), Failure> {
    let mut session = Session::open(&context.folder, &arguments.passphrase).await?;
    if arguments.wait && !session.is_served() {
        return Err(Failure::new(ExitCode::Unreachable, "wait for devices: no `fleet serve` runs in this folder")
            .with_hint("start `fleet serve`, or leave --wait away"));
    }
    let Target { name, version } = arguments.target;
    let channel = arguments.channel.clone();
    let request = Request::RolloutStart { channel, name, version, sequence_min: arguments.sequence };
    let deployed: Deployed = session.call(request).await?;
    if !arguments.wait {
        context.console.data(&deployed, &shown::deployed(&deployed));
        if !session.is_served() {
            context.console.note("no `fleet serve` runs: devices hear of it when one is started");
        }
        return Ok(());
    }
    context.console.note(&shown::deployed(&deployed));
    wait(context, &mut session, &deployed, Duration::from_secs(arguments.timeout)).await
}

async fn wait(
    context: &Context,
    session: &mut Session<'_>,
    deployed: &Deployed,
    patience: Duration,
) -> Result<(), Failure> {
    let start = Instant::now();
    let mut bar: Option<runtime_console::Progress> = None;
    loop {
        let status: RolloutStatus = session.call(Request::RolloutStatus { channel: deployed.channel.clone() }).await?;
        let bar = bar.get_or_insert_with(|| context.console.progress(status.devices_total, "devices"));
        bar.set(status.active + status.refused);
        if status.sequence != deployed.sequence {
            let text =
                format!("wait for sequence {}: a newer one, {}, has replaced it", deployed.sequence, status.sequence);
            return Err(Failure::new(ExitCode::Unreachable, text));
        }
        let over = start.elapsed() >= patience;
        if status.pending == 0 || over {
            context.console.data(&status, &shown::rollout(&status, now()));
            return verdict(&status);
        }
        tokio::time::sleep(WAIT_INTERVAL).await;
    }
}

fn verdict(status: &RolloutStatus) -> Result<(), Failure> {
    let channel = &status.channel;
    if status.pending > 0 {
        let text = format!("{} of {} devices have not answered", status.pending, status.devices_total);
        return Err(Failure::new(ExitCode::Unreachable, text)
            .with_hint(format!("`fleet rollout status --channel {channel}` shows how it goes on")));
    }
    if status.refused > 0 {
        let text = format!("{} of {} devices refused it and serve what they had", status.refused, status.devices_total);
        return Err(Failure::new(ExitCode::SelfTestFailed, text)
            .with_hint(format!("`fleet rollout rollback --channel {channel}` goes back")));
    }
    Ok(())
}
