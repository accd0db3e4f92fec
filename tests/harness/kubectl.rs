//! The real `kubectl` against a cluster.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::Cluster;

/// What a command printed, and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Whether `kubectl` is on the PATH. Where `CORACLE_REQUIRE_KUBECTL` is set it has to be.
pub fn kubectl_is_there() -> bool {
    let there =
        Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|output| output.status.success());
    assert!(
        there || std::env::var_os("CORACLE_REQUIRE_KUBECTL").is_none(),
        "kubectl is required here and not on the PATH"
    );
    if !there {
        eprintln!("kubectl is not on the PATH: its part of the story is left out");
    }
    there
}

/// The kubectl of another version, such as `1.27`: on the PATH, or where the usual one really is.
pub fn kubectl_of(version: &str) -> Option<PathBuf> {
    let name = format!("kubectl.{version}");
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let usual = folders.iter().find_map(|folder| folder.join("kubectl").canonicalize().ok());
    let beside = usual.as_deref().and_then(Path::parent).map(Path::to_owned);
    let found = folders.into_iter().chain(beside).map(|folder| folder.join(&name)).find(|program| program.is_file());
    if found.is_none() {
        eprintln!("{name} is not here: its part of the story is left out");
    }
    found
}

// === impl Output ===

impl Output {
    /// Runs a command to its end.
    pub fn of(mut command: Command, input: Option<&str>) -> Self {
        let told = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {told}: {error}"));
        let stdin = child.stdin.take();
        let input = input.unwrap_or_default().to_owned();
        // Beside what is read: a command may write more than a pipe holds before it has read all.
        let writing = thread::spawn(move || {
            // A command that does not read its input has said why.
            stdin.map(|mut stdin| stdin.write_all(input.as_bytes()))
        });
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("cannot wait for {told}: {error}"));
        let _ = writing.join();
        Self {
            command: told,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The standard output of a command that has to succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{} failed\nstdout: {}\nstderr: {}", self.command, self.stdout, self.stderr);
        self.stdout
    }

    /// The standard error of a command that has to fail.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_ne!(self.code, 0, "{} succeeded\nstdout: {}", self.command, self.stdout);
        self.stderr
    }
}

// === impl Cluster ===

impl Cluster {
    /// Runs `kubectl` with the cluster's kubeconfig and a cache of its own.
    pub fn kubectl(&self, words: &[&str]) -> Output {
        self.kubectl_with(words, None, &[])
    }

    /// The same, with standard input.
    pub fn kubectl_in(&self, words: &[&str], input: &str) -> Output {
        self.kubectl_with(words, Some(input), &[])
    }

    /// Runs `kubectl` as somebody else: `user` is what a kubeconfig says about one.
    pub fn kubectl_as(&self, user: &Value, words: &[&str]) -> Output {
        let view = self.kubectl(&["config", "view", "--raw", "-o", "json"]).ok();
        let mut config: Value = serde_json::from_str(&view).expect("a kubeconfig");
        config["users"][0]["user"] = user.clone();
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(config.to_string().as_bytes()).expect("written");
        let path = file.path().display().to_string();
        self.kubectl(&[&["--kubeconfig", &path], words].concat())
    }

    /// The same, with more environment.
    pub fn kubectl_with(&self, words: &[&str], input: Option<&str>, env: &[(&str, &str)]) -> Output {
        let mut command = self.command(Path::new("kubectl"));
        command.args(words).envs(env.iter().copied());
        Output::of(command, input)
    }

    /// A program that finds the cluster as `kubectl` does, with a home of its own.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", self.data().join("kubectl-home"));
        command
    }
}
