//! The program fleet.
