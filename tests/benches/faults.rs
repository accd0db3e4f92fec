//! Servers and nodes are broken for ten minutes, one fault after the other, while clients write and read.
//!
//! `cargo bench -p tests --bench faults`, or `cargo test -p tests --bench faults` for the program as it is tested. `FAULTS_SECONDS` (600) says
//! for how long, `SEED` which faults come (any, if it says nothing), `FROM` and `ROUNDS` which rounds of that seed: a round is had again by
//! `SEED` and `FROM` as it was printed, with `ROUNDS=1`. `PROGRAM` names another build. Takes root, for network namespaces.
//! A client's acknowledged write that is lost, a stale read, a pod that is touched because a server broke, and half a minute without
//! everything being as before make it fail.

use std::time::{Duration, Instant, SystemTime};

use harness::{Faults, Round, Times, namespaces_are_possible};

const BUILT: &str = env!("CARGO_BIN_EXE_coracle-under-test");
const AGENTS: usize = 5;

fn main() -> anyhow::Result<()> {
    if !namespaces_are_possible() {
        return Ok(());
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let lasting = Duration::from_secs(number("FAULTS_SECONDS").unwrap_or(600));
    let seed = match number("SEED") {
        Some(seed) => seed,
        None => u64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_millis())? % 1_000_000,
    };
    let from = number("FROM").unwrap_or_default();
    let rounds = number("ROUNDS").unwrap_or(u64::MAX - from);
    let program = std::env::var("PROGRAM").unwrap_or_else(|_| BUILT.to_owned());
    let mut faults = Faults::begin(&program, AGENTS)?;
    let began = Instant::now();
    let mut recoveries = Times::of("end of a fault → all as before", 30_000);
    let mut wrong = Vec::new();
    for round in (from..from + rounds).take_while(|_| began.elapsed() < lasting) {
        let round = Round::of(seed, round);
        let outcome = faults.round(&round).map_err(|error| error.context(round.to_string()))?;
        println!("{round}, as before {} ms later", outcome.recovered.as_millis());
        recoveries.add(outcome.recovered);
        for what in outcome.wrong {
            println!("  WRONG: {what}");
            wrong.push(format!("{round}: {what}"));
        }
    }
    let (counts, lost) = faults.end()?;
    wrong.extend(lost);
    println!("{counts}");
    println!("{:<44}{:>7}{:>9}{:>9}{:>9}{:>9}", "milliseconds", "rounds", "p50", "p99", "most", "aim");
    println!("{recoveries}");
    anyhow::ensure!(wrong.is_empty(), "{} things were wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
