//! The default engine: integer regions on own kernels, tract for the rest.
