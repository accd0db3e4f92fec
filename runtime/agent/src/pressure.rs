//! Watching what the node has left, and sending pods off when it is too little.
//!
//! What is decided is [`eviction`](crate::eviction)'s; this looks, tells the node's conditions, and posts to the pod whose turn it is.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::oneshot;
use tracing::warn;

use crate::context::Context;
use crate::desired::{self, Uid, Wanted};
use crate::eviction::{self, Candidate, Level, Met, Pressures, Scarce, Signals, StorageUsed};
use crate::pod::Happening;
use crate::usage::PodUsage;
use crate::worker::{Mail, Post};
use crate::{machine, quantity};

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// A pod that was sent off is waited for this long before the next one is.
const PARTING: Duration = Duration::from_secs(10);

/// Keeps the node from running out, for ever.
pub(crate) async fn keep(context: Arc<Context>) {
    let mut pulse = tokio::time::interval(PERIOD);
    pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last_met: [Option<Instant>; 2] = [None, None];
    loop {
        pulse.tick().await;
        let met = context.config.eviction.thresholds.met(&signals(&context));
        for one in &met {
            last_met[one.scarce as usize] = Some(Instant::now());
        }
        let holds = |scarce: Scarce| {
            last_met[scarce as usize].is_some_and(|at| at.elapsed() <= context.config.eviction.transition_period)
        };
        let pressures = Pressures { memory: holds(Scarce::Memory), disk: holds(Scarce::Disk) };
        context.pressures.send_if_modified(|known| std::mem::replace(known, pressures) != pressures);
        if let Some(met) = met.first() {
            relieve(&context, met).await;
        }
    }
}

fn signals(context: &Context) -> Signals {
    let used = context.guests.usage().memory_bytes;
    let budget = context.machine.memory_bytes;
    // Guests have no more than their budget, and no more than the machine can still give.
    let available = budget.saturating_sub(used).min(machine::in_use().memory_free_bytes);
    let memory = Level { available, capacity: budget };
    let Ok(disk) = rustix::fs::statvfs(&context.config.data_dir) else {
        return Signals { memory, ..Signals::default() };
    };
    Signals {
        memory,
        disk: Level { available: disk.f_bavail * disk.f_frsize, capacity: disk.f_blocks * disk.f_frsize },
        inodes: Level { available: disk.f_favail, capacity: disk.f_files },
    }
}

/// Sends off the pod whose turn it is, and waits until it has gone.
async fn relieve(context: &Arc<Context>, met: &Met) {
    let candidates = candidates(context, met.scarce).await;
    let Some(first) = eviction::first_to_go(&candidates) else {
        warn!(resource = met.scarce.resource(), "the node is short, and no pod is there to be evicted");
        return;
    };
    // Whose worker does not yet read its post is seen at the next look.
    let Some(post) = context.post(&first.uid) else { return };
    warn!(pod = %first.uid, resource = met.scarce.resource(), "evicted");
    let _ = post.unbounded_send(Mail::Happened(Happening::Evicted(met.message(first))));
    let gone = async {
        while count(&post).await.is_some_and(|usage| !usage.containers.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(PARTING, gone).await;
}

async fn count(post: &Post) -> Option<PodUsage> {
    let (reply, told) = oneshot::channel();
    post.unbounded_send(Mail::Count(reply)).ok()?;
    told.await.ok()
}

async fn candidates(context: &Arc<Context>, scarce: Scarce) -> Vec<Candidate> {
    let all: Vec<(Uid, Wanted)> = desired::all(&context.view(), &context.config.node_name).collect();
    let mut candidates = Vec::new();
    for (uid, wanted) in all {
        if eviction::is_critical(&wanted.pod) {
            continue;
        }
        let told = match context.post(&uid) {
            Some(post) => count(&post).await,
            None => None,
        };
        let running = told.filter(|usage| !usage.containers.is_empty());
        match scarce {
            Scarce::Memory => candidates.extend(running.map(|usage| by_memory(uid, &wanted.pod, &usage))),
            // Whoever has not started yet may have much on the disk from an earlier life of the node.
            Scarce::Disk if running.is_some() || !is_over(&wanted.pod) => {
                let (context, pod) = (context.clone(), wanted.pod.clone());
                let used = tokio::task::spawn_blocking(move || storage_of(&context, &pod)).await.unwrap_or_default();
                candidates.push(by_disk(uid, &wanted.pod, &used));
            }
            Scarce::Disk => {}
        }
    }
    candidates
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn by_memory(uid: Uid, pod: &Pod, usage: &PodUsage) -> Candidate {
    let spec = pod.spec.as_ref();
    let asked = |name: &str| {
        let container = spec.and_then(|spec| spec.containers.iter().find(|one| one.name == name));
        let resources = container.and_then(|container| container.resources.as_ref());
        resources.and_then(|resources| quantity::units(resources.requests.as_ref()?.get("memory")?)).unwrap_or(0)
    };
    let containers = usage.containers.iter().map(|(name, told)| (name.clone(), told.usage.memory_bytes, asked(name)));
    Candidate { uid, priority: eviction::priority(pod), containers: containers.collect(), beside: 0 }
}

fn by_disk(uid: Uid, pod: &Pod, used: &StorageUsed) -> Candidate {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| {
        let logs = used.logs.get(&container.name).copied().unwrap_or(0);
        (container.name.clone(), logs, eviction::storage_request(container))
    });
    Candidate { uid, priority: eviction::priority(pod), containers: containers.collect(), beside: used.volumes }
}

/// What a pod keeps on the disk.
pub(crate) fn storage_of(context: &Context, pod: &Pod) -> StorageUsed {
    let metadata = &pod.metadata;
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let (namespace, name, uid) = (word(&metadata.namespace), word(&metadata.name), word(&metadata.uid));
    let logs = context.config.data_dir.join("logs").join(format!("{namespace}_{name}_{uid}"));
    let names = pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| container.name.clone());
    StorageUsed {
        logs: names.map(|name| (name.clone(), bytes_below(&logs.join(name)))).collect(),
        volumes: bytes_below(&context.config.data_dir.join("pods").join(uid)),
    }
}

/// What a directory takes on the disk, as `du` has it; what cannot be read counts nothing.
fn bytes_below(root: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let (mut bytes, mut directories) = (0, vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            bytes += found.blocks() * BLOCK_BYTES;
            if found.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    bytes
}
