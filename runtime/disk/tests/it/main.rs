//! What the disk promises: across crashes (on the double) and on the real file system.
#![allow(clippy::disallowed_methods, reason = "tests look at the file system from outside")]

mod crash;
mod memory;
mod real;
