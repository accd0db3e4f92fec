//! What a durable write costs, against the disk itself; how soon a watch knows of it; how fast a store opens.
//!
//! `cargo bench -p store`. The floor is a bare 1 KiB append with fdatasync to a preallocated file on the same disk, measured
//! right before and after each row, because disks change their mind from second to second: read the ratios, not the numbers.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::{Object, kinds};
use rustix::fs::{FallocateFlags, fallocate};
use state::{Revision, Txn};
use store::{Config, Store};

const VALUE_BYTES: usize = 1024;
const ROW: Duration = Duration::from_secs(2);
const FLOOR: Duration = Duration::from_millis(500);
/// Names in use: an update is the usual write.
const NAMES: u64 = 10_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on the disk");
    runtime.block_on(async {
        let path = directory.path().join("store");
        let fresh = Instant::now();
        let store = Store::open(Config::new(&path)).await.expect("the store opens");
        let fresh = fresh.elapsed();
        durable_writes(&store, directory.path()).await;
        for watchers in [1, 100] {
            watch_delivery(&store, watchers).await;
        }
        linearizable_reads(&store).await;
        opening(store, &path, fresh).await;
    });
}

async fn durable_writes(store: &Store, directory: &Path) {
    println!(
        "durable writes of {VALUE_BYTES} B      writes/s  p50 us  p99 us | fdatasync/s  p50 us | writes per fdatasync  p50 ratio"
    );
    for writers in [1, 16, 64, 256] {
        let mut floor = bare_syncs(directory);
        let took = load(store, writers).await;
        floor.extend(bare_syncs(directory));
        let (rate, bare_rate) =
            (took.len() as f64 / ROW.as_secs_f64(), floor.len() as f64 / (2.0 * FLOOR.as_secs_f64()));
        let (took, floor) = (sorted(took), sorted(floor));
        let (p50, p99, bare) = (quantile(&took, 0.5), quantile(&took, 0.99), quantile(&floor, 0.5));
        println!(
            "  {writers:>3} writers            {rate:>10.0} {p50:>7.0} {p99:>7.0} | {bare_rate:>11.0} {bare:>7.0} | {:>20.2} {:>10.2}",
            rate / bare_rate,
            p50 / bare,
        );
    }
}

async fn load(store: &Store, writers: u64) -> Vec<Duration> {
    let end = Instant::now() + ROW;
    let writers = (0..writers).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            for number in (0..).map(|step| writer * 7_919 + step * 257) {
                let begun = Instant::now();
                if begun >= end {
                    break;
                }
                store.propose(Txn::default().put(object(number % NAMES, number))).await.expect("written");
                took.push(begun.elapsed());
            }
            took
        })
    });
    let mut took = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        took.extend(writer.await.expect("a writer"));
    }
    took
}

fn bare_syncs(directory: &Path) -> Vec<Duration> {
    let path = directory.join("floor");
    let mut file = File::create(&path).expect("a file");
    fallocate(&file, FallocateFlags::empty(), 0, 64 << 20).expect("room");
    file.sync_all().expect("synced");
    let (end, value, mut took) = (Instant::now() + FLOOR, [7; VALUE_BYTES], Vec::new());
    while Instant::now() < end {
        let begun = Instant::now();
        file.write_all(&value).expect("written");
        file.sync_data().expect("synced");
        took.push(begun.elapsed());
    }
    std::fs::remove_file(path).expect("removed");
    took
}

/// From the proposal to its answer, and from the proposal to the event in a watcher's hands: the difference is the delivery.
async fn watch_delivery(store: &Store, watchers: usize) {
    const WRITES: u64 = 1_000;
    let start = store.snapshot().revision();
    let watchers: Vec<_> = (0..watchers)
        .map(|_| {
            let mut watch = store.subscribe(kinds::CONFIG_MAP, start).expect("now is never too old");
            tokio::spawn(async move {
                let mut seen = Vec::with_capacity(WRITES as usize);
                while seen.len() < WRITES as usize {
                    let events = watch.next().await.expect("in time");
                    let now = Instant::now();
                    seen.extend(events.into_iter().map(|event| (event.revision, now)));
                }
                seen
            })
        })
        .collect();
    // What says the same as before is no change and no event.
    let fresh = u64::MAX / 2 + start.0;
    let (mut begun, mut answered) = (Vec::new(), Vec::new());
    for number in 0..WRITES {
        begun.push(Instant::now());
        store.propose(Txn::default().put(object(number, fresh + number))).await.expect("written");
        answered.push(Instant::now());
    }
    let (mut after_proposal, mut after_answer) = (Vec::new(), Vec::new());
    let count = watchers.len();
    for watcher in watchers {
        for (revision, seen) in watcher.await.expect("a watcher") {
            let number = (revision.0 - start.0 - 1) as usize;
            after_proposal.push(seen - begun[number]);
            after_answer.push(seen.saturating_duration_since(answered[number]));
        }
    }
    let answer: Vec<_> = begun.iter().zip(&answered).map(|(begun, answered)| *answered - *begun).collect();
    let (answer, after_proposal, after_answer) = (sorted(answer), sorted(after_proposal), sorted(after_answer));
    println!(
        "watch delivery to {count:>3}: proposal to answer p50 {:.0} us, proposal to event p50 {:.0} p99 {:.0} us (ratio {:.2}), answer to event p50 {:.0} p99 {:.0} us",
        quantile(&answer, 0.5),
        quantile(&after_proposal, 0.5),
        quantile(&after_proposal, 0.99),
        quantile(&after_proposal, 0.5) / quantile(&answer, 0.5),
        quantile(&after_answer, 0.5),
        quantile(&after_answer, 0.99)
    );
}

async fn linearizable_reads(store: &Store) {
    const READS: u32 = 10_000;
    let begun = Instant::now();
    for _ in 0..READS {
        store.read().await.expect("a sole member leads");
    }
    let read = begun.elapsed() / READS;
    let begun = Instant::now();
    let mut revision = Revision::ZERO;
    for _ in 0..READS {
        revision = revision.max(store.snapshot().revision());
    }
    println!("linearizable read {:.1} us, local snapshot {:.2} us", micros(read), micros(begun.elapsed() / READS));
}

async fn opening(store: Store, path: &PathBuf, fresh: Duration) {
    let objects = store.snapshot().objects().count();
    store.shutdown().await;
    drop(store);
    let begun = Instant::now();
    let store = Store::open(Config::new(path)).await.expect("the store opens");
    println!("open: empty {:.1} ms, {objects} objects {:.1} ms", micros(fresh) / 1e3, micros(begun.elapsed()) / 1e3);
    store.shutdown().await;
}

fn object(name: u64, content: u64) -> Object {
    let filling = format!("{content:020}").repeat(VALUE_BYTES / 20 - 6);
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c{name}","namespace":"bench"}},"data":{{"value":"{filling}"}}}}"#
    );
    Object::parse(kinds::CONFIG_MAP, body).expect("a config map")
}

fn sorted(mut durations: Vec<Duration>) -> Vec<Duration> {
    durations.sort_unstable();
    durations
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    micros(sorted[at.min(sorted.len() - 1)])
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
