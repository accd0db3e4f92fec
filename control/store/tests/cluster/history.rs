//! The history of one register, written and read through all members while wires are cut, is linearizable.
//!
//! Every write is acknowledged with the revision it has, and every read tells the revision it saw; these are the order in which
//! things happened. So a history is linearizable if that order is one of real time too: nothing sees less than what was
//! acknowledged before it began, and each read sees what was written at the revision it tells of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use api::kinds;
use state::{Revision, Txn};
use store::{ProposeError, Store};

use crate::room::{Room, number, object, within};

/// Something that was answered.
#[derive(Clone, Debug)]
struct Operation {
    what: What,
    began: Instant,
    ended: Instant,
    revision: Revision,
    value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Read,
    Write,
}

/// Why a history is not one of a register.
fn fault(history: &[Operation]) -> Option<String> {
    let mut by_end: Vec<&Operation> = history.iter().collect();
    by_end.sort_by_key(|operation| operation.ended);
    let mut by_beginning: Vec<&Operation> = history.iter().collect();
    by_beginning.sort_by_key(|operation| operation.began);
    let (mut ended, mut seen) = (by_end.into_iter().peekable(), Revision::ZERO);
    for operation in by_beginning {
        while let Some(before) = ended.next_if(|before| before.ended < operation.began) {
            seen = seen.max(before.revision);
        }
        let is_new = operation.revision > seen || (operation.what == What::Read && operation.revision == seen);
        if !is_new {
            return Some(format!("{operation:?} began when {seen:?} had been told"));
        }
    }
    let mut by_revision: Vec<&Operation> = history.iter().collect();
    by_revision.sort_by_key(|operation| operation.revision);
    let odd =
        by_revision.windows(2).find(|pair| pair[0].revision == pair[1].revision && pair[0].value != pair[1].value);
    odd.map(|pair| format!("two values at one revision: {pair:?}"))
}

/// Waits until it was used some more.
async fn used(done: &AtomicU64) {
    let before = done.load(Ordering::Relaxed);
    within("it is used", async || (done.load(Ordering::Relaxed) > before + 100).then_some(())).await;
}

async fn use_register(
    store: Store,
    values: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Vec<Operation> {
    let key = kinds::CONFIG_MAP.key("n", "register");
    let mut history = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let value = values.fetch_add(1, Ordering::Relaxed);
        if value.is_multiple_of(3) {
            match store.propose(Txn::default().put(object("register", value))).await {
                Ok(committed) => {
                    let revision = committed.events[0].revision;
                    history.push(Operation { what: What::Write, began, ended: Instant::now(), revision, value });
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(ProposeError::NotLeader { .. }) => {}
                Err(error) => panic!("nothing stands against it: {error}"),
            }
        } else if let Ok(world) = store.read().await {
            let register = world.get(&key).expect("it was written at first");
            let (revision, value) = (register.revision(), number(register));
            history.push(Operation { what: What::Read, began, ended: Instant::now(), revision, value });
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_register_is_one_however_wires_are_cut() {
    for members in [3, 5] {
        let room = Room::of(members).await;
        room.store(1).propose(Txn::default().put(object("register", 0))).await.expect("written");
        let (values, stop) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
        let done = Arc::<AtomicU64>::default();
        let users: Vec<_> = room
            .stores()
            .into_iter()
            .flat_map(|store| [store.clone(), store])
            .map(|store| tokio::spawn(use_register(store, values.clone(), done.clone(), stop.clone())))
            .collect();
        for round in 0..4 {
            let leader = room.leader().await;
            match round % 4 {
                0 => room.isolate(leader),
                1 => {
                    for other in (1..=members).filter(|place| *place != leader) {
                        room.net.cut(&Room::address(leader), &Room::address(other));
                    }
                }
                2 => room.isolate(leader % members + 1),
                _ => {
                    let other = leader % members + 1;
                    room.net.cut(&Room::address(other), &Room::address(leader));
                }
            }
            if round % 4 < 2 {
                within("another leads", async || (room.leader().await != leader).then_some(())).await;
            } else {
                let noticed = async || room.store(leader % members + 1).read().await.err().map(drop);
                within("it knows that it is not heard", noticed).await;
            }
            used(&done).await;
            room.net.heal();
            used(&done).await;
        }
        room.leader().await;
        stop.store(true, Ordering::Relaxed);
        let mut history = Vec::new();
        for user in users {
            history.extend(user.await.expect("it ends when it is told to"));
        }
        println!("{members} members, {} operations", history.len());
        assert!(history.iter().filter(|operation| operation.what == What::Write).count() > 20, "it was used");
        assert_eq!(fault(&history), None);
        room.check(&[]).await;
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let start = Instant::now();
    let check = |operations: &[(What, u64, u64, u64, u64)], is_sound: bool| {
        let at = |ms| start + Duration::from_millis(ms);
        let history: Vec<Operation> = operations
            .iter()
            .map(|&(what, began, ended, revision, value)| Operation {
                what,
                began: at(began),
                ended: at(ended),
                revision: Revision(revision),
                value,
            })
            .collect();
        assert_eq!(fault(&history).is_none(), is_sound, "{operations:?}");
    };
    check(&[(What::Write, 0, 10, 1, 7), (What::Read, 11, 12, 1, 7)], true);
    check(&[(What::Write, 0, 10, 2, 7), (What::Read, 5, 6, 1, 3)], true);
    check(&[(What::Write, 0, 10, 2, 7), (What::Read, 11, 12, 1, 3)], false);
    check(&[(What::Write, 0, 10, 1, 7), (What::Read, 11, 12, 1, 8)], false);
    check(&[(What::Read, 0, 10, 2, 7), (What::Read, 11, 12, 1, 3)], false);
    check(&[(What::Write, 0, 10, 1, 7), (What::Write, 11, 12, 1, 7)], false);
}
