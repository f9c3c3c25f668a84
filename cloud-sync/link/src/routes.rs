//! Which messages go to a receiver of their own instead of, or beside, the link's events.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::mpsc;

use crate::handle::Message;
use crate::topic_match::matches_filter;

#[derive(Debug)]
struct Route {
    id: u64,
    filter: String,
    sender: mpsc::Sender<Message>,
    /// Whether the events get the message, too.
    copies: bool,
}

#[derive(Debug, Default)]
struct Table {
    next_id: u64,
    routes: Vec<Route>,
}

/// The routes of one link.
#[derive(Debug, Default)]
pub(crate) struct Routes(Mutex<Table>);

/// What became of a message.
pub(crate) struct Routed {
    /// The events are to get it.
    pub(crate) for_events: bool,
    /// Receivers that missed it because they were full.
    pub(crate) overrun: u64,
}

impl Routes {
    fn table(&self) -> MutexGuard<'_, Table> {
        // No code panics while it holds the lock; if one did, the table would still be whole.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn add(&self, filter: String, sender: mpsc::Sender<Message>, copies: bool) -> u64 {
        let mut table = self.table();
        let id = table.next_id;
        table.next_id += 1;
        table.routes.push(Route { id, filter, sender, copies });
        id
    }

    pub(crate) fn remove(&self, id: u64) {
        self.table().routes.retain(|route| route.id != id);
    }

    /// Ends every route, which its receiver sees.
    pub(crate) fn clear(&self) {
        self.table().routes.clear();
    }

    /// Gives a message to every receiver whose filter matches.
    pub(crate) fn route(&self, message: &Message) -> Routed {
        let mut routed = Routed { for_events: true, overrun: 0 };
        let table = self.table();
        for route in table.routes.iter().filter(|route| matches_filter(&route.filter, &message.topic)) {
            routed.for_events &= route.copies;
            if route.sender.try_send(message.clone()).is_err() {
                routed.overrun += 1;
            }
        }
        routed
    }
}
