//! What bad guests cost: how long each goes on after it passed a limit, and how long a neighbour is kept waiting beside them.
//!
//! `cargo bench -p tests --bench hostile`; `HOSTILE` chooses those whose names begin so. The guests are those of the story of the same
//! name, which says what must come of each; here is measured. First those that are stopped, one after the other on a node that does
//! nothing else; then all of them, many at a time, beside a neighbour that is asked all the while, as it was in quiet before.
//! `PROGRAM` names another build of the program.

#[path = "../it/hostile/offences.rs"]
#[allow(dead_code, reason = "what must come of them is for the story")]
mod offences;
#[path = "../it/hostile/pods.rs"]
mod pods;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use api::kinds;
use client::{Client, Kubeconfig, ListOptions, WatchEvent};
use harness::{Cluster, Load, Plan, Report, eventually};
use offences::{OFFENCES, Offence, programs};
use serde_json::Value;

const BUILT: &str = env!("CARGO_BIN_EXE_coracle-under-test");
/// So many run at the same time.
const WAVE: usize = 16;
/// How long the neighbour is asked, in quiet and beside each wave.
const ASKED: Duration = Duration::from_secs(6);
/// Longest that one may take to be stopped.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let program = std::env::var("PROGRAM").unwrap_or_else(|_| BUILT.to_owned());
    let prefix = std::env::var("HOSTILE").unwrap_or_default();
    let chosen: Vec<&Offence> = OFFENCES.iter().filter(|offence| offence.deed.starts_with(&prefix)).collect();
    let folder = tempfile::tempdir()?;
    for (name, bytes) in programs() {
        fs::write(folder.path().join(format!("{name}.wasm")), bytes)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let bench = Bench { cluster: Plan::new().up(&program)?, folder: folder.path(), ended: Ended::default() };
    bench.apply(pods::NEIGHBOUR)?;
    eventually(60, || match harness::get(bench.cluster.ingress(), "neighbour.localhost", "/healthz") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let client = bench.client()?;
    runtime.spawn(watch(client, bench.ended.clone()));

    let alone = bench.alone(&chosen)?;
    bench.asked(Duration::from_secs(1), || Ok(()))?;
    let quiet = bench.asked(ASKED, || Ok(()))?;
    println!("{:<48}{:>10}{:>10}{:>10}{:>10}", "the neighbour beside", "answers", "p50, us", "p99, us", "x quiet");
    row("nobody", &quiet, &quiet);
    let (mut all, mut together) = (Report::default(), Vec::new());
    for wave in chosen.chunks(WAVE) {
        let text: String = wave.iter().map(|offence| pods::pod(offence, bench.folder)).collect();
        let report = bench.asked(ASKED, || bench.apply(&text))?;
        let name = format!("{} … {}", wave[0].deed, wave[wave.len() - 1].deed);
        row(&name, &report, &quiet);
        together.extend(wave.iter().filter(|offence| is_measured(offence)).filter_map(|one| bench.delay(one)));
        bench.delete();
        all.add(report);
    }
    row("all of them", &all, &quiet);

    println!("{:<48}{:>10}{:>10}{:>10}", "from passing a limit to `terminated`, ms", "half", "90 %", "all");
    delays("one after the other", alone);
    delays("many at a time", together);
    Ok(())
}

fn row(name: &str, report: &Report, quiet: &Report) {
    let ratio = f64::from(report.quantile(990)) / f64::from(quiet.quantile(990).max(1));
    let (half, most) = (report.quantile(500), report.quantile(990));
    let lost = if report.dropped() == 0 { String::new() } else { format!("  {} without an answer", report.dropped()) };
    println!("{name:<48}{:>10}{half:>10}{most:>10}{ratio:>10.1}{lost}", report.total());
}

fn delays(name: &str, mut delays: Vec<(u64, &str)>) {
    delays.sort_unstable();
    let at = |share: usize| delays.get((delays.len() * share / 100).min(delays.len().saturating_sub(1)));
    let millis = |share: usize| at(share).map_or(0, |(millis, _)| *millis);
    println!("{name:<48}{:>10}{:>10}{:>10}", millis(50), millis(90), millis(100));
    let last: Vec<String> = delays.iter().rev().take(6).map(|(millis, deed)| format!("{deed} {millis}")).collect();
    println!("  the last: {}", last.join(", "));
}

/// Those that collect things say when they begin, not when they have too many.
fn is_measured(offence: &Offence) -> bool {
    offence.text.is_none() && offence.end.is_a_stop() && !offence.deed.starts_with("handles")
}

/// When each was seen to have ended, in milliseconds of the clock that the guests read.
type Ended = Arc<Mutex<BTreeMap<String, u64>>>;

struct Bench<'a> {
    cluster: Cluster,
    folder: &'a Path,
    ended: Ended,
}

impl Bench<'_> {
    fn client(&self) -> anyhow::Result<Client> {
        let text = fs::read_to_string(self.cluster.kubeconfig())?;
        Ok(Client::new(Kubeconfig::parse(&text)?.target(self.cluster.data())?))
    }

    fn apply(&self, text: &str) -> anyhow::Result<()> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").canonicalize()?;
        let file = self.folder.join("manifest.yaml");
        fs::write(&file, text.replace("EXAMPLES", &examples.display().to_string()))?;
        self.cluster.coracle(&["apply", "-f", &file.display().to_string()]).ok();
        Ok(())
    }

    /// Asks the neighbour for so long, while something is done.
    fn asked(&self, time: Duration, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Report> {
        let began = Instant::now();
        let pause = Duration::from_millis(2);
        let load = Load::start_paced(self.cluster.ingress(), "neighbour.localhost", "/healthz", 2, pause);
        let done = work();
        std::thread::sleep(time.saturating_sub(began.elapsed()));
        let report = load.stop();
        done.map(|()| report)
    }

    /// How long each goes on, with nobody else there.
    fn alone<'b>(&self, chosen: &[&'b Offence]) -> anyhow::Result<Vec<(u64, &'b str)>> {
        let mut delays = Vec::new();
        for offence in chosen.iter().filter(|offence| is_measured(offence)) {
            self.apply(&pods::pod(offence, self.folder))?;
            let deadline = Instant::now() + PATIENCE;
            while self.ended_at(offence.deed).is_none() {
                anyhow::ensure!(Instant::now() < deadline, "{} was not stopped", offence.deed);
                std::thread::sleep(Duration::from_millis(5));
            }
            delays.extend(self.delay(offence));
        }
        self.delete();
        Ok(delays)
    }

    fn ended_at(&self, deed: &str) -> Option<u64> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get(deed).copied()
    }

    /// How long after it passed its limit one was seen to have ended, if it was.
    fn delay<'b>(&self, offence: &'b Offence) -> Option<(u64, &'b str)> {
        let log = self.cluster.coracle(&["logs", offence.deed, "--tail", "50"]).stdout;
        let passed = log.lines().rev().find_map(|line| line.strip_prefix("limit ")?.parse::<u64>().ok())?;
        Some((self.ended_at(offence.deed)?.saturating_sub(passed), offence.deed))
    }

    /// Has all of them go, and waits until they are gone.
    fn delete(&self) {
        self.cluster.coracle(&["delete", "pods", "-l", "app=hostile"]).ok();
        eventually(60, || {
            let left = self.cluster.coracle(&["get", "pods", "-l", "app=hostile", "-o", "name"]).ok();
            if left.trim().is_empty() { Ok(()) } else { Err(left) }
        });
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Notes when pods are seen to have ended, for ever.
async fn watch(client: Client, ended: Ended) {
    if let Err(error) = watched(&client, &ended).await {
        eprintln!("the watch broke off: {error:#}");
    }
}

async fn watched(client: &Client, ended: &Ended) -> anyhow::Result<()> {
    let options = ListOptions::default();
    let (_, revision) = client.list(kinds::POD, Some("default"), &options).await?;
    let mut events = client.watch(kinds::POD, Some("default"), &options, revision).await?;
    while let Some(event) = events.next().await? {
        let WatchEvent::Applied(pod) = event else { continue };
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let (name, pod): (String, Value) = (pod.key().name().to_owned(), pod.to_value()?);
        let state = pod.pointer("/status/containerStatuses/0/state").context("no state yet");
        if state.is_ok_and(|state| state["terminated"].is_object()) {
            ended.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(now);
        }
    }
    anyhow::bail!("the server ended it")
}
