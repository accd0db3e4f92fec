//! The loop on a real store: what is written is seen to, also what was written before the loop began.

use std::time::Duration;

use api::{Admission, FieldValidation, GroupKind, Object, Operation, catalog, kinds};
use jiff::Timestamp;
use serde_json::{Value, json};
use state::{Snapshot, Txn};
use store::Store;
use tokio::sync::oneshot;

fn admitted(kind: GroupKind, value: &Value) -> Object {
    let uid = format!("uid-{}", value["metadata"]["name"].as_str().expect("a name"));
    let admission = Admission {
        operation: Operation::Create { uid: &uid, seed: 1 },
        namespace: value["metadata"]["namespace"].as_str().unwrap_or_default(),
        validation: FieldValidation::Strict,
        duplicates: &[],
        now: Timestamp::now(),
    };
    catalog::by_kind(kind).expect("a known kind").admit(value.clone(), &admission).expect("valid").object
}

/// A node whose agent has just said that it is well.
fn node() -> Object {
    let value = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "uid-n1", "creationTimestamp": "2026-11-21T10:00:00Z"},
        "status": {"allocatable": {"cpu": "64", "memory": "64Gi", "pods": "1000"},
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": Timestamp::now().to_string()}]}});
    Object::from_value(kinds::NODE, &value).expect("a node")
}

fn deployment(replicas: u32) -> Object {
    let value = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "hello:v1"}]}}}});
    admitted(kinds::DEPLOYMENT, &value)
}

async fn propose(store: &Store, object: Object) {
    store.propose(Txn::create(object)).await.expect("a free name");
}

/// Waits for a world in which `holds`.
async fn eventually(store: &Store, what: &str, holds: impl Fn(&Snapshot) -> bool) {
    let mut view = store.view();
    let seen = tokio::time::timeout(Duration::from_secs(60), view.wait_for(|view| holds(view))).await;
    seen.unwrap_or_else(|_| panic!("not yet: {what}")).expect("the store is open");
}

fn bound(view: &Snapshot) -> usize {
    view.pods_on("n1").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_seen_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(store::Config::new(directory.path())).await.expect("a new store");
    propose(&store, admitted(kinds::NAMESPACE, &json!({"metadata": {"name": "default"}}))).await;
    propose(&store, deployment(300)).await;

    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(manager::run(manager::Config::seeded(7), store.clone(), Timestamp::now, async {
        // A sender that is gone stops the loop, too.
        let _ = stopped.await;
    }));
    eventually(&store, "every pod exists", |view| view.count(kinds::POD) == 300).await;
    assert_eq!(bound(&store.snapshot()), 0, "there is no node yet");

    propose(&store, node()).await;
    eventually(&store, "every pod has a node", |view| bound(view) == 300).await;
    eventually(&store, "the default account exists", |view| view.count(kinds::SERVICE_ACCOUNT) == 1).await;

    let key = kinds::DEPLOYMENT.key("default", "web");
    let gone = Txn::delete(store.snapshot().get(&key).expect("the deployment"));
    // Its status may be written in the same moment: a client would ask again, and so does this.
    let mut deleted = store.propose(gone).await.is_ok();
    while !deleted {
        let again = Txn::delete(store.snapshot().get(&key).expect("the deployment"));
        deleted = store.propose(again).await.is_ok();
    }
    eventually(&store, "its pods are on their way out", |view| {
        view.list(kinds::POD).all(|pod| pod.meta().is_terminating()) && view.count(kinds::REPLICA_SET) == 0
    })
    .await;

    stop.send(()).expect("it runs");
    running.await.expect("no panic").expect("a clean end");
    store.shutdown().await;
}
