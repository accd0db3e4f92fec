use std::path::Path;

use api::{Object, kinds};
use serde_json::json;
use state::Change;

use super::*;

fn config_map(name: &str, value: &str) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}")},
        "data": {"value": value}});
    Object::from_value(kinds::CONFIG_MAP, &value).expect("a config map")
}

async fn open(directory: &Path) -> Store {
    Store::open(Config::new(directory)).await.expect("the store opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_there_after_a_restart_and_watches_resume() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let member = store.member();
    for name in ["a", "b", "c"] {
        store.propose(Txn::create(config_map(name, "1"))).await.expect("created");
    }
    store
        .propose(Txn::default().put(config_map("a", "2")).remove(kinds::CONFIG_MAP.key("n", "b")))
        .await
        .expect("written");
    let before = store.snapshot();
    assert_eq!(before.revision(), Revision(5));
    store.shutdown().await;
    assert_eq!(store.propose(Txn::default()).await.err(), Some(ProposeError::Closed));
    drop(store);

    let store = open(directory.path()).await;
    assert_eq!(store.member(), member);
    assert_eq!(store.snapshot().revision(), Revision(5));
    assert!(store.snapshot().objects().eq(before.objects()));
    let mut watch = store.subscribe(Some(kinds::CONFIG_MAP), Revision(3)).expect("the past survives");
    let events = watch.next().await.expect("events");
    assert_eq!(events.iter().map(|event| event.revision.0).collect::<Vec<_>>(), [4, 5]);
    assert!(matches!(&events[0].change, Change::Modified { before, .. } if before.revision() == Revision(1)));
    assert!(matches!(&events[1].change, Change::Deleted { before, .. } if before.revision() == Revision(2)));
    store.shutdown().await;
}
