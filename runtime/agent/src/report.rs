//! Telling the cluster how a pod is: only what changed, again and again until it is heard, and at the end the delete.

use std::sync::Arc;
use std::time::Duration;

use api::{Key, Object, Revision};
use client::{ClientError, DeleteOptions, PatchType};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::context::Context;
use crate::desired::Uid;

/// What is to be told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// How the pod is.
    pub(crate) status: Arc<PodStatus>,
    /// What the cluster said last, and when.
    pub(crate) seen: (Revision, Arc<PodStatus>),
    /// Whether nothing of it is left here.
    pub(crate) ended: bool,
}

/// Pauses between tries grow from the first to the second.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// The steps by which a pod comes up follow each other faster than anybody reads of them: only a step that takes so long is told.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// Tells reports until the pod is gone from the cluster, or nobody reports any more.
pub(crate) async fn tell(context: Arc<Context>, key: Key, uid: Uid, mut reports: watch::Receiver<Report>) {
    let mut heard: Option<(Revision, Arc<PodStatus>)> = None;
    let mut pause = RETRY_FIRST;
    loop {
        let mut report = reports.borrow_and_update().clone();
        let patience = tokio::time::Instant::now() + ON_ITS_WAY;
        while report.is_on_its_way() {
            match tokio::time::timeout_at(patience, reports.changed()).await {
                Ok(Ok(())) => report = reports.borrow_and_update().clone(),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        let base = heard.take().filter(|(at, _)| *at > report.seen.0).unwrap_or_else(|| report.seen.clone());
        // In a place of its own while it lasts: of ten thousand that wait for something to tell, hardly one is telling.
        let told = match Box::pin(told(&context, &key, &uid, &base.1, &report)).await {
            Ok(Told::Gone) => return,
            Ok(Told::Nothing) => {
                heard = Some(base);
                Ok(())
            }
            Ok(Told::Status(object)) => {
                let status = object.decode::<Pod>().ok().and_then(|pod| pod.status.clone()).unwrap_or_default();
                heard = Some((object.revision(), Arc::new(status)));
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            debug!(pod = %key, %error, "the status was not heard");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_LAST);
            continue;
        }
        pause = RETRY_FIRST;
        if reports.changed().await.is_err() {
            return;
        }
    }
}

// === impl Report ===

impl Report {
    fn is_on_its_way(&self) -> bool {
        !self.ended && self.status.phase.as_deref() == Some("Pending")
    }
}

enum Told {
    Nothing,
    Status(Object),
    Gone,
}

async fn told(context: &Context, key: &Key, uid: &str, base: &PodStatus, report: &Report) -> Result<Told, ClientError> {
    let mut told = Told::Nothing;
    if let Some(patch) = difference(&json!(base), &json!(*report.status)) {
        let patch = json!({"metadata": {"uid": uid}, "status": patch});
        match context.client.patch_status(key, PatchType::Merge, &patch).await {
            Err(error) if error.is_not_found() => return Ok(Told::Gone),
            Err(error) if report.ended => warn!(pod = %key, %error, "the last status was not heard"),
            object => told = Told::Status(object?),
        }
    }
    if report.ended {
        return match context.client.delete(key, &DeleteOptions::default().grace(0).only(uid)).await {
            // Another pod has the name by now.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(Told::Gone),
            deleted => deleted.map(|_| Told::Gone),
        };
    }
    Ok(told)
}

/// The merge patch that makes `new` of `old`, or none where they are the same.
pub(crate) fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let changed = new.iter().filter_map(|(name, value)| {
        let patch = difference(old.get(name).unwrap_or(&Value::Null), value)?;
        Some((name.clone(), patch))
    });
    Some(Value::Object(gone.chain(changed).collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let old = json!({"phase": "Pending", "ip": "1", "list": [1], "inner": {"a": 1, "b": 2}});
        let new = json!({"phase": "Running", "ip": "1", "list": [1, 2], "inner": {"a": 1}});
        assert_eq!(difference(&old, &new), Some(json!({"phase": "Running", "list": [1, 2], "inner": {"b": null}})));
        assert_eq!(difference(&old, &old), None);
    }
}
