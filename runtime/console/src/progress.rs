//! Progress bars.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on standard error; silent when standard error is not a terminal.
///
/// Dropping it removes the bar from the screen.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(total: u64, label: &str, quiet: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = if total == 0 {
            ProgressBar::with_draw_target(None, target)
        } else {
            ProgressBar::with_draw_target(Some(total), target)
        };
        let template =
            if total == 0 { "{spinner} {prefix} {msg}" } else { "{prefix} [{bar:30}] {pos}/{len} {msg} {elapsed}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label.to_owned());
        Progress { bar }
    }

    /// Moves the bar to `position`.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Moves the bar by `steps`.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Shows `text` beside the bar.
    pub fn message(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// Prints a line above the bar without tearing it.
    pub fn println(&self, text: &str) {
        self.bar.suspend(|| crate::output::write_line(&mut std::io::stderr().lock(), text));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
