//! How soon nodes join, a control plane goes on without its leader, and pods of lost nodes are elsewhere.
//!
//! `cargo bench -p tests --bench fleet`; `ROUNDS` (50) says how often, `ONLY` which of `join,handover,failover,killed,silent`. Three servers
//! and five agents, each a process in a network namespace, which takes root. What is watched is told by a mirror over one connection.
//! `PROGRAM` names another build.

use std::time::Duration;

use harness::{Rounds, Times};

const BUILT: &str = env!("CARGO_BIN_EXE_coracle-under-test");
const AGENTS: usize = 5;

fn main() -> anyhow::Result<()> {
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let program = std::env::var("PROGRAM").unwrap_or_else(|_| BUILT.to_owned());
    let only = std::env::var("ONLY").unwrap_or_default();
    let is_wanted = |what: &str| only.is_empty() || only.split(',').any(|one| one == what);
    let mut fleet = Rounds::begin(&program, AGENTS)?;
    println!("{:<44}{:>7}{:>9}{:>9}{:>9}{:>9}", "milliseconds", "rounds", "p50", "p99", "most", "aim");
    if is_wanted("join") {
        measured(rounds, [("agent started → node Ready", 3_000)], |_| Ok([fleet.join()?]))?;
    }
    if is_wanted("handover") {
        let what = [("lead handed over: longest without a write", 15), ("the same before it", 15)];
        measured(rounds, what, |_| fleet.handover().map(|(around, before)| [around, before]))?;
    }
    if is_wanted("failover") {
        let mut requests = 0;
        let what = [("leader killed: next write, anybody's", 800), ("the same, the slowest writer's", 800)];
        measured(rounds, what, |_| {
            let failover = fleet.failover()?;
            requests += failover.requests;
            Ok([failover.all, failover.one])
        })?;
        println!("  {requests} requests to the edges meanwhile, every one answered; no pod touched");
    }
    if is_wanted("killed") {
        measured(rounds, [("node killed → replacement Ready", 1_000)], |_| Ok([fleet.killed()?]))?;
    }
    if is_wanted("silent") {
        measured(rounds, [("node silent → replacement Ready", 5_000)], |_| Ok([fleet.silent()?]))?;
    }
    Ok(())
}

/// Does it so many times, and prints how long each part of it took.
fn measured<const PARTS: usize>(
    rounds: usize,
    parts: [(&'static str, u32); PARTS],
    mut round: impl FnMut(usize) -> anyhow::Result<[Duration; PARTS]>,
) -> anyhow::Result<()> {
    let mut times = parts.map(|(what, aim)| Times::of(what, aim));
    for number in 0..rounds {
        let taken = round(number).map_err(|error| error.context(format!("round {number} of {:?}", parts[0].0)))?;
        for (times, taken) in times.iter_mut().zip(taken) {
            times.add(taken);
        }
    }
    for times in times {
        println!("{times}");
    }
    Ok(())
}
