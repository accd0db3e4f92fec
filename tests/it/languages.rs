//! Clients of other languages, as their registries have them. What they ask is written in their own language, in `tests/clients`;
//! each prints a line for each of its checks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Cluster, Output};

use crate::with;

/// What the issue asks of each client.
const CHECKS_MIN: usize = 30;
/// Longest that registries may take to send what is asked of them.
const SETUP_PATIENCE: Duration = Duration::from_secs(900);

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Where the clients are. `CORACLE_CLIENTS_DIR` says where somebody has put them; else they are asked for here, once, and where the
/// registries cannot be reached the stories are left out, unless `CORACLE_REQUIRE_PEERS` is set.
fn clients() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| match std::env::var_os("CORACLE_CLIENTS_DIR") {
        Some(folder) => Some(folder.into()),
        None => {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
            set_up(&folder).map(|()| folder)
        }
    });
    let required = std::env::var_os("CORACLE_REQUIRE_PEERS").is_some_and(|value| !value.is_empty());
    assert!(
        found.is_some() || !required,
        "the clients of other languages are required here and could not be installed"
    );
    if found.is_none() {
        eprintln!("the clients of other languages could not be installed: their stories are left out");
    }
    found.as_deref()
}

fn set_up(folder: &Path) -> Option<()> {
    let mut command = Command::new(programs().join("setup.sh"));
    let mut child = command.arg(folder).stdin(Stdio::null()).spawn().ok()?;
    let until = Instant::now() + SETUP_PATIENCE;
    loop {
        match child.try_wait().ok()? {
            Some(status) => return status.success().then_some(()),
            None if Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            None => thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// Runs a program of checks; each of them holds.
fn check(cluster: &Cluster, mut command: Command) {
    let output = Output::of(
        {
            command.env("KUBECONFIG", cluster.kubeconfig());
            command
        },
        None,
    );
    let lines: Vec<&str> = output.stdout.lines().collect();
    let failed: Vec<&&str> = lines.iter().filter(|line| line.starts_with("not ok ")).collect();
    assert!(failed.is_empty() && output.code == 0, "{failed:#?}\n{}\nstderr: {}", output.command, output.stderr);
    let held = lines.iter().filter(|line| line.starts_with("ok ")).count();
    assert!(held >= CHECKS_MIN, "only {held} checks\n{}\nstderr: {}", output.stdout, output.stderr);
}

#[test]
fn python() {
    let Some(clients) = clients() else { return };
    let mut command = Command::new(clients.join("python/bin/python"));
    command.arg(programs().join("python/checks.py"));
    check(&with(&["box", "hello", "ticker"]), command);
}

/// An operator with a kind of its own.
#[test]
fn kopf() {
    let Some(clients) = clients() else { return };
    let mut command = Command::new(clients.join("python/bin/python"));
    command.arg(programs().join("kopf/checks.py"));
    check(&with(&[]), command);
}

#[test]
fn node() {
    let Some(clients) = clients() else { return };
    let mut command = Command::new("node");
    command.arg(programs().join("node/checks.js")).env("CLIENT_HOME", clients.join("node"));
    check(&with(&[]), command);
}
