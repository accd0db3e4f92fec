//! What a crash may leave: the disk of a store at work, as it could be at every change of it if the power failed there and then.
//!
//! Each such disk is opened. What is found is a moment of what really happened, at or after everything that was acknowledged.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use openraft::EntryPayload;
use parking_lot::Mutex;
use state::{Revision, Snapshot, Txn};

use super::disk::{Kept, SimulatedDisk};
use super::executor::{self, Executor};
use super::random::Random;
use super::{object, settings, variable};
use crate::disk::Disk;
use crate::store::Files;
use crate::{LogLimits, OpenError, Seat, Store, runtime};

/// For each change of the disk: how the power fails.
const FAILURES: [Kept; 5] = [Kept::Nothing, Kept::Everything, Kept::Beginning, Kept::Any, Kept::Any];

/// In the normal run.
const IMAGES: usize = 10_000;

/// What was found on a disk, and when.
struct Finding {
    revision: Revision,
    digest: u64,
    kept: Kept,
    change: u64,
}

/// What is found on a disk after a crash: the world that image and log add up to.
pub(super) fn recovered(disk: &SimulatedDisk) -> Result<Snapshot, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let files = Files::open(&disk, &settings())?;
    let applied = files.machine.applied().borrow().map_or(0, |index| index + 1);
    let entries = files.log.read(applied.., usize::MAX);
    let entries = entries.map_err(|source| OpenError::Io { path: settings().directory, source })?;
    let world = entries.into_iter().fold(files.world.now(), |world, entry| match entry.payload {
        EntryPayload::Normal(command) => world.apply(&command.txn).map_or_else(|_| world.clone(), |(next, _)| next),
        _ => world,
    });
    files.close();
    Ok(world)
}

pub(super) fn digest(world: &Snapshot) -> u64 {
    let mut hasher = DefaultHasher::new();
    for object in world.objects() {
        (object.key().name(), object.revision().0, object.body()).hash(&mut hasher);
    }
    hasher.finish()
}

/// A store at work, and what would be found had its machine lost its power after any change of its disk. Returns how many disks
/// were looked at.
pub(super) fn work(seed: u64, log: LogLimits) -> usize {
    let executor = Executor::new(seed);
    let simulation = executor.clone();
    executor.run(async move {
        let findings: Arc<Mutex<Vec<Finding>>> = Arc::default();
        let acknowledged = Arc::new(Mutex::new(Revision::ZERO));
        let random = Mutex::new(Random::new(!seed));
        let disk = SimulatedDisk::new();
        disk.watch({
            let (findings, acknowledged) = (findings.clone(), acknowledged.clone());
            move |disk| {
                for kept in FAILURES {
                    let image = disk.without_power(kept, &mut random.lock());
                    let change = disk.changes();
                    let world = executor::outside(|| recovered(&image)).unwrap_or_else(|error| {
                        panic!("seed {seed}, change {change}, {kept:?}: a crash is no damage: {error}")
                    });
                    let (revision, least) = (world.revision(), *acknowledged.lock());
                    assert!(
                        revision >= least,
                        "seed {seed}, change {change}, {kept:?}: {least} was acknowledged, and it is at {revision}"
                    );
                    findings.lock().push(Finding { revision, digest: digest(&world), kept, change });
                }
            }
        });
        let life = simulation.begin();
        let mine: Arc<dyn Disk> = Arc::new(disk.next(Some(life)));
        let nowhere = Seat { address: String::new(), transport: Arc::new(crate::transport::Nowhere), founds: true };
        let config = crate::Config { log, ..settings() };
        let opening = runtime::spawn_of(&simulation, Some(life), Store::open_on(mine, config, nowhere));
        let store = opening.await.expect("it is not ended").expect("it opens");
        let writers = (0..3_u64).map(|writer| {
            let (store, acknowledged) = (store.clone(), acknowledged.clone());
            runtime::spawn_of(&simulation, Some(life), async move {
                for number in 0..14_u64 {
                    let name = format!("k{}", (writer + number) % 4);
                    let txn = if number % 7 == 6 {
                        Txn::default().remove(api::kinds::CONFIG_MAP.key("n", &name))
                    } else {
                        Txn::default().put(object(&name, writer * 1_000 + number))
                    };
                    let committed = store.propose(txn).await.expect("nothing stands against it");
                    let last = committed.events.last().map_or(Revision::ZERO, |event| event.revision);
                    {
                        let mut acknowledged = acknowledged.lock();
                        *acknowledged = acknowledged.max(last);
                    }
                    runtime::sleep(Duration::from_millis(1 + number * writer % 5)).await;
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("it is not ended");
        }
        runtime::sleep(Duration::from_millis(200)).await;
        let findings = std::mem::take(&mut *findings.lock());
        for Finding { revision, digest: found, kept, change } in &findings {
            let truth =
                store.at(*revision).unwrap_or_else(|| panic!("seed {seed}, change {change}: {revision} was made up"));
            assert_eq!(
                *found,
                digest(&truth),
                "seed {seed}, change {change}, {kept:?}: at {revision} it was another world"
            );
        }
        findings.len()
    })
}

#[test]
fn whatever_a_crash_leaves_all_that_was_acknowledged_is_there_and_nothing_else() {
    let (images, first) = (variable("IMAGES").unwrap_or(IMAGES as u64) as usize, variable("SEED").unwrap_or(1));
    let (mut looked_at, mut seed) = (0, first);
    while looked_at < images {
        // Of a log that keeps little, more is let go than one would think.
        let kept_entries = if seed % 2 == 0 { 2 } else { settings().log.kept_entries };
        looked_at += work(seed, LogLimits { kept_entries, ..settings().log });
        seed += 1;
    }
    println!("{looked_at} crash images of {} runs", seed - first);
}
