//! The one table of exit codes.

use serde::{Serialize, Serializer};

/// How a program ended. `distill`, `fleet`, `edge-agent` and `quickstart` share this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// What was asked for was done.
    Ok = 0,
    /// A defect in the program itself: please report it.
    Bug = 1,
    /// Wrong arguments, a wrong configuration or wrong input data.
    Usage = 2,
    /// The accuracy or size budget was not met; the best result was kept.
    BudgetNotMet = 3,
    /// A signature, digest, version or expiry check failed.
    NotTrusted = 4,
    /// A format version, operator, encoding or engine that this build does not know.
    Unsupported = 5,
    /// A host, broker, device or accelerator could not be reached or is not there.
    Unreachable = 6,
    /// The state folder is damaged beyond what can be rebuilt.
    DamagedStore = 7,
    /// The model did not prove itself on this device.
    SelfTestFailed = 8,
    /// Not enough space, or the folder is in use by another process.
    NoRoom = 9,
}

impl ExitCode {
    /// Every row of the table, in order.
    pub const ALL: [ExitCode; 10] = [
        ExitCode::Ok,
        ExitCode::Bug,
        ExitCode::Usage,
        ExitCode::BudgetNotMet,
        ExitCode::NotTrusted,
        ExitCode::Unsupported,
        ExitCode::Unreachable,
        ExitCode::DamagedStore,
        ExitCode::SelfTestFailed,
        ExitCode::NoRoom,
    ];

    /// The number that the operating system sees.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The stable name used in JSON output.
    pub fn name(self) -> &'static str {
        match self {
            ExitCode::Ok => "ok",
            ExitCode::Bug => "bug",
            ExitCode::Usage => "usage",
            ExitCode::BudgetNotMet => "budget-not-met",
            ExitCode::NotTrusted => "not-trusted",
            ExitCode::Unsupported => "unsupported",
            ExitCode::Unreachable => "unreachable",
            ExitCode::DamagedStore => "damaged-store",
            ExitCode::SelfTestFailed => "self-test-failed",
            ExitCode::NoRoom => "no-room",
        }
    }

    /// One line for the table in `--help`.
    pub fn meaning(self) -> &'static str {
        match self {
            ExitCode::Ok => "done",
            ExitCode::Bug => "a bug in the program",
            ExitCode::Usage => "wrong usage, configuration or input data",
            ExitCode::BudgetNotMet => "budget not met, best result kept",
            ExitCode::NotTrusted => "not trusted",
            ExitCode::Unsupported => "unsupported format, operator or engine",
            ExitCode::Unreachable => "unreachable or missing device",
            ExitCode::DamagedStore => "damaged store",
            ExitCode::SelfTestFailed => "self-test failed on this device",
            ExitCode::NoRoom => "no room, or in use",
        }
    }
}

impl Serialize for ExitCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_distinct_and_in_order() {
        let mut names = std::collections::BTreeSet::new();
        for (position, code) in ExitCode::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), position, "{}", code.name());
            assert!(names.insert(code.name()), "{} twice", code.name());
        }
    }
}
