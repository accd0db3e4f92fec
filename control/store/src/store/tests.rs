use std::path::Path;

use api::{Object, kinds};
use proptest::prelude::*;
use serde_json::json;
use state::{Change, Conflict, Guard};

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
    let mut watch = store.subscribe(kinds::CONFIG_MAP, Revision(3)).expect("the past survives");
    let events = watch.next().await.expect("events");
    assert_eq!(events.iter().map(|event| event.revision.0).collect::<Vec<_>>(), [4, 5]);
    assert!(matches!(&events[0].change, Change::Modified { before, .. } if before.revision() == Revision(1)));
    assert!(matches!(&events[1].change, Change::Deleted { before, .. } if before.revision() == Revision(2)));
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_want_one_name_one_gets_it_and_all_see_it_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let proposals = (0..64).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let outcome = store.propose(Txn::create(config_map("a", &number.to_string()))).await;
            // Whoever is answered sees the world of the answer, and so does everybody else.
            assert!(store.snapshot().get(&kinds::CONFIG_MAP.key("n", "a")).is_some());
            outcome
        })
    });
    let mut outcomes = Vec::new();
    for proposal in proposals.collect::<Vec<_>>() {
        outcomes.push(proposal.await.expect("an outcome"));
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let taken = ProposeError::Conflict(Conflict::Exists(kinds::CONFIG_MAP.key("n", "a")));
    assert!(outcomes.into_iter().filter_map(Result::err).all(|error| error == taken));
    assert_eq!(store.snapshot().revision(), Revision(1));
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_nothing_is_still_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    store.propose(Txn::create(config_map("a", "1"))).await.expect("created");
    for txn in [
        Txn::default(),
        Txn::default().put(config_map("a", "1")),
        Txn::default().remove(kinds::CONFIG_MAP.key("n", "b")),
    ] {
        let committed = store.propose(txn).await.expect("acknowledged");
        assert!(committed.events.is_empty());
        assert_eq!(committed.revision, Revision(1));
    }
    assert_eq!(store.read().await.expect("a sole member leads").revision(), Revision(1));
    store.shutdown().await;
    assert_eq!(store.read().await.err(), Some(ReadError::Closed));
}

/// Writes (name, content) or deletes (no content), guarded by absence or not.
fn txns() -> impl Strategy<Value = Vec<Txn>> {
    let txn = ("[a-f]", prop::option::of(0..99_u8), any::<bool>()).prop_map(|(name, content, guarded)| {
        let key = kinds::CONFIG_MAP.key("n", &name);
        let txn = if guarded { Txn::default().guard(Guard::Absent(key.clone())) } else { Txn::default() };
        match content {
            Some(content) => txn.put(config_map(&name, &content.to_string())),
            None => txn.remove(key),
        }
    });
    prop::collection::vec(txn, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    /// The log makes up for everything that the image has not: none of it, or all since some moment.
    #[test]
    fn replaying_the_log_gives_the_same_world(early in txns(), late in txns()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (directory, copy) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let image = directory.path().join("image.redb");
        let propose = async |store: &Store, txns: Vec<Txn>| {
            for txn in txns {
                let outcome = store.propose(txn).await;
                assert!(matches!(outcome, Ok(_) | Err(ProposeError::Conflict(_))));
            }
        };
        let outcome = runtime.block_on(async {
            let store = open(directory.path()).await;
            propose(&store, early).await;
            store.shutdown().await;
            std::fs::copy(&image, copy.path().join("early")).expect("copied");

            let store = open(directory.path()).await;
            let resumed = store.snapshot().revision();
            propose(&store, late).await;
            let expected = store.snapshot();
            store.shutdown().await;
            for early in [Some(copy.path().join("early")), None] {
                std::fs::remove_file(&image).expect("there");
                let base = if early.is_some() { resumed } else { Revision::ZERO };
                if let Some(early) = early {
                    std::fs::copy(early, &image).expect("copied");
                }
                let store = open(directory.path()).await;
                let world = store.snapshot();
                let events = store.subscribe(crate::Interest::All, base).and_then(|mut watch| watch.ready()).expect("all of it is known");
                store.shutdown().await;
                prop_assert_eq!(world.revision(), expected.revision());
                prop_assert!(world.objects().eq(expected.objects()));
                prop_assert_eq!(events.len() as u64, expected.revision().0 - base.0);
            }
            Ok(())
        });
        outcome?;
    }
}

/// All files below a directory, as one heap of bytes.
fn heap(directory: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        bytes.extend(if path.is_dir() { heap(&path) } else { std::fs::read(&path).expect("a file") });
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_disk_tells_a_secret_and_a_new_key_takes_the_place_of_the_old() {
    const CANARY: &str = "canary-5b1f0c";
    let directory = tempfile::tempdir().expect("a directory");
    let secret = |name: &str| {
        let value = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n"},
            "stringData": {"word": CANARY}});
        api::Object::from_value(api::kinds::SECRET, &value).expect("a secret")
    };
    let tells = || heap(directory.path()).windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    let store = open(directory.path()).await;
    store.propose(Txn::create(secret("one"))).await.expect("written");
    let first = store.keys().await;
    let rotated = store.rotate_keys().await.expect("rotated");
    assert_eq!((rotated.retired, store.keys().await), (first, vec![rotated.key]));
    store.propose(Txn::create(secret("two"))).await.expect("written");
    assert!(!tells(), "while it runs");
    let world = store.snapshot();
    store.shutdown().await;
    assert!(!tells(), "when it is closed");

    let store = open(directory.path()).await;
    assert!(store.snapshot().objects().eq(world.objects()));
    store.shutdown().await;
    std::fs::remove_file(directory.path().join("keys.json")).expect("it was there");
    let refused = Store::open(Config::new(directory.path())).await.expect_err("no other key opens it");
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_while_everybody_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..40 {
                    let value = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
                        "metadata": {"name": format!("c{writer}-{}", round % 5), "namespace": "n"}, "data": {"round": round.to_string()}});
                    let object = api::Object::from_value(api::kinds::CONFIG_MAP, &value).expect("a config map");
                    store.propose(Txn::default().put(object)).await.expect("written");
                }
            })
        })
        .collect();
    for _ in 0..3 {
        store.rotate_keys().await.expect("rotated");
    }
    for writer in writers {
        writer.await.expect("it wrote");
    }
    let rotated = store.rotate_keys().await.expect("rotated");
    assert_eq!(store.keys().await, [rotated.key], "a rotation in peace leaves one key");
    let world = store.snapshot();
    store.shutdown().await;
    let store = open(directory.path()).await;
    assert!(store.snapshot().objects().eq(world.objects()));
    store.shutdown().await;
}
