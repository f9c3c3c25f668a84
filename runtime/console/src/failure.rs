//! An error on its way out of a program.

use std::error::Error;
use std::fmt;

use crate::ExitCode;

/// An error that knows its row in the exit code table, and what to do next.
pub trait Classified: Error {
    /// The row of the table that this error ends the program with.
    fn exit_code(&self) -> ExitCode;

    /// What the reader can do next, as one sentence, if there is something to say.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// The error that a subcommand returns: what is printed, and the code that is exited with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: ExitCode,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with `message`, a lowercase fragment that reads after "error: ".
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), hint: None }
    }

    /// A failure of wrong usage, configuration or input data (exit 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(ExitCode::Usage, message)
    }

    /// A failure made of `error` and all its sources, joined by colons.
    pub fn from_error(error: &(dyn Error + 'static), code: ExitCode) -> Self {
        Failure::new(code, chain(error))
    }

    /// A failure made of an error that knows its own code and hint.
    pub fn classified(error: &(impl Classified + 'static)) -> Self {
        Failure { code: error.exit_code(), message: chain(error), hint: error.hint() }
    }

    /// Says what to do next. A second hint replaces the first.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts `context` in front of the message: "context: message".
    pub fn with_context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// The code that the program ends with.
    pub fn code(&self) -> ExitCode {
        self.code
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Error for Failure {}

/// Joins an error and its sources, leaving out a source whose text its parent already ends with.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to read the recipe")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("line 3: unknown key `epoch`")]
    struct Inner;

    #[test]
    fn sources_are_joined_once() {
        let failure = Failure::from_error(&Outer(Inner), ExitCode::Usage);
        assert_eq!(failure.message(), "failed to read the recipe: line 3: unknown key `epoch`");
        assert_eq!(
            failure.with_context("digits.toml").message(),
            "digits.toml: failed to read the recipe: line 3: unknown key `epoch`"
        );
    }
}
