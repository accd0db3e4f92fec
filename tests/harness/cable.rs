//! A cable that is slow and loses some of what it carries: a few lines of C between a machine and the bridge, since not every
//! kernel has `netem`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::namespaces::ip;

/// How bad a cable is, both ways alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Badness {
    /// How long each frame takes at least.
    pub delay: Duration,
    /// How much longer it may take.
    pub jitter: Duration,
    /// Of a hundred frames so many are lost.
    pub lost_percent: u32,
    /// Which of them.
    pub seed: u64,
}

/// A bad cable in place of a good one, which is back when this goes.
#[derive(Debug)]
pub struct BadCable {
    child: Child,
    bridge: String,
    port: String,
    /// Where the program is.
    _folder: TempDir,
}

// === impl BadCable ===

impl BadCable {
    pub(crate) fn between(bridge: String, port: &str, how: Badness) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let program = folder.path().join("cable");
        compile("cable.c", &program)?;
        let tap = format!("bad{port}");
        let numbers = [how.delay.as_micros(), how.jitter.as_micros(), u128::from(how.lost_percent) * 10_000];
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &bridge]).arg(&program).args([port, &tap]);
        command.args(numbers.iter().map(ToString::to_string)).arg(how.seed.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run ip")?;
        let mut said = String::new();
        let stdout = child.stdout.take().context("it is piped")?;
        let cable = Self { child, bridge, port: port.into(), _folder: folder };
        BufReader::new(stdout).read_line(&mut said)?;
        ensure!(said.trim() == "ready", "the cable said {said:?}");
        ip(&["-n", &cable.bridge, "link", "set", port, "nomaster"]).map_err(anyhow::Error::msg)?;
        ip(&["-n", &cable.bridge, "link", "set", &tap, "master", "br0", "up"]).map_err(anyhow::Error::msg)?;
        Ok(cable)
    }
}

impl Drop for BadCable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = ip(&["-n", &self.bridge, "link", "set", &self.port, "master", "br0"]);
    }
}

/// Compiles a program of the harness.
pub(crate) fn compile(source: &str, program: &Path) -> anyhow::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness").join(source);
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-O1", "-o"]).arg(program).arg(source);
    let status = compiler.status().context("a C compiler, which building the program needs too")?;
    ensure!(status.success(), "{compiler:?} ended with {status}");
    Ok(())
}
