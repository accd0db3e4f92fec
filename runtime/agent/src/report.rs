//! Telling the cluster how a pod is: only what changed, again and again until it is heard, and at the end the delete.

use std::sync::Arc;
use std::time::Duration;

use api::{Key, Object, Revision};
use client::{ClientError, DeleteOptions, PatchType};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::PodStatus;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
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

/// What is being told of one pod. It is a part of the pod's worker, which asks it for the next step beside all else that happens:
/// of ten thousand pods that have told everything, none costs a task.
pub(crate) struct Telling {
    context: Arc<Context>,
    key: Key,
    uid: Uid,
    /// The last report, and whether there is something in it that nobody was told.
    report: Report,
    is_due: bool,
    /// What the cluster says since it heard of us, until we see it ourselves.
    heard: Option<(Revision, Arc<PodStatus>)>,
    /// So long a report that is soon followed by another waits for it.
    patience: Option<Instant>,
    /// So long nothing is tried again that failed, and the pause behind that.
    retry_at: Option<Instant>,
    pause: Duration,
    under_way: Option<BoxFuture<'static, Result<Told, ClientError>>>,
    is_over: bool,
}

/// What came of one report.
pub(crate) struct Told {
    /// What the cluster says now.
    heard: (Revision, Arc<PodStatus>),
    /// Whether the pod is gone from it.
    is_gone: bool,
}

/// Pauses between tries grow from the first to the second.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// The steps by which a pod comes up follow each other faster than anybody reads of them: only a step that takes so long is told.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

// === impl Telling ===

impl Telling {
    /// Nothing has been told yet of a pod that is as the cluster says.
    pub(crate) fn new(context: Arc<Context>, key: Key, uid: Uid, seen: (Revision, Arc<PodStatus>)) -> Self {
        Self {
            context,
            key,
            uid,
            report: Report { status: seen.1.clone(), seen, ended: false },
            is_due: false,
            heard: None,
            patience: None,
            retry_at: None,
            pause: RETRY_FIRST,
            under_way: None,
            is_over: false,
        }
    }

    /// Tells this from now on.
    pub(crate) fn say(&mut self, report: Report) {
        if self.report != report {
            self.report = report;
            self.is_due = true;
            self.patience.get_or_insert_with(|| Instant::now() + ON_ITS_WAY);
        }
    }

    /// Whether everything is told, and all that the cluster has heard was seen.
    pub(crate) fn is_done(&self) -> bool {
        let is_seen = self.heard.as_ref().is_none_or(|(heard, _)| *heard <= self.report.seen.0);
        self.under_way.is_none() && !self.is_due && is_seen
    }

    /// Puts this in the place of what was reported, which says the same.
    pub(crate) fn exchange(&mut self, report: Report) {
        (self.report, self.heard) = (report, None);
    }

    /// Goes on telling until there is something else to do. It may be dropped at any time and asked again.
    pub(crate) async fn go_on(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            let told = under_way.await;
            self.under_way = None;
            self.learn(told);
            return;
        }
        match self.starts_at() {
            None => std::future::pending().await,
            Some(at) => tokio::time::sleep_until(at).await,
        }
        self.begin();
    }

    /// Tells what is left until the pod is gone from the cluster.
    pub(crate) async fn finish(mut self) {
        while !self.is_over && (self.is_due || self.under_way.is_some()) {
            self.go_on().await;
        }
    }

    fn starts_at(&self) -> Option<Instant> {
        if !self.is_due || self.is_over {
            return None;
        }
        let patience = self.patience.filter(|_| self.report.is_on_its_way());
        [patience, self.retry_at].into_iter().flatten().max().or_else(|| Some(Instant::now()))
    }

    fn begin(&mut self) {
        (self.is_due, self.patience, self.retry_at) = (false, None, None);
        let seen = &self.report.seen;
        let base = self.heard.take().filter(|(at, _)| *at > seen.0).unwrap_or_else(|| seen.clone());
        // What others see of it is what it says: nobody need be asked.
        if !self.report.ended && (Arc::ptr_eq(&base.1, &self.report.status) || base.1 == self.report.status) {
            self.heard = Some(base);
            return;
        }
        let (context, key, uid, report) =
            (self.context.clone(), self.key.clone(), self.uid.clone(), self.report.clone());
        self.under_way = Some(Box::pin(async move { told(&context, &key, &uid, base, &report).await }));
    }

    fn learn(&mut self, told: Result<Told, ClientError>) {
        match told {
            Ok(Told { heard, is_gone }) => {
                self.heard = Some(heard);
                self.is_over = is_gone;
                self.pause = RETRY_FIRST;
            }
            Err(error) => {
                debug!(pod = %self.key, %error, "the status was not heard");
                self.is_due = true;
                self.retry_at = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(RETRY_LAST);
            }
        }
    }
}

// === impl Report ===

impl Report {
    fn is_on_its_way(&self) -> bool {
        !self.ended && self.status.phase.as_deref() == Some("Pending")
    }
}

async fn told(
    context: &Context,
    key: &Key,
    uid: &str,
    base: (Revision, Arc<PodStatus>),
    report: &Report,
) -> Result<Told, ClientError> {
    let gone = |heard| Ok(Told { heard, is_gone: true });
    let mut heard = base;
    if let Some(patch) = difference(&json!(*heard.1), &json!(*report.status)) {
        let patch = json!({"metadata": {"uid": uid}, "status": patch});
        match context.client.patch_status(key, PatchType::Merge, &patch).await {
            Err(error) if error.is_not_found() => return gone(heard),
            Err(error) if report.ended => warn!(pod = %key, %error, "the last status was not heard"),
            object => heard = said(&object?, &report.status),
        }
    }
    if report.ended {
        return match context.client.delete(key, &DeleteOptions::default().grace(0).only(uid)).await {
            // Another pod has the name by now.
            Err(error) if error.is_not_found() || error.is_conflict() => gone(heard),
            deleted => deleted.and_then(|_| gone(heard)),
        };
    }
    Ok(Told { heard, is_gone: false })
}

/// What the cluster says of a pod in answer to a status, which is that status unless others have a say in it.
fn said(object: &Object, told: &Arc<PodStatus>) -> (Revision, Arc<PodStatus>) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Answer {
        status: PodStatus,
    }
    let Answer { status } = object.read().unwrap_or_default();
    (object.revision(), if **told == status { told.clone() } else { Arc::new(status) })
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
