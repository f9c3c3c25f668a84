//! A test engine with two named inputs, a dynamic batch and state.
