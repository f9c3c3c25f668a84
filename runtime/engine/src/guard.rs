//! Panics end here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::EngineError;

/// Runs `work` and turns a panic into [`EngineError::Internal`].
///
/// Engines call third-party code on foreign bytes; a panic there must cost one request, not the process. The
/// caller drops whatever `work` was changing when this returns `Internal`: it may be half changed.
pub fn catch_panic<T>(engine: &str, work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err(EngineError::Internal { engine: engine.to_owned(), reason: format!("panic: {text}") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_carries_its_message() {
        let error = catch_panic::<()>("native", || panic!("index {} out of range", 7)).unwrap_err();
        assert_eq!(
            error,
            EngineError::Internal { engine: "native".into(), reason: "panic: index 7 out of range".into() }
        );
        assert_eq!(catch_panic("native", || Ok(3)), Ok(3));
    }
}
