//! What a scheduling decision costs at 5,000 nodes with 20,000 pods, beside the floor of any decision that looks at every
//! node: one bare pass over a table of numbers as long.

use std::hint::black_box;

use api::{Object, Revision, kinds};
use criterion::{Criterion, criterion_group, criterion_main};
use k8s_openapi::api::core::v1::Pod;
use scheduler::{Cluster, Demand};
use serde_json::json;
use state::Snapshot;

const NODES: usize = 5_000;
const PODS: usize = 20_000;

fn world() -> Snapshot {
    let nodes = (0..NODES).map(|n| {
        let value = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": format!("node-{n:04}"), "labels": {"zone": format!("z{}", n % 3), "disk": "ssd"}},
            "status": {"allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"}}});
        Object::from_value(kinds::NODE, &value).expect("a node")
    });
    let pods =
        (0..PODS).map(|n| pod(&format!("p{n}"), &format!("rs-{}", n % 400), &format!("node-{:04}", n * 7 % NODES)));
    Snapshot::load(Revision(1), nodes.chain(pods).collect::<Vec<_>>())
}

fn pod(name: &str, owner: &str, node: &str) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "n", "ownerReferences":
            [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]},
        "spec": {"nodeName": node, "nodeSelector": {"zone": "z1"},
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]},
        "status": {"phase": "Running"}});
    Object::from_value(kinds::POD, &value).expect("a pod")
}

fn decision(criterion: &mut Criterion) {
    let view = world();
    let asking = pod("asking", "rs-7", "").decode::<Pod>().expect("a pod");
    let demand = Demand::of(&asking);
    let cluster = Cluster::of(&view);
    let floor: Vec<(i64, i64)> = (0..NODES as i64).map(|n| (n * 7919 % 8000, n * 104_729 % (16 << 30))).collect();

    let mut group = criterion.benchmark_group("decision at 5000 nodes");
    group.bench_function("floor: a pass over the table", |bench| {
        bench.iter(|| black_box(&floor).iter().filter(|(cpu, memory)| *cpu > 100 && *memory > 64 << 20).max().copied());
    });
    group.bench_function("place", |bench| bench.iter(|| cluster.place(black_box(&demand), 7)));
    group.sample_size(20);
    group.bench_function("table of 20000 pods, built once a round", |bench| {
        bench.iter(|| Cluster::of(black_box(&view)).len());
    });
    group.finish();
}

criterion_group!(benches, decision);
criterion_main!(benches);
