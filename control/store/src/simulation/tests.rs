//! Stories, one for each seed.
//!
//! `SEEDS=1000 cargo test -p store simulation::tests::stories` plays more of them, and `SEED=7` the one that failed again.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::story::{Report, play};
use super::variable;

/// In the normal run.
const SEEDS: u64 = 300;

/// Does so many things, on as many threads as there are processors; returns what came of each.
pub(super) fn in_parallel<T: Send>(count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let working = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return done;
            }
            done.push((at, work(at)));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(u64, T)> = thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(working)).collect();
        all.into_iter().flat_map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

#[test]
fn stories_of_all_seeds_end_well() {
    if let Some(seed) = variable("SEED") {
        let report = play(seed, None).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        println!("seed {seed}: {report:?}");
        return;
    }
    let seeds = variable("SEEDS").unwrap_or(SEEDS);
    let told = in_parallel(seeds, |at| {
        let seed = at + 1;
        let again = format!("again: SEED={seed} cargo test -p store --lib stories_of_all_seeds_end_well");
        play(seed, None).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}\n{again}"))
    });
    let sum = |of: fn(&Report) -> u64| told.iter().map(of).sum::<u64>();
    let operations = sum(|report| report.operations as u64);
    let acknowledged = sum(|report| report.acknowledged as u64);
    let (events, crashes) = (sum(|report| report.events as u64), sum(|report| report.crashes));
    println!(
        "{seeds} seeds: {operations} operations, {acknowledged} writes acknowledged, {events} events, {crashes} crashes"
    );
    assert!(acknowledged > seeds && crashes > seeds, "something happened in them");
}

#[test]
fn one_seed_tells_one_story() {
    for seed in [3, 4] {
        let (one, other) = (play(seed, None), play(seed, None));
        assert_eq!(one, other, "seed {seed}");
    }
}
