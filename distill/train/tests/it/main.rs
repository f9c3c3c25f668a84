//! Training through the public interface.

mod families;
mod refusals;
mod support;
mod training;
