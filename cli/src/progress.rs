//! How far long work has come, on standard error, if that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for work of which it is known how much there is.
pub fn bar(doing: &'static str, len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
    start(ProgressBar::new(len).with_style(style.expect("the template is right")), doing)
}

/// As [`bar`], counted in bytes.
pub fn bytes(doing: &'static str, len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}");
    start(ProgressBar::new(len).with_style(style.expect("the template is right")), doing)
}

/// For work of which it is not known how much there is.
pub fn spinner(doing: impl Into<String>) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
    start(ProgressBar::new_spinner().with_style(style.expect("the template is right")), doing)
}

/// Makes room for words on the line that a bar may be on, if standard error is a terminal.
pub fn clear_line() {
    let mut to = io::stderr().lock();
    if to.is_terminal() {
        // If standard error is closed, there is no line.
        let _ = to.write_all(b"\r\x1b[2K");
    }
}

/// Nothing of it stays on the terminal when it is dropped.
fn start(bar: ProgressBar, doing: impl Into<String>) -> ProgressBar {
    let bar = bar.with_message(doing.into()).with_finish(indicatif::ProgressFinish::AndClear);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
