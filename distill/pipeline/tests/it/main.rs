//! The program `distill` as a process: exit codes, standard output, files.

mod commands;
mod hostile;
mod recipes;
mod runs;
mod support;
