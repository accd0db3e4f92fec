use std::time::Duration;

use api::{Object, kinds};
use proptest::prelude::*;
use state::Txn;

use super::*;
use crate::consensus::LeaderId;
use crate::disk::Real;

fn object(name: u8, content: u16) -> Object {
    let value = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("o{name}"), "namespace": "n"},
        "data": {"content": content}});
    Object::from_value(kinds::CONFIG_MAP, &value).expect("an object")
}

fn standing(world: &Snapshot, floor: Revision) -> Standing {
    let applied = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index: world.revision().0 };
    Standing {
        applied: Some(applied),
        membership: StoredMembership::default(),
        revision: world.revision(),
        floor,
        sessions: Arc::default(),
    }
}

fn limits() -> ImageLimits {
    ImageLimits { delay: Duration::from_millis(1), ..ImageLimits::default() }
}

/// One key for all that is written and read in this process.
fn sealer() -> Sealer {
    static KEYS: std::sync::LazyLock<Sealer> = std::sync::LazyLock::new(Sealer::alone);
    KEYS.clone()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever was written in whatever portions and forgotten in between: reading it back gives the world and the events
    /// behind the floor.
    #[test]
    fn an_image_holds_the_world_and_the_way_to_it(
        portions in prop::collection::vec((prop::collection::vec((0..8_u8, prop::option::of(any::<u16>())), 1..12), 0..20_u64), 1..8)
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("image");
        let (mut world, mut all, mut floor) = (Snapshot::default(), Vec::new(), Revision::ZERO);
        for (writes, lag) in portions {
            let (image, found, past) = Image::open(&Real, &path, limits(), sealer()).expect("it opens");
            prop_assert!(past.world.objects().eq(world.objects()));
            prop_assert_eq!(found.revision, world.revision());
            prop_assert_eq!((past.base, found.floor), (floor, floor));
            let expected: Vec<_> = all.iter().filter(|event: &&Arc<Event>| event.revision > floor).cloned().collect();
            prop_assert_eq!(past.events, expected);

            let mut txn = Txn::default();
            for (name, content) in writes {
                txn = match content {
                    Some(content) => txn.put(object(name, content)),
                    None => txn.remove(kinds::CONFIG_MAP.key("n", &format!("o{name}"))),
                };
            }
            let (next, events) = world.apply(&txn).expect("no guards");
            let events: Vec<_> = events.into_iter().map(Arc::new).collect();
            all.extend(events.iter().cloned());
            world = next;
            floor = floor.max(Revision(world.revision().0.saturating_sub(lag)));
            let standing = standing(&world, floor);
            let applied = standing.applied;
            image.record(events, standing);
            run(image.flush(applied)).expect("on disk");
            image.close();
        }
    }
}

#[test]
fn another_world_takes_the_place_of_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let (image, ..) = Image::open(&Real, &path, limits(), sealer()).expect("it opens");
    let (old, events) =
        Snapshot::default().apply(&Txn::default().put(object(1, 1)).put(object(2, 2))).expect("no guards");
    image.record(events.into_iter().map(Arc::new).collect(), standing(&old, Revision::ZERO));
    let new = Snapshot::load(Revision(40), [object(3, 3).at(Revision(33)), object(4, 4).at(Revision(40))]);
    run(image.replace(new.clone(), standing(&new, Revision(40)))).expect("on disk");
    let (after, events) = new.apply(&Txn::default().put(object(3, 9))).expect("no guards");
    image.record(events.into_iter().map(Arc::new).collect(), standing(&after, Revision(40)));
    image.close();

    let (image, found, past) = Image::open(&Real, &path, limits(), sealer()).expect("it opens");
    assert_eq!(found, standing(&after, Revision(40)));
    assert!(past.world.objects().eq(after.objects()));
    assert_eq!(past.events.len(), 1);
    image.close();
}

#[test]
fn an_image_belongs_to_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let (image, ..) = Image::open(&Real, &path, limits(), sealer()).expect("it opens");
    assert!(matches!(Image::open(&Real, &path, limits(), sealer()), Err(OpenError::InUse { .. })));
    image.close();
    Image::open(&Real, &path, limits(), sealer()).expect("free again").0.close();
}

#[test]
fn what_is_not_an_image_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    std::fs::write(&path, vec![7; 8_192]).expect("written");
    assert!(matches!(
        Image::open(&Real, &path, limits(), sealer()),
        Err(OpenError::Damaged { .. } | OpenError::Io { .. })
    ));
}

#[test]
fn what_is_sealed_anew_needs_the_old_key_no_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("image");
    let sealer = Sealer::alone();
    let (image, ..) = Image::open(&Real, &path, limits(), sealer.clone()).expect("it opens");
    let (world, events) =
        Snapshot::default().apply(&Txn::default().put(object(1, 1)).put(object(2, 2))).expect("no guards");
    let expected: Vec<_> = events.iter().cloned().map(Arc::new).collect();
    let applied = standing(&world, Revision::ZERO).applied;
    image.record(expected.clone(), standing(&world, Revision::ZERO));
    run(image.flush(applied)).expect("on disk");
    let new = crate::seal::Secret::fresh();
    sealer.turn_to(&new);
    run(image.reseal()).expect("sealed anew");
    image.close();

    let only_new = Sealer::alone();
    only_new.turn_to(&new);
    let (image, _, past) = Image::open(&Real, &path, limits(), only_new).expect("it opens");
    assert!(past.world.objects().eq(world.objects()));
    assert_eq!(past.events, expected, "the past is kept");
    image.close();
    assert!(matches!(Image::open(&Real, &path, limits(), Sealer::alone()), Err(OpenError::Damaged { .. })));
}

/// Where an image stands, as it lies on disk: from before there were sums, and since.
#[test]
fn the_line_about_where_it_stands_is_the_one_on_disk_everywhere() {
    let standing = Standing {
        applied: Some(LogId { leader_id: LeaderId { term: 3, node_id: 7 }, index: 9 }),
        revision: Revision(5),
        floor: Revision(2),
        ..Standing::default()
    };
    let line = tables::encode_standing(&standing, tables::Sums { rows: 4, total: 0x0102_0304 }, b"sessions");
    let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, SUMMED);
    let sums = tables::Sums { rows: 4, total: 0x0102_0304 };
    assert_eq!(tables::decode_standing(&line, b"sessions"), Ok((standing.clone(), Some(sums))));
    assert!(tables::decode_standing(&line, b"other sessions").is_err(), "they are vouched for");
    for bit in 0..line.len() * 8 {
        let mut flipped = line.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let read = tables::decode_standing(&flipped, b"sessions");
        assert!(read.is_err_and(|error| error != crate::codec::Malformed::NEWER), "bit {bit}");
    }
    let mut newer = line;
    newer[0] = 3;
    let end = newer.len() - 4;
    let sum = tables::checksum(&newer[..end], b"sessions").to_le_bytes();
    newer[end..].copy_from_slice(&sum);
    assert_eq!(tables::decode_standing(&newer, b"sessions"), Err(crate::codec::Malformed::NEWER));
    let old: Vec<u8> =
        (0..OLD.len()).step_by(2).map(|at| u8::from_str_radix(&OLD[at..at + 2], 16).expect("hex")).collect();
    assert_eq!(tables::decode_standing(&old, b"sessions"), Ok((standing, None)));
}

/// Rows, as they lie there: of something that is gone, and of an object as from before there were seals. A sealed one has what
/// `seal` says behind the last byte.
#[test]
fn a_row_is_the_one_on_disk_everywhere() {
    let (world, _) = Snapshot::default().apply(&Txn::default().put(object(1, 1))).expect("no guards");
    let (_, events) = world.apply(&Txn::default().remove(object(1, 1).key().clone())).expect("no guards");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&tables::row(&events[0], &sealer())), GONE);
    let (_, events) = Snapshot::default().apply(&Txn::default().put(object(1, 1))).expect("no guards");
    assert!(hex(&tables::row(&events[0], &sealer())).starts_with(SEALED));
}

const GONE: &str = "0101000000000000000000000009000000436f6e6669674d6170010000006e020000006f3100";
const SEALED: &str = "0100000000000000000000000009000000436f6e6669674d6170010000006e020000006f310201";
const OLD: &str =
    "010103000000000000000700000000000000090000000000000000000000000000000005000000000000000200000000000000";
const SUMMED: &str = "0201030000000000000007000000000000000900000000000000000000000000000000050000000000000002000000000000000400000000000000040302010000000055b7fd24";
