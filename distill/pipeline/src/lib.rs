//! The program distill.
