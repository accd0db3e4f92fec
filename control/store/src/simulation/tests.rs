//! Stories, one for each seed.
//!
//! `SEEDS=1000 cargo test -p store simulation::tests::stories` plays more of them, and `SEED=7` the one that failed again.

use super::story::play;
use super::variable;

/// In the normal run.
const SEEDS: u64 = 75;

#[test]
fn stories_of_all_seeds_end_well() {
    if let Some(seed) = variable("SEED") {
        let report = play(seed, None).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        println!("seed {seed}: {report:?}");
        return;
    }
    let seeds = variable("SEEDS").unwrap_or(SEEDS);
    let (mut operations, mut acknowledged, mut events, mut crashes) = (0, 0, 0, 0);
    for seed in 1..=seeds {
        let again = format!("again: SEED={seed} cargo test -p store --lib stories_of_all_seeds_end_well");
        let report = play(seed, None).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}\n{again}"));
        operations += report.operations;
        acknowledged += report.acknowledged;
        events += report.events;
        crashes += report.crashes;
    }
    println!(
        "{seeds} seeds: {operations} operations, {acknowledged} writes acknowledged, {events} events, {crashes} crashes"
    );
    assert!(acknowledged as u64 > seeds && crashes > seeds, "something happened in them");
}

#[test]
fn one_seed_tells_one_story() {
    for seed in [3, 4] {
        let (one, other) = (play(seed, None), play(seed, None));
        assert_eq!(one, other, "seed {seed}");
    }
}
