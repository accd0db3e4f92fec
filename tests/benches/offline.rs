//! A node is cut off for ten minutes, and its process is killed and started in the middle of that.
//!
//! `cargo bench -p tests --bench offline`; `MINUTES` (10) says for how long, `PROGRAM` names another build. Takes root, for network namespaces.
//! A request that the node's own edge does not answer, but for the moment of its restart, makes it fail; so does a pod that is started
//! again when the node is back.

use std::time::Duration;

const BUILT: &str = env!("CARGO_BIN_EXE_coracle-under-test");
const AGENTS: usize = 5;

fn main() -> anyhow::Result<()> {
    let minutes: u64 = std::env::var("MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let program = std::env::var("PROGRAM").unwrap_or_else(|_| BUILT.to_owned());
    let away = harness::offline(&program, AGENTS, Duration::from_secs(minutes * 60))?;
    println!("{away}");
    Ok(())
}
