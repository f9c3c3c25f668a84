//! The device's store: slots, journal, chunk index.
