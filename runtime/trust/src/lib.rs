//! Keys, signatures, DSSE envelopes and the TUF client workflow, without I/O or a clock.
