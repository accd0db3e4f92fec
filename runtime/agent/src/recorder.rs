//! Events: what `kubectl describe` tells of a pod. The same event again is the same object with a higher count.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use api::{Key, Object, kinds};
use client::{Client, PatchType};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::pod::{Severity, Told};

/// Takes events; a clone writes to the same place.
#[derive(Clone)]
pub(crate) struct Recorder {
    notes: mpsc::Sender<Note>,
}

/// An event and what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    /// A pod, or a volume.
    pub(crate) pod: Key,
    pub(crate) uid: String,
    /// Such as `spec.containers{app}`.
    pub(crate) field: Option<String>,
    pub(crate) told: Told,
    /// How often it happened since it was last noted.
    pub(crate) times: u32,
    pub(crate) at: Timestamp,
}

/// What makes two events the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sameness {
    uid: String,
    field: Option<String>,
    severity: Severity,
    reason: &'static str,
    message: String,
}

struct Known {
    key: Key,
    count: u32,
    seen: Instant,
}

/// Events wait here while the API does not answer; what comes on top is left out, as events are not a ledger.
const QUEUE_MAX: usize = 1_024;

/// As with Kubernetes' own recorder: after this an event is a new one.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// As a kubelet has it (`eventRecordQPS`, `eventBurst`): so much of daily life is told of at once and in a second. Where thousands
/// of pods begin together, most begin without three stories each; what somebody should look at is always told.
const DAILY_BURST: f64 = 100.0;
const DAILY_PER_SECOND: f64 = 50.0;

/// How much of daily life may still be told of.
struct Allowance {
    left: f64,
    at: Instant,
}

// === impl Recorder ===

impl Recorder {
    /// A recorder, and the work of writing what it takes.
    pub(crate) fn new(client: Client, node: String) -> (Self, impl Future<Output = ()>) {
        let (notes, queue) = mpsc::channel(QUEUE_MAX);
        (Self { notes }, write_all(queue, client, node))
    }

    /// Takes an event.
    pub(crate) fn tell(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            tracing::debug!("an event was left out");
        }
    }
}

async fn write_all(mut queue: mpsc::Receiver<Note>, client: Client, node: String) {
    let mut known: HashMap<Sameness, Known> = HashMap::new();
    let (mut allowance, mut sweep_at) = (Allowance::full(Instant::now()), Instant::now() + FORGOTTEN_AFTER);
    while let Some(note) = queue.recv().await {
        let now = Instant::now();
        if note.told.severity == Severity::Normal && !allowance.take(now) {
            tracing::debug!(pod = %note.pod, reason = note.told.reason, "too much happens for this event");
            continue;
        }
        if now >= sweep_at {
            known.retain(|_, known| now.duration_since(known.seen) < FORGOTTEN_AFTER);
            sweep_at = now + FORGOTTEN_AFTER;
        }
        if let Err(error) = write(&client, &node, &mut known, &note).await {
            tracing::debug!(pod = %note.pod, reason = note.told.reason, %error, "an event was not written");
        }
    }
}

async fn write(
    client: &Client,
    node: &str,
    known: &mut HashMap<Sameness, Known>,
    note: &Note,
) -> Result<(), client::ClientError> {
    let sameness = note.sameness();
    let lately = known.get_mut(&sameness).filter(|known| known.seen.elapsed() < FORGOTTEN_AFTER);
    if let Some(known) = lately {
        known.count = known.count.saturating_add(note.times);
        known.seen = Instant::now();
        let patch = json!({"count": known.count, "lastTimestamp": format!("{:.0}", note.at)});
        match client.patch(&known.key, PatchType::Merge, &patch).await {
            Err(error) if error.is_not_found() => {}
            patched => return patched.map(|_| ()),
        }
    }
    let event = note.event(node);
    let object = Object::from_value(kinds::EVENT, &event);
    let object = object.map_err(|error| client::ClientError::Request(error.to_string()))?;
    client.create(&object).await?;
    known.insert(sameness, Known { key: object.key().clone(), count: note.times, seen: Instant::now() });
    Ok(())
}

// === impl Allowance ===

impl Allowance {
    fn full(at: Instant) -> Self {
        Self { left: DAILY_BURST, at }
    }

    /// Takes one, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.at).as_secs_f64() * DAILY_PER_SECOND;
        (self.left, self.at) = ((self.left + earned).min(DAILY_BURST), now);
        let is_left = self.left >= 1.0;
        if is_left {
            self.left -= 1.0;
        }
        is_left
    }
}

// === impl Note ===

impl Note {
    fn sameness(&self) -> Sameness {
        let Told { severity, reason, message, .. } = &self.told;
        let (uid, field) = (self.uid.clone(), self.field.clone());
        Sameness { uid, field, severity: *severity, reason, message: message.clone() }
    }

    fn event(&self, node: &str) -> Value {
        let (pod, at) = (&self.pod, format!("{:.0}", self.at));
        let mut involved = json!({
            "kind": pod.kind().kind, "apiVersion": "v1", "namespace": pod.namespace(), "name": pod.name(), "uid": self.uid,
        });
        // What is in no namespace is told of in this one.
        let namespace = if pod.namespace().is_empty() { "default" } else { pod.namespace() };
        if let Some(field) = &self.field {
            involved["fieldPath"] = field.as_str().into();
        }
        let severity = match self.told.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        };
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("{}.{:x}", pod.name(), unique(self.at)), "namespace": namespace},
            "involvedObject": involved, "type": severity, "reason": self.told.reason, "message": self.told.message,
            "count": self.times, "firstTimestamp": at, "lastTimestamp": at,
            "source": {"component": "kubelet", "host": node},
            "reportingComponent": "kubelet", "reportingInstance": node,
        })
    }
}

/// A number that no other event of this process has: its time, moved on where two have the same.
fn unique(at: Timestamp) -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LAST: AtomicU64 = AtomicU64::new(0);
    let nanos = u64::try_from(at.as_nanosecond()).unwrap_or(0);
    let last = LAST.fetch_max(nanos, Ordering::Relaxed);
    if last < nanos { nanos } else { LAST.fetch_add(1, Ordering::Relaxed) + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_daily_life_as_much_is_told_as_a_kubelet_tells() {
        let start = Instant::now();
        let mut allowance = Allowance::full(start);
        let mut told = |millis: u64, asked: usize| {
            let now = start + Duration::from_millis(millis);
            (0..asked).filter(|_| allowance.take(now)).count()
        };
        assert_eq!((told(0, 1_000), told(0, 1)), (100, 0));
        assert_eq!((told(1_000, 1_000), told(1_010, 1)), (50, 0));
        assert_eq!(told(60_000, 1_000), 100, "what was not needed does not gather");
    }

    #[test]
    fn an_event_reads_as_a_kubelet_s() {
        let note = Note {
            pod: kinds::POD.key("shop", "web"),
            uid: "u1".into(),
            field: Some("spec.containers{app}".into()),
            told: Told { container: Some(0), severity: Severity::Warning, reason: "BackOff", message: "no".into() },
            times: 1,
            at: Timestamp::UNIX_EPOCH,
        };
        let event = note.event("n1");
        assert_eq!(event["involvedObject"]["fieldPath"], "spec.containers{app}");
        assert_eq!(event["source"], json!({"component": "kubelet", "host": "n1"}));
        assert_eq!(event["firstTimestamp"], "1970-01-01T00:00:00Z");
        let later = note.event("n1");
        assert_ne!(event["metadata"]["name"], later["metadata"]["name"]);
        assert_eq!(note.sameness(), note.clone().sameness());
    }
}
