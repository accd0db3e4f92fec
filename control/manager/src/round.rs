//! One look at one key, and what becomes of what it wants.

use std::time::Duration;

use api::pod_spec::Outages;
use controllers::{Controller, Look, Outcome};
use futures::future::join_all;
use jiff::Timestamp;
use state::{Key, Snapshot};
use store::{ProposeError, Store};
use tracing::{debug, trace};

use crate::figures::{self, Figures};
use crate::gate::{self, Gate};

/// How a look ended for the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was carried out, or refused; and how long it took to decide.
    Looked {
        /// What came of it.
        outcome: Outcome,
        /// The longest that the controller thought.
        took: Duration,
    },
    /// Another member leads now.
    Deposed,
    /// There is no store any more.
    Closed,
}

/// Looks at the key in the latest world and proposes what the controller wants.
pub(crate) async fn look(
    controller: &dyn Controller,
    key: &Key,
    store: &Store,
    (figures, gate, outages): (Option<&dyn Figures>, Option<&dyn Gate>, Outages),
    clock: impl Fn() -> Timestamp,
    seed: u64,
) -> Ended {
    let view = seen(controller, key, store, figures, &clock).await;
    let look = Look::new(clock(), seed).tolerating(outages);
    let (plan, took) = gate::decided(controller, key, &view, look, gate).await;
    if !plan.txns.is_empty() {
        debug!(controller = controller.name(), %key, txns = plan.txns.len(), "wants a change");
    }
    let mut outcome = Outcome::Settled { again: plan.again };
    for answer in join_all(plan.txns.into_iter().map(|txn| store.propose(txn))).await {
        match answer {
            Ok(_) => {}
            Err(ProposeError::Conflict(conflict)) => {
                trace!(controller = controller.name(), %key, %conflict, "looks again");
                outcome = Outcome::Refused;
            }
            Err(ProposeError::NotLeader { .. }) => return Ended::Deposed,
            Err(ProposeError::Closed) => return Ended::Closed,
        }
    }
    Ended::Looked { outcome, took }
}

/// The latest world, with what was measured where the controller decides by that.
async fn seen(
    controller: &dyn Controller,
    key: &Key,
    store: &Store,
    figures: Option<&dyn Figures>,
    clock: impl Fn() -> Timestamp,
) -> Snapshot {
    let view = store.snapshot();
    let Some((pods, figures)) = controller.pods_to_measure(key, &view).zip(figures) else { return view };
    let mut measured = if pods.is_empty() { Vec::new() } else { figures.of_pods(view, pods).await };
    measured.extend(figures::told(&figures.waiting().borrow(), clock()));
    // Measuring takes a moment, in which the world has gone on.
    figures::within(&store.snapshot(), measured)
}
