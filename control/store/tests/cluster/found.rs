//! A cluster that begins with a world: whoever joins has all of it.

use api::{Revision, kinds};
use state::{Snapshot, Txn};
use store::{Change, Config};

use crate::room::{Room, object};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_world_is_where_a_cluster_begins() {
    let mut room = Room::empty();
    let objects = (1..=300).map(|number| object(&format!("o{number}"), number).at(Revision(number)));
    let world = Snapshot::load(Revision(5_000), objects);
    let directory = room.directory(1);
    let config = Config::new(directory);
    store::found(&config, &world).expect("founded");
    assert!(store::found(&config, &world).is_err(), "there is one now");
    room.start(1, true).await;
    let found = room.store(1).snapshot();
    assert_eq!((found.revision(), room.store(1).oldest()), (Revision(5_000), Revision(5_000)));
    assert!(found.objects().eq(world.objects()), "each as it was, at its own revision");
    assert!(room.store(1).subscribe(kinds::CONFIG_MAP, Revision(4_999)).is_err(), "nothing leads there");

    let written = room.store(1).propose(Txn::default().put(object("new", 1))).await.expect("written");
    assert_eq!(written.revision, Revision(5_001));
    for place in 2..=3 {
        room.join(place).await;
    }
    room.settled(3).await;
    room.check(&[]).await;
    assert_eq!(room.store(3).snapshot().count(kinds::CONFIG_MAP), 301);
    // And over a restart, of the one that began and of one that was told.
    for place in [1, 3] {
        room.stop(place).await;
        room.start(place, false).await;
    }
    room.settled(3).await;
    room.store(2).change(Change::Lead(room.peer(1).member)).await.expect("it leads");
    room.check(&[]).await;
}
