//! x86-64: one file for each level, slowest first.
//!
//! A function that needs an instruction set is called only through its row of the table, which is handed out when the
//! CPU has it.
#![allow(unsafe_code)]

mod avx2;
mod avx512vnni;
mod avxvnni;
mod elementwise;
mod floats;
mod stored;
mod ymm;

pub(crate) use avx2::TABLE as AVX2;
pub(crate) use avx512vnni::TABLE as AVX512VNNI;
pub(crate) use avxvnni::TABLE as AVXVNNI;
