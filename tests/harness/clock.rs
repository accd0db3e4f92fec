//! A machine's clock that a story sets: the program is the real one, and asks the C library for the time as always; in front of that
//! lies a few lines of C that add to its answer.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

/// The clock of everything that is started with it.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
    /// Seconds by which it is ahead, or behind.
    ahead: i64,
}

// === impl Clock ===

impl Clock {
    /// A clock that is right, for now.
    pub fn new() -> anyhow::Result<Self> {
        let clock = Self { folder: TempDir::new()?, ahead: 0 };
        clock.write()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/clock.c");
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clock.library()).arg(source);
        let status = compiler.status().context("a C compiler, which building the program needs too")?;
        if !status.success() {
            bail!("{compiler:?} ended with {status}");
        }
        Ok(clock)
    }

    /// Has the clock be ahead by so much more.
    pub fn advance(&mut self, by: Duration) {
        self.jump(i64::try_from(by.as_secs()).unwrap_or_else(|_| panic!("{by:?} is too far")));
    }

    /// Has the clock be ahead by so many seconds more, or less.
    pub fn jump(&mut self, seconds: i64) {
        self.ahead += seconds;
        self.write().unwrap_or_else(|error| panic!("the clock was not set: {error:#}"));
    }

    /// What a command that goes by this clock has in its environment.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.library()), ("TEST_CLOCK", self.file())]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ahead")
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("clock.so")
    }

    /// In place: whoever has mapped the file sees it at once.
    fn write(&self) -> anyhow::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.file());
        file?.write_all(&self.ahead.to_ne_bytes())?;
        debug_assert_eq!(fs::metadata(self.file())?.len(), 8, "one number");
        Ok(())
    }
}
