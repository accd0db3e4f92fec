//! At the streams of commands in pods: `exec`, `cp`, a terminal.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use harness::{Cluster, Output, eventually, kubectl_is_there, kubectl_of};

use crate::with;

/// With this kubectl speaks SPDY, as all of them did before 1.30.
const SPDY: (&str, &str) = ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");

/// The slowest machine that is to pass shows something within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kubectl, and what it is told to speak.
struct Kubectl<'a> {
    cluster: &'a Cluster,
    program: PathBuf,
    env: Vec<(&'static str, &'static str)>,
}

impl Kubectl<'_> {
    fn say(&self, words: &[&str], input: Option<&str>) -> Output {
        let mut command = self.cluster.command(&self.program);
        command.args(words).envs(self.env.iter().copied());
        Output::of(command, input)
    }
}

/// Each kind of kubectl that is here: WebSockets, SPDY because it is told to, SPDY because it knows nothing else.
fn each_kubectl(cluster: &Cluster) -> Vec<Kubectl<'_>> {
    let with = |program: PathBuf, env: &[(&'static str, &'static str)]| Kubectl { cluster, program, env: env.to_vec() };
    let usual = || PathBuf::from("kubectl");
    let mut all = vec![with(usual(), &[]), with(usual(), &[SPDY])];
    all.extend(["1.27", "1.32", "1.33"].iter().filter_map(|version| Some(with(kubectl_of(version)?, &[]))));
    all
}

fn with_box() -> Cluster {
    let cluster = with(&["box", "hello"]);
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/box", "--timeout=60s"]).ok();
    cluster
}

#[test]
fn a_command_runs_in_a_container() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    for kubectl in each_kubectl(&cluster) {
        let exec = |words: &[&str], input| kubectl.say(&[&["exec"], words].concat(), input);
        assert_eq!(exec(&["box", "--", "echo", "a  b", "c"], None).ok(), "a  b c\n");
        assert_eq!(exec(&["box", "-c", "box", "--", "env", "GREETING"], None).ok(), "Ahoy\n");
        assert_eq!(exec(&["-i", "pod/box", "--", "cat"], Some("hi\nthere")).ok(), "hi\nthere");
        assert_eq!(exec(&["box", "--", "cat"], Some("nobody asked")).ok(), "");
        let three = exec(&["box", "--", "sh", "-c", "echo out; ls /nowhere || exit 3"], None);
        assert_eq!((three.code, three.stdout.as_str()), (3, "out\n"));
        assert!(three.stderr.contains("ls: /nowhere: "), "{three:?}");
        assert!(three.stderr.ends_with("command terminated with exit code 3\n"), "{three:?}");
        let server = exec(&["deploy/hello", "--", "ls"], None);
        assert_eq!(server.code, 1);
        let why = "error: Internal error occurred: error executing command in container: failed to start exec \"ls\": the \
                   component does not export wasi:cli/run, so there is no command to run in it";
        assert!(server.stderr.contains(why), "{server:?}");
        let unknown = exec(&["box", "--", "nosuch"], None);
        assert_eq!((unknown.code, unknown.stderr.lines().next()), (127, Some("nosuch: not found")));
    }
}

#[test]
fn streams_carry_whatever_size_whoever_ends_first() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    let large: String = (0..400_000).map(|number| format!("{number:07}\n")).collect();
    for kubectl in each_kubectl(&cluster) {
        let exec = |words: &[&str], input| kubectl.say(&[&["exec", "-i", "box", "--"], words].concat(), input);
        assert!(exec(&["cat"], Some(&large)).ok() == large, "three megabytes come back as they went");
        assert_eq!(exec(&["wc", "-c"], Some(&large)).ok(), "3200000\n");
        assert_eq!(exec(&["head", "-c", "7"], Some(&large)).ok(), "0000000", "a command need not read it all");
        assert_eq!(exec(&["head", "-n", "3"], Some("1\n2\n3\n4\n")).ok(), "1\n2\n3\n");
    }
}

#[test]
fn files_are_copied_both_ways() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let long = "a-name-that-is-longer-than-what-the-oldest-of-archives-have-room-for-and-that-needs-a-header-of-its-own-then.txt";
    let large: Vec<u8> = (0..2_000_000_u32).map(|number| (number % 251) as u8).collect();
    fs::create_dir_all(folder.path().join("tree/deep")).expect("a folder");
    fs::write(at("notes.txt"), &large).expect("a file");
    fs::write(at("tree/a.txt"), "a").expect("a file");
    fs::write(at(&format!("tree/deep/{long}")), "long").expect("a file");
    for (number, kubectl) in each_kubectl(&cluster).into_iter().enumerate() {
        let (there, back) = (format!("/data/{number}"), at(&format!("back-{number}")));
        let cp = |from: &str, to: &str| kubectl.say(&["cp", from, to], None).ok();
        kubectl.say(&["exec", "box", "--", "mkdir", &there], None).ok();
        cp(&at("notes.txt"), &format!("box:{there}/notes.txt"));
        cp(&at("notes.txt"), &format!("default/box:{there}"));
        cp(&at("tree"), &format!("box:{there}/tree"));
        let listed = kubectl.say(&["exec", "box", "--", "ls", &there, &format!("{there}/tree")], None).ok();
        assert_eq!(listed, "notes.txt\ntree\na.txt\ndeep\n");
        cp(&format!("box:{there}/notes.txt"), &format!("{back}/notes.txt"));
        assert!(fs::read(Path::new(&back).join("notes.txt")).expect("it is there") == large);
        cp(&format!("box:{there}/tree"), &format!("{back}/tree"));
        let deep = Path::new(&back).join("tree/deep").join(long);
        assert_eq!(fs::read_to_string(deep).expect("it is there"), "long");
        let missing = kubectl.say(&["cp", "box:/data/nothing", &format!("{back}/nothing")], None);
        assert!(missing.code != 0 || missing.stderr.contains("/data/nothing"), "{missing:?}");
    }
}

/// A terminal with a program at it: `script` is one.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn run(cluster: &Cluster, words: &str) -> Self {
        let mut command = cluster.command(Path::new("script"));
        command.args(["-qec", words, "/dev/null"]).env("TERM", "xterm");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("script is part of every system");
        let (keys, mut screen) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (show, shown) = mpsc::channel();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut piece) {
                let _ = show.send(piece[..read].to_vec());
            }
        });
        Self { child, keys, shown, seen: String::new() }
    }

    /// Waits until this has been shown since the last time.
    fn see(&mut self, text: &str) {
        while !self.seen.contains(text) {
            match self.shown.recv_timeout(PATIENCE) {
                Ok(piece) => self.seen.push_str(&String::from_utf8_lossy(&piece)),
                Err(error) => panic!("{text:?} was not seen ({error}), but {:?}", self.seen),
            }
        }
        self.seen.clear();
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("somebody sits there");
    }

    /// The exit code.
    fn end(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

#[test]
fn a_shell_at_a_terminal() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    let mut terminal = Terminal::run(&cluster, "kubectl exec -it box -- sh");
    terminal.see("$ ");
    terminal.press("tty\r");
    terminal.see("stdin: tty, stdout: tty, stderr: tty\r\n$ ");
    // What is typed is edited, and only then said.
    terminal.press("echo $GREETINX\u{7f}G tide\r");
    terminal.see("Ahoy tide\r\n$ ");
    terminal.press("exit 7\r");
    assert_eq!(terminal.end(), Some(7));
    let mut terminal = Terminal::run(&cluster, "kubectl exec -it box -- sh -c 'echo waiting; sleep infinity'");
    terminal.see("waiting\r\n");
    terminal.press("\u{3}");
    terminal.see("^C");
    assert_eq!(terminal.end(), Some(130));
    let mut terminal = Terminal::run(&cluster, "kubectl exec -it box -- cat");
    terminal.press("tide\r");
    terminal.see("tide\r\ntide\r\n");
    terminal.press("\u{4}");
    assert_eq!(terminal.end(), Some(0));
    let piped = cluster.kubectl(&["exec", "box", "--", "tty"]);
    assert_eq!((piped.code, piped.stdout.as_str()), (1, "stdin: not a tty, stdout: not a tty, stderr: not a tty\n"));
}

#[test]
fn what_cannot_be_entered_is_said_in_words() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_box();
    let raw = |path: &str| {
        let told = cluster.kubectl(&["get", "--raw", &format!("/api/v1/namespaces/default/pods/{path}")]);
        (told.code, told.stderr)
    };
    let check = |path: &str, words: &str| {
        let (code, told) = raw(path);
        assert!(code == 1 && told.contains(words), "{path}: {told}");
    };
    check("nobody/exec?command=ls&stdout=true", "pods \"nobody\" not found");
    check("box/exec?command=ls&stdout=true&container=x", "container x is not valid for pod box");
    check("box/exec?command=ls", "you must specify at least 1 of stdin, stdout, stderr");
    check("box/exec?stdout=true", "you must specify at least one command for the container");
    check("box/exec?command=ls&stdout=true", "Upgrade request required");
    check("box/attach?stdout=true", "Upgrade request required");
    let waiting = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"none\"},\"spec\":{\"containers\":[{\"name\":\"main\",\
                   \"image\":\"nobody:v9\"}]}}";
    cluster.kubectl_in(&["apply", "-f", "-"], waiting).ok();
    eventually(60, || {
        let told = cluster.kubectl(&["exec", "none", "--", "ls"]).refused();
        if told.contains("container not found (\"main\")") { Ok(()) } else { Err(told) }
    });
}
