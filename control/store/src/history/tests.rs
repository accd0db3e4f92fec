use api::{GroupKind, Object, kinds};
use proptest::prelude::*;
use state::Txn;

use super::*;

const KINDS: [GroupKind; 3] = [kinds::CONFIG_MAP, kinds::SECRET, kinds::SERVICE_ACCOUNT];

/// What happens to a history.
#[derive(Clone, Debug)]
enum Happening {
    /// Objects are written (kind, name, content) or deleted (no content).
    Written(Vec<(usize, u8, Option<u16>)>),
    /// A reader pulls.
    Pulled(usize),
}

/// A reader, and all it was told.
struct Reader {
    interest: Interest,
    from: Revision,
    subscription: Subscription,
    told: Vec<Arc<Event>>,
    lost: bool,
}

fn object(kind: GroupKind, name: u8, content: u16) -> Object {
    let value = serde_json::json!({"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": format!("o{name}"), "namespace": "n"},
        "data": {"content": content}});
    Object::from_value(kind, &value).expect("an object")
}

fn txn(writes: &[(usize, u8, Option<u16>)]) -> Txn {
    writes.iter().fold(Txn::default(), |txn, (kind, name, content)| {
        let kind = KINDS[*kind];
        match content {
            Some(content) => txn.put(object(kind, *name, *content)),
            None => txn.remove(kind.key("n", &format!("o{name}"))),
        }
    })
}

/// One of every sort of interest, by a number.
fn interest(number: usize) -> Interest {
    let kind = KINDS[number / 4 % KINDS.len()];
    match number % 4 {
        0 => Interest::All,
        1 => Interest::Kind(kind),
        2 => Interest::Namespace(kind, ["n", "m"][number / 12 % 2].into()),
        _ => Interest::Object(kind.key("n", &format!("o{}", number / 12 % 6))),
    }
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let write = (0..KINDS.len(), 0..6_u8, prop::option::weighted(0.7, any::<u16>()));
    let happening = prop_oneof![
        2 => prop::collection::vec(write, 1..6).prop_map(Happening::Written),
        1 => (0..8_usize).prop_map(Happening::Pulled),
    ];
    prop::collection::vec(happening, 1..80)
}

proptest! {
    /// Every reader is told every event of its kind behind its start once and in order, or that it is too late; and it is too
    /// late only if an event it was owed is gone.
    #[test]
    fn a_watch_has_no_gap_and_no_repetition(happenings in happenings(), events_max in 1..40_usize) {
        let limits = Limits { events_max, bytes_max: 1 << 20 };
        let mut world = Snapshot::default();
        let history = Arc::new(History::new(limits, Revision::ZERO, Vec::new(), &world));
        let mut all: Vec<Arc<Event>> = Vec::new();
        let mut worlds = vec![world.clone()];
        let mut readers: Vec<Reader> = Vec::new();
        for happening in happenings {
            match happening {
                Happening::Written(writes) => {
                    let (next, events) = world.apply(&txn(&writes)).expect("no guards");
                    let events: Vec<_> = events.into_iter().map(Arc::new).collect();
                    all.extend(events.iter().cloned());
                    world = next;
                    worlds.push(world.clone());
                    history.record(&world, events);
                    // Someone comes with every third write, a few revisions late.
                    if all.len().is_multiple_of(3) {
                        let interest = interest(all.len() / 3);
                        let from = Revision(world.revision().0.saturating_sub(all.len() as u64 % 7));
                        match history.subscribe(interest.clone(), from) {
                            Ok(subscription) => readers.push(Reader { interest, from, subscription, told: Vec::new(), lost: false }),
                            Err(TooOld { oldest }) => prop_assert!(from < oldest),
                        }
                    }
                }
                Happening::Pulled(number) => {
                    let count = readers.len().max(1);
                    if let Some(reader) = readers.get_mut(number % count) {
                        reader.pull();
                    }
                }
            }
        }
        for reader in &mut readers {
            reader.pull();
            let owed = all.iter().filter(|event| event.revision > reader.from);
            let owed: Vec<_> = owed.filter(|event| reader.interest.covers(event.key())).cloned().collect();
            if reader.lost {
                prop_assert!(reader.told.len() < owed.len());
                prop_assert_eq!(&reader.told[..], &owed[..reader.told.len()]);
                prop_assert!(owed[reader.told.len()].revision <= history.floor(), "what it lost is really gone");
            } else {
                prop_assert_eq!(&reader.told, &owed);
                prop_assert_eq!(reader.subscription.reached(), world.revision().max(reader.from));
            }
        }
        prop_assert!(all.len() - all.iter().filter(|event| event.revision <= history.floor()).count() <= events_max);
        for known in &worlds {
            if let Some(back) = history.at(known.revision()) {
                prop_assert_eq!(back.revision(), known.revision());
                prop_assert!(back.objects().eq(known.objects()));
            }
        }
    }
}

impl Reader {
    fn pull(&mut self) {
        match self.subscription.ready() {
            Ok(events) => self.told.extend(events),
            Err(TooOld { .. }) => self.lost = true,
        }
    }
}

#[test]
fn old_worlds_are_exact_as_far_as_the_history_reaches() {
    let limits = Limits { events_max: 3_000, bytes_max: 1 << 30 };
    let mut world = Snapshot::default();
    let history = History::new(limits, Revision::ZERO, Vec::new(), &world);
    let mut worlds = Vec::new();
    for number in 0..5_000_u16 {
        let (next, events) =
            world.apply(&Txn::default().put(object(kinds::SECRET, (number % 50) as u8, number))).expect("no guards");
        history.record(&next, events.into_iter().map(Arc::new));
        world = next;
        worlds.push(world.clone());
    }
    assert_eq!(history.floor(), Revision(2_000));
    assert!(history.at(Revision(1_999)).is_none() && history.at(Revision(5_001)).is_none());
    // The first checkpoint that can be led forward is less than one interval above the floor.
    for revision in [3_100, 4_095, 4_096, 4_097, 5_000_usize] {
        let back = history.at(Revision(revision as u64)).expect("in reach");
        assert_eq!(back.revision(), Revision(revision as u64));
        assert!(back.objects().eq(worlds[revision - 1].objects()));
    }
}

#[test]
fn a_page_of_a_moment_ago_is_there_however_large_events_are() {
    let limits = Limits { events_max: 16_384, bytes_max: 64 << 10 };
    let mut world = Snapshot::default();
    let history = History::new(limits, Revision::ZERO, Vec::new(), &world);
    for number in 0..200_u16 {
        let value = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "o", "namespace": "n"},
            "data": {"content": number.to_string().repeat(1_000)}});
        let large = Object::from_value(kinds::SECRET, &value).expect("an object");
        let (next, events) = world.apply(&Txn::default().put(large)).expect("no guards");
        history.record(&next, events.into_iter().map(Arc::new));
        world = next;
        let before = Revision(world.revision().0.saturating_sub(5));
        assert_eq!(history.at(before).map(|world| world.revision()), Some(before), "after {number}");
    }
}

#[tokio::test]
async fn a_quiet_kind_sleeps_until_it_is_its_turn() {
    let world = Snapshot::default();
    let history = Arc::new(History::new(Limits::default(), Revision::ZERO, Vec::new(), &world));
    let mut quiet = history.subscribe(kinds::SECRET.into(), Revision::ZERO).expect("from the beginning");
    let (next, events) = world.apply(&Txn::default().put(object(kinds::CONFIG_MAP, 1, 1))).expect("no guards");
    history.record(&next, events.into_iter().map(Arc::new));
    assert!(futures::poll!(std::pin::pin!(quiet.next())).is_pending());
    assert_eq!(quiet.reached(), Revision(1), "and yet it knows how far the world is");
    let (after, events) = next.apply(&Txn::default().put(object(kinds::SECRET, 1, 1))).expect("no guards");
    history.record(&after, events.into_iter().map(Arc::new));
    assert_eq!(quiet.next().await.expect("an event")[0].revision, Revision(2));
}

#[tokio::test]
async fn a_quiet_object_sleeps_through_its_kind_and_is_not_too_late_for_it() {
    let limits = Limits { events_max: 4, bytes_max: 1 << 20 };
    let mut world = Snapshot::default();
    let history = Arc::new(History::new(limits, Revision::ZERO, Vec::new(), &world));
    let quiet = Interest::Object(kinds::SECRET.key("n", "o1"));
    let mut quiet = history.subscribe(quiet, Revision::ZERO).expect("from the beginning");
    let mut elsewhere =
        history.subscribe(Interest::Namespace(kinds::SECRET, "m".into()), Revision::ZERO).expect("from the beginning");
    let mut write = |name, content| {
        let (next, events) = world.apply(&Txn::default().put(object(kinds::SECRET, name, content))).expect("no guards");
        history.record(&next, events.into_iter().map(Arc::new));
        world = next;
    };
    (0..20).for_each(|content| write(2, content));
    assert!(futures::poll!(std::pin::pin!(quiet.next())).is_pending());
    assert!(futures::poll!(std::pin::pin!(elsewhere.next())).is_pending());
    write(1, 1);
    assert_eq!(quiet.next().await.expect("an event")[0].revision, Revision(21));
    // Who comes now is told as much as is known of it, and no more.
    let late = Interest::Object(kinds::SECRET.key("n", "o2"));
    assert!(history.subscribe(late.clone(), Revision(3)).is_err());
    assert_eq!(
        history.subscribe(late.clone(), Revision(19)).and_then(|mut late| late.ready()).map(|told| told.len()),
        Ok(1)
    );
    let _listens = history.subscribe(late.clone(), Revision(21)).expect("now");
    assert_eq!(history.subscribe(late, Revision(18)).and_then(|mut late| late.ready()).map(|told| told.len()), Ok(2));
}

#[tokio::test]
async fn a_world_from_elsewhere_tells_every_watch_that_it_is_too_late() {
    let world = Snapshot::default();
    let history = Arc::new(History::new(Limits::default(), Revision::ZERO, Vec::new(), &world));
    let mut watch = history.subscribe(kinds::SECRET.into(), Revision::ZERO).expect("from the beginning");
    history.restart(&Snapshot::load(Revision(9), []));
    assert_eq!(watch.next().await.err(), Some(TooOld { oldest: Revision(9) }));
    assert!(history.subscribe(Interest::All, Revision(8)).is_err());
    assert!(history.subscribe(Interest::All, Revision(9)).is_ok());
}
