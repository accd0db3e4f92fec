//! What `up` says while it works: a line per step, alive on a terminal and plain elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The steps of one undertaking.
pub(crate) struct Progress {
    live: bool,
}

/// A step that has begun.
pub(crate) struct Step {
    bar: Option<ProgressBar>,
    what: String,
    began: Instant,
}

impl Progress {
    /// Alive when standard error is a terminal that wants colour and motion.
    pub(crate) fn new() -> Self {
        Self { live: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Begins a step.
    pub(crate) fn step(&self, what: impl Into<String>) -> Step {
        let what = what.into();
        let bar = self.live.then(|| {
            let style = ProgressStyle::with_template("  {spinner:.cyan} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style).with_message(what.clone());
            bar.enable_steady_tick(Duration::from_millis(80));
            bar
        });
        Step { bar, what, began: Instant::now() }
    }
}

/// Says something between steps.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

impl Step {
    /// Says how far it is.
    pub(crate) fn note(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {what}", self.what));
        }
    }

    /// Says what stands in its way; it goes on all the same.
    pub(crate) fn warn(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("  ! {:<24} {what}", self.what)),
            None => eprintln!("{:<24} {what}", self.what),
        }
    }

    /// Ends the step with what came of it.
    pub(crate) fn done(self, outcome: &str) {
        let line = format!("{:<24} {outcome} ({})", self.what, took(self.began.elapsed()));
        match self.bar {
            Some(bar) => {
                bar.finish_and_clear();
                eprintln!("  \u{2713} {line}");
            }
            None => eprintln!("{line}"),
        }
    }
}

fn took(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
