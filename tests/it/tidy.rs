//! The house rules that a machine can check: arrows between crates point down, pure crates stay pure, every example's component
//! is the one its source makes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Crates by layer, lowest first. A crate may depend on lower layers only; within layers 4 and 5 each stands alone.
const LAYERS: [&[&str]; 7] = [
    &["api", "trust"],
    &["state"],
    &["scheduler"],
    &["controllers"],
    &["store", "client", "host", "network", "dns"],
    &["apiserver", "manager", "agent", "ingress"],
    &["cli"],
];

/// Crates that neither wait nor talk, and so have no use for any of [`IMPURE`].
const PURE: [&str; 5] = ["api", "trust", "state", "scheduler", "controllers"];
const IMPURE: [&str; 12] = [
    "tokio",
    "tokio-util",
    "hyper",
    "hyper-util",
    "axum",
    "redb",
    "openraft",
    "futures",
    "rustix",
    "rand",
    "uuid",
    "wasmtime",
];

/// Who alone may know of what.
const RESERVED: [(&str, &[&str]); 5] = [
    ("openraft", &["store"]),
    ("redb", &["store"]),
    ("wasmtime", &["host"]),
    ("hickory-server", &["dns"]),
    ("instant-acme", &["cli"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The dependencies, without those of tests, that each of our crates lists.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let folders = ["control/*", "runtime/*", "dns"].into_iter().flat_map(|pattern| match pattern.strip_suffix("/*") {
        Some(parent) => {
            let entries = fs::read_dir(root().join(parent)).expect("the house stands");
            entries.map(|entry| entry.expect("readable").path()).collect()
        }
        None => vec![root().join(pattern)],
    });
    folders.map(|folder| listed(&fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest"))).collect()
}

fn listed(manifest: &str) -> (String, BTreeSet<String>) {
    let mut section = "";
    let mut name = String::new();
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = heading;
        } else if section == "package" && line.starts_with("name") {
            line.trim_matches(|letter| letter != '"').trim_matches('"').clone_into(&mut name);
        } else if section == "dependencies" && !line.is_empty() && !line.starts_with('#') {
            let word = line.split(['.', ' ', '=']).next().unwrap_or_default();
            found.insert(word.to_owned());
        }
    }
    (name, found)
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[test]
fn every_crate_has_a_layer() {
    let homeless: Vec<String> = dependencies().into_keys().filter(|name| layer(name).is_none()).collect();
    assert!(homeless.is_empty(), "crates without a layer: {homeless:?}");
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for (name, dependencies) in dependencies() {
        for other in &dependencies {
            if let (Some(from), Some(to)) = (layer(&name), layer(other))
                && to >= from
            {
                wrong.push(format!("{name} -> {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that do not point down: {wrong:?}");
}

#[test]
fn pure_crates_stay_pure() {
    let dependencies = dependencies();
    let impure = |name: &&str| {
        let found: Vec<&str> = IMPURE.into_iter().filter(|other| dependencies[*name].contains(*other)).collect();
        (!found.is_empty()).then(|| format!("{name} lists {found:?}"))
    };
    let wrong: Vec<String> = PURE.iter().filter_map(impure).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn only_one_crate_knows_each_engine() {
    for (what, who) in RESERVED {
        let knowing: Vec<String> =
            dependencies().into_iter().filter(|(_, listed)| listed.contains(what)).map(|(name, _)| name).collect();
        assert_eq!(knowing, who, "who knows {what}");
    }
}

#[test]
fn the_host_has_never_heard_of_a_pod() {
    let listed = &dependencies()["host"];
    for foreign in ["api", "state", "k8s-openapi", "client", "network"] {
        assert!(!listed.contains(foreign), "host lists {foreign}");
    }
}

#[test]
fn the_top_level_is_as_designed() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "control",
        "dns",
        "examples",
        "runtime",
        "target",
        "tests",
    ];
    let entries = fs::read_dir(root()).expect("the house stands").map(|entry| entry.expect("readable").file_name());
    let names = entries.map(|name| name.to_string_lossy().into_owned());
    let wrong: Vec<String> = names.filter(|name| !name.starts_with('.') && !allowed.contains(&name.as_str())).collect();
    assert!(wrong.is_empty(), "not of the design: {wrong:?}");
}

#[test]
fn formatting_is_as_the_formatter_has_it() {
    let formatted = std::process::Command::new("cargo").args(["fmt", "--all", "--check"]).current_dir(root()).output();
    // A toolchain without the formatter proves nothing either way; CI has it.
    if let Ok(output) = formatted {
        let told = String::from_utf8_lossy(&output.stdout);
        let missing = String::from_utf8_lossy(&output.stderr).contains("no such command");
        assert!(output.status.success() || missing, "run cargo fmt --all:\n{told}");
    }
}

#[test]
fn every_example_is_what_its_source_makes() {
    let examples = root().join("examples");
    let lock = fs::read_to_string(examples.join("components.lock")).expect("examples/components.lock");
    let mut wrong = Vec::new();
    for line in lock.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let [component, of_component, of_sources, folders] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("not a line of the lock: {line}");
        };
        if digest(&fs::read(examples.join(component)).expect("the component")) != of_component {
            wrong.push(format!("{component} is not the one that was built"));
        }
        if sources(&examples, folders) != of_sources {
            wrong.push(format!("the sources of {component} have changed since; run examples/build.sh"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The hash over a component's sources, by the rule at the head of the lock.
fn sources(examples: &Path, folders: &str) -> String {
    let mut files = vec!["Cargo.lock".to_owned(), "Cargo.toml".to_owned()];
    for folder in folders.split('+') {
        collect(examples, folder, &mut files);
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let bytes = fs::read(examples.join(&file)).expect("a source");
        hash.update(format!("{file}\0{}\0", bytes.len()));
        hash.update(bytes);
    }
    hex::encode(hash.finalize())
}

fn collect(examples: &Path, folder: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(examples.join(folder)).expect("a folder of sources") {
        let entry = entry.expect("readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        if entry.path().is_dir() {
            if name != "target" {
                collect(examples, &path, files);
            }
        } else if name == "Cargo.toml" || Path::new(&name).extension().is_some_and(|kind| kind == "rs" || kind == "wit")
        {
            files.push(path);
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
