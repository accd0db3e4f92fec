//! Events are forgotten after an hour, as Kubernetes forgets them.

use api::{Key, kinds};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1;
use state::{Event, Snapshot, Txn};

use crate::{Controller, Look, Plan};

/// Long enough to ask what happened, short enough that a laptop holds it in memory.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// The controller that forgets events.
pub(crate) struct EventExpiry;

// === impl EventExpiry ===

impl Controller for EventExpiry {
    fn name(&self) -> &'static str {
        "event-expiry"
    }

    fn affected(&self, event: &Event, _view: &Snapshot) -> Vec<Key> {
        let is_told = event.key().kind() == kinds::EVENT && event.after().is_some();
        if is_told { vec![event.key().clone()] } else { Vec::new() }
    }

    fn reconcile(&self, key: &Key, view: &Snapshot, look: Look<'_>) -> Plan {
        let Some(object) = view.get(key) else { return Plan::nothing() };
        let told = object.decode::<v1::Event>().ok().and_then(|event| {
            let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
            let last = event.last_timestamp.as_ref().map(|time| time.0);
            [series, last, event.event_time.as_ref().map(|time| time.0)].into_iter().flatten().max()
        });
        let Some(told) = told.or(object.meta().creation_timestamp) else { return Plan::of(Txn::delete(object)) };
        match told + KEPT {
            due if due <= look.now => Plan::of(Txn::delete(object)),
            due => Plan::nothing().again_at(Some(due)),
        }
    }
}
