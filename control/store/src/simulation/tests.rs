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

#[test]
fn stories_of_all_seeds_end_well() {
    if let Some(seed) = variable("SEED") {
        let report = play(seed, None).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        println!("seed {seed}: {report:?}");
        return;
    }
    let seeds = variable("SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(1);
    let told = || {
        let mut told = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                return told;
            }
            let again = format!("again: SEED={seed} cargo test -p store --lib stories_of_all_seeds_end_well");
            told.push(play(seed, None).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}\n{again}")));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let told: Vec<Report> = thread::scope(|scope| {
        let telling: Vec<_> = (0..threads).map(|_| scope.spawn(told)).collect();
        telling.into_iter().flat_map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
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
