//! How many pods one node carries: how fast a deployment of thousands is Ready, and what a pod that nobody asks anything costs.
//!
//! `cargo bench -p tests --bench density`; `PODS` (10,000) says how many. Beside it, in the same run, what the store alone needs for
//! as many objects: the pods of a deployment that no node takes. The difference is what a node pays for a pod. `PROGRAM` names another
//! build of the program.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use api::{Key, kinds};
use client::{Client, Kubeconfig};
use harness::measure::processor_seconds;
use harness::{Cluster, Plan};
use serde_json::{Value, json};

const BUILT: &str = env!("CARGO_BIN_EXE_coracle-under-test");
/// So long nobody asks anything before memory is measured: what was needed to make the pods is let go.
const REST: Duration = Duration::from_secs(45);
/// Longest a deployment may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// The memory that pods may take in all, in KiB: the question is how many that is.
const MEMORY_KIB: f64 = 4.0 * 1024.0 * 1024.0;

fn main() -> anyhow::Result<()> {
    let pods: u64 = std::env::var("PODS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let program = std::env::var("PROGRAM").unwrap_or_else(|_| BUILT.to_owned());
    let room = (pods + 100).to_string();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hello");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    let cluster = Plan::new().apply(example).say(&["--max-pods", &room]).up(&program)?;
    let unplaced = runtime.block_on(measure(&cluster, "no-node", pods, json!({"nobody": "has-this"}), "replicas"))?;
    drop(cluster);
    let cluster = Plan::new().apply(example).say(&["--max-pods", &room]).up(&program)?;
    let ready = runtime.block_on(measure(&cluster, "ready", pods, json!({}), "readyReplicas"))?;

    println!("{:<32}{:>10}{:>12}{:>16}{:>14}", "", "seconds", "pods/s", "processor, us", "KiB a pod");
    for (name, figures) in [("stored, on no node", &unplaced), ("Ready", &ready)] {
        let Figures { took, processor, kib } = figures;
        let (each, count) = (processor / pods as f64 * 1e6, pods as f64);
        println!("{name:<32}{:>10.2}{:>12.0}{each:>16.0}{:>14.1}", took, count / took, kib / count);
    }
    let own = (ready.kib - unplaced.kib) / pods as f64;
    println!(
        "a node pays {own:.1} KiB for a pod that is Ready and idle; {:.0} pods take 4 GiB",
        MEMORY_KIB / (ready.kib / pods as f64)
    );
    Ok(())
}

struct Figures {
    took: f64,
    processor: f64,
    kib: f64,
}

/// Makes a deployment of so many pods and waits until its status counts them.
async fn measure(cluster: &Cluster, name: &str, pods: u64, selector: Value, counted: &str) -> anyhow::Result<Figures> {
    let text = fs::read_to_string(cluster.kubeconfig())?;
    let client = Client::new(Kubeconfig::parse(&text)?.target(cluster.data())?);
    let hello = client.get(&kinds::DEPLOYMENT.key("default", "hello")).await?.to_value()?;
    let image = hello["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let key = kinds::DEPLOYMENT.key("default", name);
    let labels = json!({"app": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": pods, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"nodeSelector": selector, "containers": [
                {"name": "main", "image": image, "ports": [{"containerPort": 80}]},
            ]},
        }},
    });
    let (before, used) = (resident_kib(cluster)?, processor_seconds(cluster.pid())?);
    let began = Instant::now();
    client.create(&api::Object::from_value(kinds::DEPLOYMENT, &deployment)?).await?;
    while count(&client, &key, counted).await? < pods {
        anyhow::ensure!(
            began.elapsed() < PATIENCE,
            "{} of {pods} after {PATIENCE:?}",
            count(&client, &key, counted).await?
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed().as_secs_f64();
    let processor = processor_seconds(cluster.pid())? - used;
    tokio::time::sleep(REST).await;
    Ok(Figures { took, processor, kib: resident_kib(cluster)? - before })
}

async fn count(client: &Client, key: &Key, counted: &str) -> anyhow::Result<u64> {
    Ok(client.get(key).await?.to_value()?["status"][counted].as_u64().unwrap_or(0))
}

fn resident_kib(cluster: &Cluster) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", cluster.pid()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(resident.trim().trim_end_matches(" kB").parse()?)
}
