//! The power goes: whatever was acknowledged is there afterwards, and the apps come back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::{Object, kinds};
use client::{Client, Kubeconfig, ListOptions};
use harness::{Cluster, Load, Plan, eventually, get};
use serde_json::json;

use crate::{PROGRAM, example};

fn client(cluster: &Cluster) -> Client {
    let text = std::fs::read_to_string(cluster.kubeconfig()).expect("a kubeconfig");
    let target = Kubeconfig::parse(&text).and_then(|config| config.target(cluster.data())).expect("a target");
    Client::new(target)
}

#[test]
fn nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut acknowledged = BTreeSet::new();
    for round in 0..3_u64 {
        let plan = Plan::new().on(&data);
        let cluster = if round == 0 { plan.apply(example("hello")) } else { plan }.up(PROGRAM).expect("up");
        let client = client(&cluster);
        let found = runtime
            .block_on(client.list(kinds::CONFIG_MAP, Some("default"), &ListOptions::default()))
            .expect("a list")
            .0;
        let found: BTreeSet<String> = found.iter().map(|object| object.key().name().to_owned()).collect();
        let lost: Vec<&String> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "acknowledged and lost in round {round}: {lost:?}");
        eventually(30, || match get(cluster.ingress(), "hello.localhost", "/") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });

        let load = Load::start(cluster.ingress(), "hello.localhost", "/", 2);
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> =
            (0..8).map(|writer| runtime.spawn(write(client.clone(), round, writer, stop.clone()))).collect();
        // Long enough for some hundred writes, different each round.
        std::thread::park_timeout(Duration::from_millis(400 + 130 * round));
        cluster.kill().expect("killed");
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            acknowledged.extend(runtime.block_on(writer).expect("a writer does not panic"));
        }
        load.stop();
    }
    assert!(acknowledged.len() > 50, "too few writes to mean anything: {}", acknowledged.len());
}

/// Creates objects until the server is gone; gives the names of those that it acknowledged.
async fn write(client: Client, round: u64, writer: u64, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let name = format!("r{round}-w{writer}-n{number}");
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"k": "v"}});
        let object = Object::from_value(kinds::CONFIG_MAP, &value).expect("an object");
        if stop.load(Ordering::Relaxed) || client.create(&object).await.is_err() {
            break;
        }
        acknowledged.push(name);
    }
    acknowledged
}
