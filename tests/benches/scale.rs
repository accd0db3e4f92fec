//! How large a cluster one machine bears: hollow nodes and pods by the real API, store, scheduler and controllers.
//!
//! `cargo bench -p tests --bench scale`; `NODES` (5,000) and `PODS` (150,000, in Deployments of 30) say how large. Everything goes on at
//! once: pods are created, given nodes and told of as running. With `STAGED` set one comes after the other, so that each has a figure of
//! its own: the nodes are cordoned until all pods are there, and tell of none until all have a node. `PROGRAM` names another build.

use std::time::{Duration, Instant};

use harness::measure::quantile;
use harness::{Scale, Taken};

const BUILT: &str = env!("CARGO_BIN_EXE_coracle-under-test");
/// Longest that one step may take.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// The aims.
const AIM_BINDS: f64 = 10_000.0;
const AIM_GIB: f64 = 12.0;

fn main() -> anyhow::Result<()> {
    let said = |name: &str, usual: usize| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let program = std::env::var("PROGRAM").unwrap_or_else(|_| BUILT.to_owned());
    let is_staged = std::env::var_os("STAGED").is_some();
    let scale =
        Scale { nodes: said("NODES", 5_000), pods: said("PODS", 150_000), replicas: 30, of_namespace: 30, is_staged };
    let taken = scale.measure(&program, PATIENCE)?;
    print(&scale, &taken);
    Ok(())
}

fn print(scale: &Scale, taken: &Taken) {
    let pods = scale.pods as f64;
    let order = if scale.is_staged { "one after the other" } else { "all at once" };
    println!(
        "{} hollow nodes registered in {:.1} s; {} pods, {order}",
        scale.nodes,
        taken.registered.as_secs_f64(),
        scale.pods
    );
    println!("{:<12}{:>12}{:>14}{:>16}{:>14}", "pods", "all after, s", "a second", "middle second", "processor, us");
    let processor =
        [taken.processor[0], taken.processor[1] - taken.processor[0], taken.processor[2] - taken.processor[1]];
    for ((what, moments), processor) in
        [("created", &taken.seen.created), ("bound", &taken.seen.bound), ("Ready", &taken.seen.running)]
            .into_iter()
            .zip(processor)
    {
        let since = if what == "bound" { taken.opened } else { taken.began };
        let all = moments.iter().max().map_or(0.0, |last| seconds(since, *last));
        let (whole, middle) = Taken::pace(moments);
        println!("{what:<12}{all:>12.1}{whole:>14.0}{middle:>16.0}{:>14.0}", processor / pods * 1e6);
    }
    println!("{:<12}{:>54.0}", "in all", taken.processor[2] / pods * 1e6);
    for (what, micros) in ["get", "list of a namespace", "create", "watch behind"]
        .into_iter()
        .zip(taken.answers.iter().chain([&taken.seen.lags]))
    {
        let of = |per_mille| f64::from(quantile(micros, per_mille)) / 1e3;
        println!(
            "{what:<22} p50 {:>9.2} ms  p99 {:>9.2} ms  most {:>9.2} ms  of {}",
            of(500),
            of(990),
            of(1_000),
            micros.len()
        );
    }
    let gib = |kib: f64| kib / 1_048_576.0;
    println!(
        "server: {:.2} GiB, at most {:.2} GiB (the aim: {AIM_GIB}), {:.1} KiB a pod; {} events watched, {} new lists, {} leases late",
        gib(taken.resident_kib),
        gib(taken.resident_most_kib),
        (taken.resident_kib - taken.resident_first_kib) / pods,
        taken.seen.events,
        taken.seen.lists,
        taken.late_leases
    );
    println!("binds: {:.2} of the aim of {AIM_BINDS} a second", Taken::pace(&taken.seen.bound).0 / AIM_BINDS);
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}
