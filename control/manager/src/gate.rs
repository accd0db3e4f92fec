//! Whoever has a say in what controllers create.

use std::fmt;
use std::time::{Duration, Instant};

use controllers::{Controller, Look, Plan, Ruling, Rulings};
use futures::StreamExt;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use state::{Key, Object, Snapshot, Txn};

/// Rules about new objects.
pub trait Gate: fmt::Debug + Send + Sync {
    /// Whether anybody has a say at all in this world.
    fn is_guarded(&self, world: &Snapshot) -> bool;

    /// What a new object is to be in this world, or why it may not be.
    fn rule<'a>(&'a self, object: Object, world: &'a Snapshot) -> BoxFuture<'a, Ruling>;
}

/// As many of a plan's objects are ruled about at a time.
const AT_ONCE_MAX: usize = 16;
/// A controller that hears of refusals may want something else instead, so often.
const ROUNDS_MAX: usize = 4;
/// When what was refused is tried again: nothing tells when it would be let in.
const AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// What a controller wants once it knows what was ruled about everything new in it; and how long it thought at first.
pub(crate) async fn decided(
    controller: &dyn Controller,
    key: &Key,
    view: &Snapshot,
    look: Look<'_>,
    gate: Option<&dyn Gate>,
) -> (Plan, Duration) {
    let start = Instant::now();
    let mut plan = controller.reconcile(key, view, look);
    let took = start.elapsed();
    let Some(gate) = gate.filter(|gate| !plan.txns.is_empty() && gate.is_guarded(view)) else { return (plan, took) };
    let mut rulings = Rulings::default();
    let mut is_refused = false;
    for _ in 0..ROUNDS_MAX {
        let new = plan.txns.iter().flat_map(Txn::creations).filter(|object| !rulings.has(object.key()));
        let asked: Vec<_> = new.cloned().map(|object| ruled(gate, object, view)).collect();
        if asked.is_empty() {
            break;
        }
        let ruled: Vec<(Key, Ruling)> = futures::stream::iter(asked).buffer_unordered(AT_ONCE_MAX).collect().await;
        for (key, ruling) in ruled {
            is_refused |= ruling.is_err();
            rulings.rule(key, ruling);
        }
        plan = controller.reconcile(key, view, look.under(&rulings));
    }
    plan.txns.retain(|txn| txn.creations().all(|object| rulings.has(object.key())));
    (if is_refused { plan.again_at(Some(look.now + AGAIN)) } else { plan }, took)
}

async fn ruled(gate: &dyn Gate, object: Object, view: &Snapshot) -> (Key, Ruling) {
    let key = object.key().clone();
    let ruling = gate.rule(object, view).await;
    (key, ruling)
}
