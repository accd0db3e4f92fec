//! What the node and its containers use: two looks at what they have used, and what lies between.
//!
//! Nothing is measured while nobody asks. The first question takes a second; those that follow are answered from the look before,
//! and whoever asks again at once is told the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use host::Usage;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::context::Context;
use crate::machine::{self, InUse};
use crate::worker::Mail;

/// What the containers of one pod have used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodUsage {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// By the container's name.
    pub(crate) containers: BTreeMap<String, ContainerUsage>,
}

/// What one run of a container has used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ContainerUsage {
    pub(crate) run: u32,
    pub(crate) usage: Usage,
    /// Of those that answer requests.
    pub(crate) asked: Option<Asked>,
}

/// What a container was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Since the beginning, the node's own probes not counted.
    pub(crate) requests: u64,
    /// Those that are being answered.
    pub(crate) in_flight: usize,
}

/// Everything that was used up to one moment.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    time: Timestamp,
    machine: InUse,
    pods: Vec<PodUsage>,
}

/// The last look, and what was told of it.
#[derive(Default)]
pub(crate) struct Meter {
    before: Option<Sample>,
    told: Option<(Instant, Arc<Value>)>,
}

/// Less than this is too short to call it a rate.
const WINDOW_MIN: Duration = Duration::from_secs(1);
/// A look that is older says nothing about now.
const WINDOW_MAX: Duration = Duration::from_secs(30);
/// What was told is told again for so long.
const FRESH: Duration = Duration::from_secs(2);

/// What is used now, as a kubelet's summary has it.
pub(crate) async fn summary(context: &Context) -> Arc<Value> {
    // Whoever comes while somebody measures waits, and is told the same.
    let mut meter = context.meter.lock().await;
    if let Some((at, told)) = &meter.told
        && at.elapsed() < FRESH
    {
        return told.clone();
    }
    let before = match meter.before.take() {
        Some(before) if before.at.elapsed() < WINDOW_MAX => before,
        _ => sample(context).await,
    };
    tokio::time::sleep_until((before.at + WINDOW_MIN).into()).await;
    let now = sample(context).await;
    let told = Arc::new(between(&context.config.node_name, &before, &now));
    meter.before = Some(now);
    meter.told = Some((Instant::now(), told.clone()));
    told
}

async fn sample(context: &Context) -> Sample {
    let posts: Vec<_> = context.posts().values().cloned().collect();
    let asking = posts.into_iter().map(|post| async move {
        let (reply, told) = oneshot::channel();
        post.unbounded_send(Mail::Count(reply)).ok()?;
        told.await.ok()
    });
    let pods = join_all(asking).await.into_iter().flatten().filter(|pod| !pod.containers.is_empty()).collect();
    Sample { at: Instant::now(), time: Timestamp::now(), machine: machine::in_use(), pods }
}

fn between(node: &str, before: &Sample, now: &Sample) -> Value {
    let window = now.at.saturating_duration_since(before.at).as_secs_f64();
    let time = now.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let used = |before: Duration, now: Duration, memory: u64| {
        let since = now.saturating_sub(before).as_nanos() as f64;
        let rate = if window > 0.0 { (since / window) as u64 } else { 0 };
        let total = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        (
            json!({"time": time, "usageNanoCores": rate, "usageCoreNanoSeconds": total}),
            json!({"time": time, "workingSetBytes": memory}),
        )
    };
    let earlier: BTreeMap<(&str, &str, u32), &ContainerUsage> = before
        .pods
        .iter()
        .flat_map(|pod| pod.containers.iter().map(|(name, used)| ((&*pod.uid, &**name, used.run), used)))
        .collect();
    let pods = now.pods.iter().map(|pod| {
        let containers = pod.containers.iter().map(|(name, ContainerUsage { run, usage, asked })| {
            // A run that began meanwhile had used nothing before.
            let before = earlier.get(&(&*pod.uid, &**name, *run));
            let cpu_before = before.map(|before| before.usage.cpu).unwrap_or_default();
            let (cpu, memory) = used(cpu_before, usage.cpu, usage.memory_bytes);
            let mut told =
                json!({"name": name, "cpu": cpu, "memory": memory, "instances": usage.instances, "requests": usage.requests});
            if let Some(Asked { requests, in_flight }) = asked {
                let asked_before = before.and_then(|before| before.asked).map_or(0, |asked| asked.requests);
                let since = requests.saturating_sub(asked_before) as f64;
                told["requestsPerSecond"] = if window > 0.0 { since / window } else { 0.0 }.into();
                told["requestsInFlight"] = (*in_flight).into();
            }
            told
        });
        let pod_ref = json!({"namespace": pod.namespace, "name": pod.name, "uid": pod.uid});
        json!({"podRef": pod_ref, "containers": containers.collect::<Vec<_>>()})
    });
    let (cpu, memory) = used(before.machine.busy, now.machine.busy, now.machine.memory_bytes);
    let node = json!({"nodeName": node, "cpu": cpu, "memory": memory});
    json!({"node": node, "pods": pods.collect::<Vec<_>>(), "window": window})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, machine_millis: u64, containers: &[(&str, u32, u64)]) -> Sample {
        let usage =
            |millis: u64| Usage { cpu: Duration::from_millis(millis), memory_bytes: 1 << 20, ..Usage::default() };
        let asked = |millis: u64| Some(Asked { requests: millis / 10, in_flight: 1 });
        let containers = containers.iter().map(|(name, run, millis)| {
            ((*name).to_owned(), ContainerUsage { run: *run, usage: usage(*millis), asked: asked(*millis) })
        });
        let pod = PodUsage {
            namespace: "shop".into(),
            name: "web-0".into(),
            uid: "u1".into(),
            containers: containers.collect(),
        };
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        let machine = InUse { busy: Duration::from_millis(machine_millis), memory_bytes: 5, ..InUse::default() };
        let at = *START + Duration::from_secs(seconds);
        Sample { at, time: Timestamp::UNIX_EPOCH, machine, pods: vec![pod] }
    }

    #[test]
    fn a_rate_is_what_was_used_over_how_long() {
        let told = between("n1", &sample(0, 1_000, &[("a", 0, 100)]), &sample(4, 3_000, &[("a", 0, 1_100)]));
        assert_eq!(told["node"]["cpu"]["usageNanoCores"], 500_000_000_u64);
        assert_eq!(told["pods"][0]["containers"][0]["cpu"]["usageNanoCores"], 250_000_000_u64);
        assert_eq!(told["pods"][0]["containers"][0]["memory"]["workingSetBytes"], 1 << 20);
        assert_eq!(told["pods"][0]["containers"][0]["requestsPerSecond"], 25.0);
        assert_eq!((&told["window"], &told["node"]["nodeName"]), (&json!(4.0), &json!("n1")));
    }

    #[test]
    fn a_run_that_began_meanwhile_is_counted_from_its_beginning() {
        let told = between("n1", &sample(0, 0, &[("a", 0, 900)]), &sample(1, 0, &[("a", 1, 100), ("b", 0, 200)]));
        let rate = |at: usize| told["pods"][0]["containers"][at]["cpu"]["usageNanoCores"].as_u64();
        assert_eq!((rate(0), rate(1)), (Some(100_000_000), Some(200_000_000)));
    }
}
