//! The device's store: what is installed, what is being fetched, and the one file that says which is which.
//!
//! ```text
//! <folder>/lock              held while a store is open: a second opener is refused
//! <folder>/state             DeviceState, replaced as one durable step
//! <folder>/slots/<slot>/     one artifact in the variants that were wanted; <slot> is a digest in hex
//!     envelope               release's signed envelope around the manifest
//!     index-<digest>         the parts of the files' indexes
//!     <digest>               the files, each named by the digest of its bytes
//!     journal                while fetching: the chunks that have been written
//!     whole                  only when every file has its digest: from then on nothing in the slot changes
//! <folder>/chunks/           a database of where plain chunks lie; made again from the slots when it is damaged
//! ```
//!
//! **Invariants**, held by the crash tests: after a crash at any instant the state is the old one or the new one;
//! a slot that says it is whole has its bytes on the disk; nothing that the state names is removed or changed.
//! No name in an artifact ever becomes a file's name.
//!
//! What a crash may cost: after a kill no chunk that was put is fetched again; after a power cut at most the last
//! [`UNSYNCED_BYTES_MAX`] bytes are. What lies in a journal is a claim: at the next start each claimed chunk is
//! compared with its digest before it counts.
//!
//! Never here: the network, a clock, a decision about what to install or to trust.

mod candidate;
mod error;
mod index;
mod journal;
mod layout;
mod slot;
mod state;
mod store;

pub use candidate::{Candidate, ChunkNeed, IndexNeed, UNSYNCED_BYTES_MAX};
pub use error::{ErrorClass, StoreError};
pub use slot::{Slot, WantedFile};
pub use state::{DeviceState, ModelState, REFUSED_MAX, Refused, STATE_FORMAT, SlotRef};
pub use store::{Collected, Store};
