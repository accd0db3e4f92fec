//! How long a cluster of very many objects takes to be saved, and to be there again.
//!
//! `cargo bench -p tests --bench restore`; `OBJECTS` (100,000) says how many, config maps of a KiB and pods that no node takes, half
//! of each. Beside it, in the same run, what the disk alone needs to write a file of that length and have it there. `PROGRAM` names
//! another build of the program.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use api::{GroupKind, Object, kinds};
use client::{Client, Kubeconfig};
use harness::{Cluster, Output, Plan};
use serde_json::{Value, json};

const BUILT: &str = env!("CARGO_BIN_EXE_coracle-under-test");
/// Writers at one time: enough that commits are shared.
const WRITERS: usize = 64;
/// The aim, in seconds.
const AIM: f64 = 60.0;

fn main() -> anyhow::Result<()> {
    let objects: u64 = std::env::var("OBJECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let program = std::env::var("PROGRAM").unwrap_or_else(|_| BUILT.to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();

    let cluster = Plan::new().up(&program)?;
    let making = Instant::now();
    runtime.block_on(fill(&cluster, objects))?;
    println!("{objects} objects made in {:.1} s", making.elapsed().as_secs_f64());
    let saving = Instant::now();
    cluster.coracle(&["snapshot", "save", &path("all.snapshot")]).ok();
    let saved = saving.elapsed().as_secs_f64();
    std::fs::write(path("key"), cluster.coracle(&["snapshot", "key"]).ok())?;
    let bytes = std::fs::metadata(path("all.snapshot"))?.len();
    drop(cluster);

    let restoring = Instant::now();
    let data = path("again");
    let mut restore = Command::new(&program);
    restore.args(["snapshot", "restore", &path("all.snapshot"), "--key", &path("key"), "--data-dir", &data]);
    let told = Output::of(restore, None);
    ensure!(told.code == 0, "{told:?}");
    let restored = restoring.elapsed().as_secs_f64();
    let starting = Instant::now();
    let cluster = Plan::new().on(Path::new(&data)).up(&program)?;
    let started = starting.elapsed().as_secs_f64();
    drop(cluster);
    let floor = written(&path("floor"), directory_bytes(Path::new(&data))?)?;

    println!("{:<40}{:>10}{:>14}", "", "seconds", "objects/s");
    let whole = restored + started;
    for (name, took) in [
        ("saved", saved),
        ("restored", restored),
        ("and started, until it is ready", started),
        ("both", whole),
        ("the disk alone, as many bytes", floor),
    ] {
        println!("{name:<40}{took:>10.2}{:>14.0}", objects as f64 / took);
    }
    println!(
        "the file has {:.1} MiB; the aim is {AIM} s for both, which is {:.2} of it",
        bytes as f64 / 1_048_576.0,
        whole / AIM
    );
    Ok(())
}

async fn fill(cluster: &Cluster, objects: u64) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(cluster.kubeconfig())?;
    let config = Kubeconfig::parse(&text)?;
    let client = Arc::new(Client::new(config.target(Path::new("/"))?));
    let next = Arc::new(AtomicU64::new(0));
    let writers = (0..WRITERS).map(|_| {
        let (client, next) = (client.clone(), next.clone());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= objects {
                    return anyhow::Ok(());
                }
                let (kind, value) = object(number);
                client.create(&Object::from_value(kind, &value)?).await?;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.context("a writer ended")??;
    }
    Ok(())
}

fn object(number: u64) -> (GroupKind, Value) {
    let metadata = json!({"name": format!("o-{number}"), "namespace": "default"});
    if number.is_multiple_of(2) {
        let data = json!({"filling": format!("{number:016x}").repeat(64)});
        return (
            kinds::CONFIG_MAP,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}),
        );
    }
    let spec = json!({"nodeSelector": {"nobody": "has-this"}, "containers": [{"name": "c", "image": "none:v1"}]});
    (kinds::POD, json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
}

fn directory_bytes(path: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { directory_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// The time that a file of this length takes to be written and to be there.
fn written(path: &str, bytes: u64) -> anyhow::Result<f64> {
    let piece: Vec<u8> = (0..1 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let begun = Instant::now();
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        let length = left.min(piece.len() as u64);
        file.write_all(&piece[..length as usize])?;
        left -= length;
    }
    file.sync_all()?;
    Ok(begun.elapsed().as_secs_f64())
}
