//! The instruction sets of this build, and the choice of one for a whole process.

use runtime_kernels::{Isa, dispatch, fastest};

/// The environment variable by which a person forces an instruction set; programs read it, once.
pub const ISA_VARIABLE: &str = "CASK_ISA";

/// An instruction set that kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsaLevel {
    /// Its name.
    pub name: &'static str,
    /// Whether this CPU and operating system have it.
    pub available: bool,
}

/// Why an instruction set cannot be used. Reads after "failed to".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// No kernels have this name.
    #[error("find the instruction set {found:?}: there are {known}")]
    Unknown {
        /// As written.
        found: String,
        /// Every name, slowest first.
        known: String,
    },
    /// This CPU or its operating system lacks it.
    #[error("use the instruction set {found}: this CPU lacks it and has {available}")]
    Missing {
        /// The name.
        found: String,
        /// What this CPU has, slowest first.
        available: String,
    },
}

/// Every instruction set that kernels are written for, those of other architectures too, slowest first.
pub fn isa_levels() -> Vec<IsaLevel> {
    Isa::known().map(|isa| IsaLevel { name: isa.name(), available: dispatch(isa).is_some() }).collect()
}

/// The name of the fastest one that this CPU has.
pub fn fastest_isa() -> &'static str {
    fastest().isa.name()
}

/// Whether `name` can be forced on this machine.
pub fn check_isa(name: &str) -> Result<(), IsaError> {
    check_in(name, &isa_levels())
}

fn check_in(name: &str, levels: &[IsaLevel]) -> Result<(), IsaError> {
    let names = |only_available: bool| {
        let listed = levels.iter().filter(|level| level.available || !only_available);
        listed.map(|level| level.name).collect::<Vec<_>>().join(", ")
    };
    match levels.iter().find(|level| level.name == name) {
        None => Err(IsaError::Unknown { found: name.to_owned(), known: names(false) }),
        Some(level) if !level.available => Err(IsaError::Missing { found: name.to_owned(), available: names(true) }),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_levels_are_told_apart() {
        let levels = [("plain", true), ("wide", true), ("wider", false)];
        let levels = levels.map(|(name, available)| IsaLevel { name, available });
        assert_eq!(check_in("wide", &levels), Ok(()));
        let text = |name: &str| check_in(name, &levels).unwrap_err().to_string();
        assert_eq!(text("abacus"), "find the instruction set \"abacus\": there are plain, wide, wider");
        assert_eq!(text("wider"), "use the instruction set wider: this CPU lacks it and has plain, wide");
        assert!(matches!(check_in("", &levels), Err(IsaError::Unknown { .. })));
    }

    #[test]
    fn the_fastest_level_is_one_that_can_be_forced() {
        assert_eq!(check_isa(fastest_isa()), Ok(()));
        assert!(isa_levels().iter().any(|level| level.name == "scalar" && level.available));
    }
}
