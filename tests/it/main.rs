//! The stories that prove the whole: each file one, each with clusters of its own, all able to run side by side.

mod access;
mod acme;
mod admission;
mod attach;
mod audit;
mod authority;
mod autoscaling;
mod backup;
mod certificates;
mod claims;
mod clients;
mod commands;
mod created;
mod custom;
mod daemon;
mod damage;
mod drain;
mod edge;
mod edge_nodes;
mod encryption;
mod entrances;
mod evictions;
mod exec;
mod export;
mod failover;
mod first_light;
mod fleet;
mod foreign;
mod forward;
mod fuzz;
mod hook;
mod hostile;
mod invalid;
mod jobs;
mod keeping;
mod kinds;
mod kube_rs;
mod kubectl;
mod languages;
mod lifecycle;
mod linked;
mod manifests;
mod many_nodes;
mod members;
mod names;
mod namespaces;
mod narrow;
mod nodes;
mod outside;
mod placement;
mod pods;
mod policies;
mod power;
mod programs;
mod provided;
mod quota;
mod records;
mod refusals;
mod registry;
mod remote;
mod resize;
mod rollout;
mod rollout_kinds;
mod rotation;
mod saved_volumes;
mod server_side_apply;
mod services;
mod snapshots;
mod sockets;
mod stateful;
mod streams;
mod task;
mod task_environment;
mod task_files;
mod task_health;
mod task_jobs;
mod task_quotas;
mod task_resources;
mod tidy;
mod tls;
mod tokens;
mod transcript;
mod under_way;
mod unprivileged;
mod upgrades;
mod volumes;
mod web;

use std::path::{Path, PathBuf};

use harness::{Cluster, Plan};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_coracle-under-test");

/// A file or folder of the examples.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// A cluster with these examples running.
fn with(examples: &[&str]) -> Cluster {
    let plan = examples.iter().fold(Plan::new(), |plan, name| plan.apply(example(name)));
    plan.up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Applies a manifest beside the examples' components.
fn apply(cluster: &Cluster, text: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
}

/// A manifest in a file of its own, beside the examples' components.
fn manifest(folder: &Path, text: &str) -> String {
    let examples = example("").canonicalize().expect("the examples are there");
    let file = folder.join("manifest.yaml");
    std::fs::write(&file, text.replace("EXAMPLES", &examples.display().to_string()))
        .expect("the folder can be written to");
    file.display().to_string()
}
