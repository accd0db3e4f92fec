//! Bits that turn by themselves: whatever file they are in, nothing is served that was not written.

use std::sync::Arc;
use std::time::Duration;

use state::{Snapshot, Txn};

use super::disk::SimulatedDisk;
use super::executor::{self, Executor};
use super::images::{digest, recovered};
use super::promise::Promise;
use super::random::Random;
use super::story::decay;
use super::{object, settings, variable};
use crate::disk::Disk;
use crate::{Seat, Store, runtime};

/// For each file; those of the smaller ones are all looked at.
const FLIPS: u64 = 400;

/// For each file: of so many names of objects one bit is turned on purpose.
const NAMES: usize = 60;

/// Clusters of which one member's files decay.
const CLUSTERS: u64 = 6;

/// The disk of a store that was killed when it had nothing to do, and its world.
fn worked(seed: u64) -> (SimulatedDisk, Snapshot) {
    let executor = Executor::new(seed);
    let simulation = executor.clone();
    executor.run(async move {
        let (disk, life) = (SimulatedDisk::new(), simulation.begin());
        let mine: Arc<dyn Disk> = Arc::new(disk.next(Some(life)));
        let nowhere = Seat { address: String::new(), transport: Arc::new(crate::transport::Nowhere), founds: true };
        let working = runtime::spawn_of(&simulation, Some(life), async move {
            let store = Store::open_on(mine, settings(), nowhere).await.expect("it opens");
            for number in 0..50_u64 {
                let name = format!("k{}", number % 9);
                let txn = Txn::default().put(object(&name, number)).remove(api::kinds::CONFIG_MAP.key("n", "k3"));
                store.propose(txn).await.expect("nothing stands against it");
            }
            runtime::sleep(Duration::from_millis(50)).await;
            store.snapshot()
        });
        let world = working.await.expect("it is not ended");
        simulation.end(life);
        (disk.next(None), world)
    })
}

/// Turns bits, so many of each file, one at a time. Returns how often that was noticed, and how often it was nothing: the world was
/// the same, and what the member had promised, too.
pub(super) fn flipped(seed: u64, flips: u64) -> Result<(u64, u64), String> {
    let (disk, world) = worked(seed);
    let promise = Promise::found(&disk, &settings()).map_err(|error| error.to_string())?;
    let (truth, mut random) = ((world.revision(), digest(&world)), Random::new(seed));
    let (mut noticed, mut nothing) = (0, 0);
    for (path, length) in disk.files() {
        let bits = length as u64 * 8;
        let tossed: Vec<_> =
            (0..flips.min(bits)).map(|at| if bits <= flips { at } else { random.below(bits) }).collect();
        for bit in tossed.into_iter().chain(names(&disk.content(&path))) {
            let decayed = disk.copy();
            decayed.flip(&path, bit);
            let Ok(found) = executor::outside(|| recovered(&decayed)) else {
                noticed += 1;
                continue;
            };
            if (found.revision(), digest(&found)) != truth {
                return Err(format!("seed {seed}: bit {bit} of {} made it {found:?}", path.display()));
            }
            let found = Promise::found(&decayed, &settings()).map_err(|error| error.to_string())?;
            if found != promise {
                return Err(format!("seed {seed}: with bit {bit} of {} it promised {found:?}", path.display()));
            }
            nothing += 1;
        }
    }
    Ok((noticed, nothing))
}

/// Bits that make the name of one object that of another: where names lie, a seal does not vouch for them.
fn names(content: &[u8]) -> impl Iterator<Item = u64> {
    let digits = content.windows(2).zip(1_u64..).filter(|(two, _)| two[0] == b'k' && two[1].is_ascii_digit());
    digits.map(|(_, at)| at * 8).take(NAMES).collect::<Vec<_>>().into_iter()
}

#[test]
fn a_turned_bit_is_noticed_or_nothing() {
    let seed = variable("SEED").unwrap_or(1);
    let (noticed, nothing) = flipped(seed, FLIPS).unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{noticed} turned bits were noticed, {nothing} did not matter");
    assert!(noticed > 100, "files hold something");
}

#[test]
fn a_member_whose_files_decay_is_filled_anew_by_the_others() {
    let mut noticed = 0;
    let seeds = variable("SEED").map_or(1..=variable("SEEDS").unwrap_or(CLUSTERS), |seed| seed..=seed);
    for seed in seeds {
        let report = decay(seed).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        noticed += report.noticed;
    }
    println!("{noticed} members were filled anew");
    assert!(noticed > 0, "some bits mattered");
}
