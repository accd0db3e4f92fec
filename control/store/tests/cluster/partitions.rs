//! Cut wires: whoever is on the small side answers nothing that is not so.

use api::kinds;
use state::Txn;
use store::{ProposeError, ReadError};

use crate::room::{Room, number, object, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_neither_commits_nor_reads() {
    let room = Room::of(3).await;
    let old = room.leader().await;
    let key = kinds::CONFIG_MAP.key("n", "a");
    room.store(old).propose(Txn::default().put(object("a", 1))).await.expect("written");
    room.isolate(old);
    let (alone, stale) = (room.store(old).clone(), room.store(old).clone());
    let unheard = tokio::spawn(async move { alone.propose(Txn::default().put(object("b", 1))).await });
    let read = tokio::spawn(async move { stale.read().await });
    let other = (1..=3).find(|place| *place != old).expect("there are three");
    room.store(other).propose(Txn::default().put(object("a", 2))).await.expect("a majority goes on");
    assert_eq!(read.await.expect("an answer").err().map(|_| ()), Some(()), "it must not read what may be old");
    assert_eq!(room.store(old).leads().await, Ok(false));
    assert_eq!(number(room.store(old).snapshot().get(&key).expect("it is there")), 1, "it has heard nothing");
    room.net.heal();
    // What it proposed is handed to the new leader, or given up: in either case all agree.
    let outcome = unheard.await.expect("an answer");
    assert!(matches!(outcome, Ok(_) | Err(ProposeError::NotLeader { .. })), "{outcome:?}");
    let world = within("it reads again", async || room.store(old).read().await.ok()).await;
    assert_eq!(number(world.get(&key).expect("it is there")), 2);
    if outcome.is_ok() {
        assert!(room.store(other).read().await.expect("read").get(&kinds::CONFIG_MAP.key("n", "b")).is_some());
    }
    room.check(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_cut_off_says_so_and_is_back_when_it_is_not() {
    let room = Room::of(3).await;
    let leader = room.leader().await;
    let cut_off = (1..=3).find(|place| *place != leader).expect("there are three");
    room.isolate(cut_off);
    let writers = room.writers(1);
    assert!(matches!(room.store(cut_off).read().await, Err(ReadError::NotLeader { .. })));
    // It has something to catch up with.
    for number in 0..100 {
        let write = async || room.store(leader).propose(Txn::default().put(object("a", number))).await.ok();
        within("the others go on", write).await;
    }
    room.net.heal();
    let accounts = writers.stop().await;
    within("it reads again", async || room.store(cut_off).read().await.ok()).await;
    room.check(&accounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_only_hears_or_is_only_heard_is_replaced() {
    for is_deaf in [true, false] {
        let room = Room::of(3).await;
        let leader = room.leader().await;
        let writers = room.writers(3);
        for other in (1..=3).filter(|place| *place != leader) {
            let (from, to) = if is_deaf { (other, leader) } else { (leader, other) };
            room.net.cut(&Room::address(from), &Room::address(to));
        }
        // Whoever is not heard does not lead, nor does whoever hears nobody.
        within("another leads", async || (room.leader().await != leader).then_some(())).await;
        assert_eq!(room.store(leader).leads().await, Ok(false));
        room.net.heal();
        room.leader().await;
        let accounts = writers.stop().await;
        room.check(&accounts).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_five_may_be_cut_off_and_three_may_not() {
    let room = Room::of(5).await;
    let leader = room.leader().await;
    let cut: Vec<usize> = (1..=5).filter(|place| *place != leader).take(2).collect();
    let [one, two] = cut[..] else { panic!("there are five") };
    room.isolate(one);
    room.isolate(two);
    room.store(leader).propose(Txn::default().put(object("a", 1))).await.expect("three are enough");
    let third = (1..=5).find(|place| *place != leader && !cut.contains(place)).expect("there are five");
    room.isolate(third);
    let refused = room.store(leader).propose(Txn::default().put(object("a", 2))).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
    room.net.heal();
    within("all of them", async || room.store(leader).propose(Txn::default().put(object("a", 3))).await.ok()).await;
    room.check(&[]).await;
}
