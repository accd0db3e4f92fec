//! Every command of kubectl, as a transcript: what is typed, and what is to be seen.
//!
//! ```text
//! $ WORDS        a command line without its `kubectl`; {dir} is a folder of the story's own
//! = LINE         a line of standard output; all of them together are all of it
//! ~ PART         standard output or error contains it
//! ! CODE         how it ends, if not with 0
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::{Cluster, Output, eventually, kubectl_is_there};

use crate::{example, with};

/// Commands that other stories type, and which.
const ELSEWHERE: [(&str, &str); 10] = [
    ("attach", "attach"),
    ("certificate", "certificates"),
    ("cp", "exec"),
    ("debug", "attach"),
    ("drain", "drain"),
    ("exec", "exec"),
    ("port-forward", "forward"),
    ("proxy", "forward"),
    ("taint", "drain"),
    ("top", "attach"),
];

/// What is typed, and what is to be seen of it.
struct Row {
    words: Vec<String>,
    lines: Vec<String>,
    parts: Vec<String>,
    code: i32,
}

fn rows(transcript: &str, folder: &Path) -> Vec<Row> {
    let transcript = transcript.replace("{dir}", &folder.display().to_string());
    let mut rows: Vec<Row> = Vec::new();
    for line in transcript.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (sign, rest) = line.split_at(1);
        let rest = rest.strip_prefix(' ').unwrap_or(rest).to_owned();
        if sign == "$" {
            rows.push(Row { words: split(&rest), lines: Vec::new(), parts: Vec::new(), code: 0 });
            continue;
        }
        let row = rows.last_mut().expect("a command comes first");
        match sign {
            "=" => row.lines.push(rest),
            "~" => row.parts.push(rest),
            "!" => row.code = rest.parse().expect("a code"),
            _ => panic!("what is {line:?}?"),
        }
    }
    rows
}

/// Words as a shell reads them; what stands in single quotes is one.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            letter => words.last_mut().expect("never empty").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

impl Row {
    /// What is not as it is to be.
    fn wrong(&self, told: &Output) -> Option<String> {
        let all = format!("{}{}", told.stdout, told.stderr);
        let lines: Vec<&str> = told.stdout.lines().collect();
        let is_right = told.code == self.code
            && (self.lines.is_empty() || lines == self.lines)
            && self.parts.iter().all(|part| all.contains(part.as_str()));
        (!is_right).then(|| {
            let words = self.words.join(" ");
            format!(
                "$ {words}\nexpected {} {:?} {:?}\nfound {} {:?} {:?}\n",
                self.code, self.lines, self.parts, told.code, told.stdout, told.stderr
            )
        })
    }

    /// How much is said of it: how it ends, and each line and part.
    fn assertions(&self) -> usize {
        1 + self.lines.len() + self.parts.len()
    }
}

fn play(cluster: &Cluster, rows: &[Row]) {
    // The editor of those commands that open one.
    let env = [("KUBE_EDITOR", "sed -i -e s/high/low/")];
    let mut wrong = Vec::new();
    for row in rows {
        let words: Vec<&str> = row.words.iter().map(String::as_str).collect();
        wrong.extend(row.wrong(&cluster.kubectl_with(&words, None, &env)));
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

fn prepare(folder: &Path) {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    let map = |name: &str, tide: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  labels:\n    set: one\ndata:\n  tide: {tide}\n"
        )
    };
    put("map.yaml", &map("map", "high"));
    put("map-2.yaml", &map("map", "slack"));
    put("bad.yaml", &map("bad", "high").replace("\ndata:", "\ndta:"));
    put("both/a.yaml", &map("a", "high"));
    put("both/b.yaml", &map("b", "high"));
    put("one/a.yaml", &map("a", "high"));
    let kustomization = "namePrefix: small-\ncommonLabels:\n  size: small\nresources:\n- map.yaml\n\
                         configMapGenerator:\n- name: made\n  literals: [tide=high]\n";
    put("kustom/kustomization.yaml", kustomization);
    put("kustom/map.yaml", &map("base", "high"));
    let key = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).expect("a certificate");
    put("tls.crt", &key.cert.pem());
    put("tls.key", &key.signing_key.serialize_pem());
}

const GENERATORS: &str = include_str!("transcript/generators.txt");
const CHANGES: &str = include_str!("transcript/changes.txt");
const FILES: &str = include_str!("transcript/files.txt");
const QUESTIONS: &str = include_str!("transcript/questions.txt");
const CONFIG: &str = include_str!("transcript/config.txt");

#[test]
fn every_command_says_what_it_says_elsewhere() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    prepare(folder.path());
    for (file, image) in [
        ("hello/hello", "hello:v1"),
        ("hello/hello", "hello:v2"),
        ("ticker/ticker", "ticker:v1"),
        ("box/box", "box:v1"),
    ] {
        cluster.coracle(&["push", &example(&format!("{file}.wasm")).display().to_string(), image]).ok();
    }
    fs::copy(cluster.kubeconfig(), folder.path().join("config")).expect("a copy");
    eventually(30, || match cluster.kubectl(&["get", "serviceaccount", "default"]) {
        told if told.code == 0 => Ok(()),
        told => Err(told.stderr),
    });
    let rows = rows(&[GENERATORS, CHANGES, FILES, QUESTIONS, CONFIG].join("\n"), folder.path());
    play(&cluster, &rows);
    let assertions: usize = rows.iter().map(Row::assertions).sum();
    assert!(assertions >= 250, "only {assertions} assertions");
}

#[test]
fn no_command_is_forgotten() {
    if !kubectl_is_there() {
        return;
    }
    let help = Output::of(with_help(), None).ok();
    let known: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "kubectl")
        .collect();
    let all = rows(&[GENERATORS, CHANGES, FILES, QUESTIONS, CONFIG].join("\n"), Path::new("/tmp"));
    let typed: BTreeSet<&str> = all.iter().map(|row| row.words[0].as_str()).collect();
    for (command, story) in ELSEWHERE {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("it/{story}.rs"));
        let told = fs::read_to_string(file).expect("a story");
        assert!(told.contains(&format!("\"{command}\"")), "{story} does not type {command}");
    }
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(command, _)| *command).collect();
    let forgotten: Vec<&&str> =
        known.iter().filter(|word| !typed.contains(**word) && !elsewhere.contains(**word)).collect();
    assert!(known.len() >= 40 && forgotten.is_empty(), "{forgotten:?} of {}", known.len());
}

fn with_help() -> std::process::Command {
    let mut command = std::process::Command::new("kubectl");
    command.arg("--help");
    command
}
