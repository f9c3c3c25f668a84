//! One test per attack, named after it; in each a control that differs only in the attack and passes.

mod author;
mod deployment;
mod envelope;
mod fleet;
mod hostile;
mod manifest;
mod metadata;
mod peer;
mod root;
mod sideload;
mod size;
mod state;
mod targets;
mod threshold;
