//! What is told of an object, as `kubectl describe` shows it.

use std::hash::{DefaultHasher, Hash, Hasher};

use api::{Key, Object, kinds};
use client::{Client, ClientError, PatchType};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};
use state::Snapshot;

/// Something to tell of an Ingress.
#[derive(Clone, Copy)]
pub(crate) struct Tale<'a> {
    pub(crate) ingress: &'a Key,
    /// `Normal` or `Warning`.
    pub(crate) tone: &'static str,
    /// One CamelCase word.
    pub(crate) reason: &'static str,
    pub(crate) message: &'a str,
    /// Who tells it.
    pub(crate) by: &'static str,
}

// === impl Tale ===

impl Tale<'_> {
    /// The event that tells it, named after its words; none while its Ingress is not there.
    pub(crate) fn event(&self, world: &Snapshot, now: Timestamp) -> Option<Object> {
        let uid = &*world.get(self.ingress)?.meta().uid;
        let (namespace, name) = (self.ingress.namespace(), self.ingress.name());
        let mut hasher = DefaultHasher::new();
        (uid, self.reason, self.message).hash(&mut hasher);
        let now = written(now);
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "name": format!("{name}.{:016x}", hasher.finish())},
            "involvedObject": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "namespace": namespace, "name": name, "uid": uid},
            "type": self.tone,
            "reason": self.reason,
            "message": self.message,
            "source": {"component": self.by},
            "reportingComponent": self.by,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        });
        Object::from_value(kinds::EVENT, &event).ok()
    }

    /// Tells it; what was told before is counted up.
    pub(crate) async fn tell(&self, client: &Client, world: &Snapshot, now: Timestamp) -> Result<(), ClientError> {
        let Some(event) = self.event(world, now) else { return Ok(()) };
        match client.create(&event).await {
            Err(error) if error.is_conflict() => {
                let known = client.get(event.key()).await?.decode::<Event>().ok();
                let count = known.and_then(|known| known.count).unwrap_or(1).saturating_add(1);
                let patch = json!({"count": count, "lastTimestamp": written(now)});
                client.patch(event.key(), PatchType::Merge, &patch).await.map(drop)
            }
            told => told.map(drop),
        }
    }
}

fn written(moment: Timestamp) -> Value {
    format!("{moment:.0}").into()
}
