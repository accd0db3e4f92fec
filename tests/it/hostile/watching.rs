//! The pods as they are now, and when each of them was seen to have ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::watcher::{self, Event};
use serde_json::Value;

use crate::clients::client_of;

#[derive(Default)]
struct Seen {
    pods: BTreeMap<String, Value>,
    ended_at_millis: BTreeMap<String, u64>,
}

/// A watch that goes on until it is dropped.
pub(super) struct Watching {
    seen: Arc<Mutex<Seen>>,
    pods: Api<Pod>,
    runtime: tokio::runtime::Runtime,
}

impl Watching {
    pub(super) fn start(kubeconfig: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let pods: Api<Pod> = Api::default_namespaced(runtime.block_on(client_of(kubeconfig)));
        let watched = pods.clone();
        let seen = Arc::<Mutex<Seen>>::default();
        let noted = seen.clone();
        runtime.spawn(async move {
            let mut events = std::pin::pin!(watcher::watcher(watched, watcher::Config::default()));
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(pod) | Event::InitApply(pod)) => note(&noted, &pod),
                    Ok(Event::Delete(pod)) => {
                        let name = pod.metadata.name.unwrap_or_default();
                        noted.lock().expect("nobody panicked").pods.remove(&name);
                    }
                    _ => {}
                }
            }
        });
        Self { seen, pods, runtime }
    }

    /// Deletes all pods with this label, and waits until they are gone.
    pub(super) fn delete(&self, label: &str, value: &str) {
        let which = ListParams::default().labels(&format!("{label}={value}"));
        self.runtime.block_on(self.pods.delete_collection(&DeleteParams::default(), &which)).expect("they are deleted");
        harness::eventually(60, || if self.is_empty(label, value) { Ok(()) } else { Err("some are left".to_owned()) });
    }

    pub(super) fn pod(&self, name: &str) -> Value {
        self.seen.lock().expect("nobody panicked").pods.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn ended_at_millis(&self, name: &str) -> Option<u64> {
        self.seen.lock().expect("nobody panicked").ended_at_millis.get(name).copied()
    }

    /// Whether no pod with this label is there.
    fn is_empty(&self, label: &str, value: &str) -> bool {
        let seen = self.seen.lock().expect("nobody panicked");
        seen.pods.values().all(|pod| pod["metadata"]["labels"][label] != value)
    }
}

fn note(seen: &Mutex<Seen>, pod: &Pod) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let pod = serde_json::to_value(pod).expect("a pod is JSON");
    let mut seen = seen.lock().expect("nobody panicked");
    if pod["status"]["containerStatuses"][0]["state"]["terminated"].is_object() {
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        seen.ended_at_millis.entry(name.clone()).or_insert(millis);
    }
    seen.pods.insert(name, pod);
}
