//! From the machine's answers to what a command prints and exits with.

use runtime_console::{Classified, ExitCode, Failure};
use runtime_inference::InferError;

use crate::admin::{Activated, InstallReply};
use crate::machine::{Answer, Refusal};

/// An error that knows its code, as a command's failure. Errors here read after "failed to".
pub(crate) fn failed(error: &(impl Classified + 'static)) -> Failure {
    failed_to(Failure::classified(error))
}

/// Any other error.
pub(crate) fn failed_as(error: &(dyn std::error::Error + 'static), code: ExitCode) -> Failure {
    failed_to(Failure::from_error(error, code))
}

fn failed_to(inner: Failure) -> Failure {
    let failure = Failure::new(inner.code(), format!("failed to {}", inner.message()));
    match inner.hint() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// Reasons that say "this program or device cannot", not "do not trust".
const UNSUPPORTED: [&str; 10] = [
    "unsupported-version",
    "unsupported-format",
    "unfit",
    "unknown-format",
    "unknown-element",
    "unknown-kind",
    "unknown-encoding",
    "does-not-fit",
    "no-such-file",
    "no-engine",
];

/// The exit code of a refusal: its step and reason decide.
pub(crate) fn exit_code(refusal: &Refusal) -> ExitCode {
    match refusal.step {
        _ if UNSUPPORTED.contains(&refusal.reason.as_str()) => ExitCode::Unsupported,
        6 => ExitCode::NoRoom,
        9 => ExitCode::SelfTestFailed,
        _ => ExitCode::NotTrusted,
    }
}

/// A refusal as a command's failure.
pub(crate) fn refused(refusal: &Refusal) -> Failure {
    let hint = match refusal.step {
        6 => "free space on the disk, or raise install.space_bytes_max",
        9 => "the active version goes on; the artifact does not do on this device what its maker promised",
        _ => "nothing was changed; get the artifact from its source again",
    };
    let message = format!("refused in step {} ({}): {}", refusal.step, refusal.reason, refusal.message);
    Failure::new(exit_code(refusal), message).with_hint(hint)
}

/// The answer to an install or a rollback.
pub(crate) fn install_reply(answer: Answer) -> Result<InstallReply, Failure> {
    match answer {
        Answer::Active(models) => {
            let models = models
                .iter()
                .map(|(name, version)| Activated { name: name.clone(), version: crate::status::version(version) });
            Ok(InstallReply { schema: 1, models: models.collect() })
        }
        Answer::Refused(refusal) => Err(refused(&refusal)),
        Answer::Impossible { why } => Err(Failure::usage(why)),
    }
}

/// An inference's error as a command's failure.
pub(crate) fn infer_failure(error: &InferError) -> Failure {
    let code = match error {
        InferError::UnknownModel { .. } | InferError::UnknownVersion { .. } | InferError::BadInput { .. } => {
            ExitCode::Usage
        }
        InferError::Denied { .. } => ExitCode::NotTrusted,
        _ => ExitCode::Unreachable,
    };
    Failure::new(code, format!("failed to {error}"))
}

/// What goes back over the admin socket.
pub(crate) fn value<T: serde::Serialize>(value: &T) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(value)
        .map_err(|error| Failure::new(ExitCode::Bug, format!("failed to write the answer: {error}")))
}
