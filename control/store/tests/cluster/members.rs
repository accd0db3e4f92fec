//! Members come, go, take each other's place and hand over the lead.

use std::time::Instant;

use api::kinds;
use state::{Conflict, Guard, Txn};
use store::{Change, ChangeError, ProposeError, Role};

use crate::room::{Room, number, object, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_anywhere_is_read_everywhere() {
    let room = Room::of(3).await;
    let key = kinds::CONFIG_MAP.key("n", "a");
    for (place, store) in room.stores().iter().enumerate() {
        let committed = store.propose(Txn::default().put(object("a", place as u64))).await.expect("written");
        // Whoever is answered has the world of the answer.
        assert!(store.snapshot().revision() >= committed.revision);
        assert_eq!(number(store.snapshot().get(&key).expect("it is there")), place as u64);
        assert_eq!(committed.events.len(), 1);
        for other in room.stores() {
            let world = other.read().await.expect("read");
            assert_eq!(number(world.get(&key).expect("it is there")), place as u64);
        }
    }
    for store in room.stores() {
        let refused = store.propose(Txn::default().guard(Guard::Absent(key.clone())).put(object("a", 9))).await;
        assert_eq!(refused.err(), Some(ProposeError::Conflict(Conflict::Exists(key.clone()))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_outlives_each_of_its_members() {
    let mut room = Room::of(3).await;
    let mut accounts = Vec::new();
    for _ in 0..3 {
        let leader = room.leader().await;
        let writers = room.writers(4);
        room.written(50).await;
        let gone = Instant::now();
        room.stop(leader).await;
        let next = room.leader().await;
        println!("{next} leads after {} ms", gone.elapsed().as_millis());
        assert_ne!(next, leader);
        room.written(50).await;
        room.start(leader, false).await;
        let told = writers.stop().await;
        room.settled(3).await;
        room.check(&told).await;
        accounts.extend(told);
    }
    assert!(accounts.iter().all(|account| !account.acknowledged.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_change_under_load() {
    let mut room = Room::of(1).await;
    let writers = room.writers(4);
    for place in 2..=5 {
        room.join(place).await;
        room.settled(place).await;
    }
    // A sixth learns, and takes the place of one that is gone.
    room.start(6, false).await;
    room.store(2).change(Change::Add(room.peer(6))).await.expect("added");
    let old = (2..=5).find(|place| *place != 1).expect("some");
    let (dead, new) = (room.peer(old).member, room.peer(6).member);
    room.stop(old).await;
    within("the sixth takes the place of the dead", async || {
        room.store(6).change(Change::Replace { old: dead, new }).await.ok()
    })
    .await;
    room.settled(5).await;
    let cluster = room.store(6).cluster().borrow().clone();
    assert!(cluster.get(dead).is_none() && cluster.get(new).is_some_and(|six| six.role == Role::Voter));

    // The lead goes where it is told to, without a pause that anybody would notice.
    let target = if room.leader().await == 4 { 5 } else { 4 };
    let start = Instant::now();
    within("it is handed over", async || room.store(1).change(Change::Lead(room.peer(target).member)).await.ok()).await;
    println!("handed over in {} ms", start.elapsed().as_millis());

    // Who leads can be removed too. (The one that writers go through stays.)
    let leader = room.leader().await;
    let removed = room.peer(leader).member;
    room.store(1).change(Change::Remove(removed)).await.expect("removed");
    within("another leads", async || {
        let cluster = room.store(1).cluster().borrow().clone();
        (cluster.get(removed).is_none() && cluster.leader.is_some_and(|now| now != removed)).then_some(())
    })
    .await;
    room.stop(leader).await;
    room.settled(4).await;
    let accounts = writers.stop().await;
    room.check(&accounts).await;
    assert!(accounts.iter().all(|account| account.unknown.is_empty()), "nobody had to be told that nothing is known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_with_its_reason() {
    let mut room = Room::of(1).await;
    let only = room.peer(1).member;
    let check = async |room: &Room, change: Change, why: &str| match room.store(1).change(change).await {
        Err(ChangeError::Refused(reason)) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    };
    check(&room, Change::Remove(only), "the only voter").await;
    check(&room, Change::Remove(7), "7 is not a member").await;
    check(&room, Change::Lead(7), "7 is not a member").await;
    check(&room, Change::Promote(7), "7 is not a member").await;
    // One that nobody reaches stays a learner, and stops nobody.
    let nobody = store::Peer { member: 7, address: "nowhere".into() };
    room.store(1).change(Change::Add(nobody)).await.expect("added");
    check(&room, Change::Promote(7), "has not caught up").await;
    check(&room, Change::Lead(7), "cannot lead").await;
    room.store(1).propose(Txn::default().put(object("a", 1))).await.expect("a learner does not count");
    room.store(1).change(Change::Remove(7)).await.expect("removed");
    // Another member that lives at a known address is not taken for the one that was there.
    room.start(2, false).await;
    let stranger = store::Peer { member: 8, address: Room::address(2) };
    room.store(1).change(Change::Add(stranger)).await.expect("added");
    within("it is talked to", async || (room.net.ended(&Room::address(2)) >= 3).then_some(())).await;
    assert!(room.store(2).cluster().borrow().members.is_empty(), "nothing was sent to it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_keeps_its_place_over_a_restart_and_a_move() {
    let mut room = Room::of(3).await;
    let before = room.peer(3).member;
    room.stop(3).await;
    room.store(1).propose(Txn::default().put(object("a", 5))).await.expect("two are enough");
    room.start(3, false).await;
    assert_eq!(room.peer(3).member, before);
    let world = room.store(3).read().await.expect("read");
    assert_eq!(world.revision(), room.store(1).snapshot().revision());
    // All of them at once.
    for place in 1..=3 {
        room.stop(place).await;
    }
    for place in 1..=3 {
        room.start(place, false).await;
    }
    room.settled(3).await;
    room.check(&[]).await;
    assert_eq!(room.store(2).read().await.expect("read").count(kinds::CONFIG_MAP), 1);
}
