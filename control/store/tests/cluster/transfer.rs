//! A member that has fallen behind the log is given the whole world.

use api::{Revision, kinds};
use state::Txn;
use store::Change;

use crate::room::{Room, object, within};

/// A log so short that whoever looks away falls behind it, and a world of more than one piece.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_for_long_or_is_new_gets_the_whole_world() {
    let mut room = Room::with(3, |config| {
        config.log.segment_bytes = 64 << 10;
        config.log.kept_bytes = 128 << 10;
        config.log.kept_entries = 50;
        config.image.delay = std::time::Duration::from_millis(10);
    })
    .await;
    let away = (1..=3).find(|place| *place != 1).expect("there are three");
    room.stop(away).await;
    let large = |name: String| {
        let value = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n"},
            "data": {"filling": "x".repeat(20_000)}});
        api::Object::from_value(kinds::SECRET, &value).expect("a secret")
    };
    for round in 0..200 {
        let txn = Txn::default().put(large(format!("s{round}"))).put(object("a", round));
        // With such a log a member that is a moment late is given the whole world, and not told what became of its proposals.
        within("two are enough", async || room.store(1).propose(txn.clone()).await.ok()).await;
    }
    let txn = Txn::default().remove(kinds::SECRET.key("n", "s7"));
    within("it is removed", async || room.store(1).propose(txn.clone()).await.ok()).await;
    room.start(away, false).await;
    let world = within("it has caught up", async || room.store(away).read().await.ok()).await;
    assert_eq!(world.count(kinds::SECRET), 199);
    assert!(room.store(away).oldest() > Revision::ZERO, "it was told what is, not how it came to be");
    room.check(&[]).await;

    // A new one gets the same, and its watches go on from there.
    room.start(4, false).await;
    room.store(1).change(Change::Add(room.peer(4))).await.expect("added");
    room.settled(4).await;
    let mut watch = room.store(4).subscribe(kinds::CONFIG_MAP, room.store(4).snapshot().revision()).expect("from now");
    room.store(1).propose(Txn::default().put(object("a", 1_000))).await.expect("written");
    assert_eq!(watch.next().await.expect("an event").len(), 1);
    room.check(&[]).await;
    // And over a restart.
    room.stop(4).await;
    room.start(4, false).await;
    room.check(&[]).await;
}
