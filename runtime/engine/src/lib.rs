//! The traits Engine and Session.
