//! The controller's loop: one task owns the open fleet and hears everything that can change it: the link, the admin
//! socket, the clock. Requests for objects do not pass through it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cloud_sync_link::{ChunkServer, ChunkServerSettings, Link, LinkEvent, Message};
use cloud_sync_protocol::{Filter, FleetId, Status, Topic};
use runtime_console::Failure;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::AdminCall;
use crate::answer::answer;
use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::publish::{Publication, publisher};

/// How often renewals are looked for and the device cache is saved.
const TICK: Duration = Duration::from_secs(2);
/// How long the last messages may take at the end.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
/// The group of servers that share the devices' requests.
const SERVERS: &str = "servers";

/// The time in seconds since 1970, as an argument.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Serves `fleet` over `link` until `shutdown` is ready, and gives the fleet back.
///
/// Messages are published at each connect of the link; calls of `admin` are answered one after the other.
pub async fn serve(
    mut fleet: Fleet,
    link: Link,
    mut events: mpsc::Receiver<LinkEvent>,
    mut admin: mpsc::Receiver<AdminCall>,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) -> Result<Fleet, FleetError> {
    let id = fleet.settings().fleet.clone();
    let failed = |source| FleetError::Link { url: "of this fleet".to_owned(), source };
    link.subscribe(Filter::Statuses(id.clone())).map_err(failed)?;
    let group = FleetId::parse(SERVERS).expect("the constant is a name");
    let objects = fleet.objects().clone();
    let _chunks =
        ChunkServer::start(link.clone(), ChunkServerSettings::new(id.clone(), Some(group)), move |_, request| {
            let objects = objects.clone();
            async move { answer(&objects, request).await }
        })
        .map_err(failed)?;
    fleet.renew(clock()).await?;
    let (publications, wanted) = watch::channel(Publication::default());
    let mut publication = Publication { connect: 0, messages: fleet.retained().await? };
    let publishing = tokio::spawn(publisher(link.clone(), wanted));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unsaved = false;
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            event = events.recv() => match event {
                Some(LinkEvent::Up { first }) => {
                    tracing::info!(first, "connected to the broker");
                    publication.connect += 1;
                    publications.send_replace(publication.clone());
                }
                Some(LinkEvent::Down { why }) => tracing::warn!(%why, "no connection to the broker"),
                Some(LinkEvent::NotAccepted { topic, reason }) => tracing::error!(%topic, %reason, "the broker refuses"),
                Some(LinkEvent::Message(message)) => unsaved |= hear(&mut fleet, &id, &message, clock()),
                None => break,
            },
            Some(call) = admin.recv() => {
                let position = fleet.state().position();
                let outcome = fleet.handle(call.request, clock()).await;
                if fleet.state().position() != position {
                    refresh(&fleet, &mut publication, &publications).await;
                }
                // Whoever asked may have gone.
                let _ = call.reply.send(outcome.map_err(|error| Failure::classified(&error)));
            }
            _ = ticks.tick() => {
                match fleet.renew(clock()).await {
                    Ok(true) => refresh(&fleet, &mut publication, &publications).await,
                    Ok(false) => {}
                    Err(error) => tracing::error!(%error, "signed files could not be renewed"),
                }
                if std::mem::take(&mut unsaved) && let Err(error) = fleet.save_devices() {
                    tracing::warn!(%error, "the device cache could not be saved");
                }
            }
        }
    }
    drop(publications);
    publishing.abort();
    // What cannot be sent in time is published again at the next start.
    let _ = link.flush(FLUSH_PATIENCE).await;
    link.close().await;
    fleet.save_devices()?;
    Ok(fleet)
}

async fn refresh(fleet: &Fleet, publication: &mut Publication, publications: &watch::Sender<Publication>) {
    match fleet.retained().await {
        Ok(messages) => {
            publication.messages = messages;
            if publication.connect > 0 {
                publications.send_replace(publication.clone());
            }
        }
        Err(error) => tracing::error!(%error, "the newest files could not be read for publishing"),
    }
}

/// Takes a device's report; true when it changed what is known.
fn hear(fleet: &mut Fleet, id: &FleetId, message: &Message, now: u64) -> bool {
    let device = match Topic::parse(&message.topic) {
        Ok(Topic::Status(of, device)) if of == *id => device,
        _ => return false,
    };
    let status = match Status::decode(&message.payload) {
        Ok(status) => status,
        Err(error) => {
            tracing::warn!(%device, %error, "a report is left out");
            return false;
        }
    };
    match fleet.devices_mut().observe(&device, status, now) {
        Ok(()) => true,
        Err(ignored) => {
            tracing::info!(%ignored, "a report is left out");
            false
        }
    }
}
