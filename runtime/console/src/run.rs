//! From a subcommand's result to a process exit code.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use crate::output::write_line;
use crate::{ExitCode, Failure};

/// The version of the JSON error object.
const ERROR_SCHEMA: u32 = 1;

#[derive(Serialize)]
struct ErrorReport<'a> {
    schema: u32,
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: ExitCode,
    name: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// Runs `body` and turns its result into an exit code, printing `error:` and `hint:` lines on standard
/// error, and with `json` one error object on standard output.
///
/// A panic in `body` ends with [`ExitCode::Bug`] and a line that says so.
pub fn run(program: &str, json: bool, body: impl FnOnce() -> Result<ExitCode, Failure>) -> std::process::ExitCode {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(code)) => return code.into(),
        Ok(Err(failure)) => failure,
        Err(payload) => Failure::new(ExitCode::Bug, format!("a bug in {program}: {}", panic_text(payload.as_ref())))
            .with_hint("please report it with the lines above"),
    };
    report(&failure, json);
    failure.code().into()
}

fn report(failure: &Failure, json: bool) {
    let mut text = format!("error: {}", failure.message());
    if let Some(hint) = failure.hint() {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    write_line(&mut std::io::stderr().lock(), &text);
    if json {
        let code = failure.code();
        let body = ErrorBody { code, name: code.name(), message: failure.message(), hint: failure.hint() };
        let object = ErrorReport { schema: ERROR_SCHEMA, error: body };
        let text = serde_json::to_string(&object).expect("strings and numbers serialize to JSON");
        write_line(&mut std::io::stdout().lock(), &text);
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_bug() {
        let code = run("test", false, || panic!("on purpose"));
        assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::from(1)));
    }
}
