//! One look at one key, and what becomes of what it wants.

use std::time::Duration;

use api::pod_spec::Outages;
use controllers::{Controller, Look, Outcome};
use futures::future::join_all;
use jiff::Timestamp;
use state::{Batch, Key, Snapshot};
use store::{Committed, ProposeError, Store};
use tracing::{debug, trace};

use crate::figures::{self, Figures};
use crate::gate::{self, Gate};

/// Enough that what a record of the log costs hardly counts, few enough that one that does not hold holds up only a few.
const TXNS_PER_BATCH_MAX: usize = 64;

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
    let batches = Batch::gather(plan.txns, TXNS_PER_BATCH_MAX);
    let answers = join_all(batches.into_iter().map(|batch| carried_out(batch, store))).await;
    for answer in answers.into_iter().flatten() {
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

/// Proposes what stands apart as one, and if that is refused one by one: only those fail then that do not hold.
async fn carried_out(batch: Batch, store: &Store) -> Vec<Result<Committed, ProposeError>> {
    let answer = store.propose(batch.whole()).await;
    match answer {
        Err(ProposeError::Conflict(_)) if !batch.is_single() => {
            join_all(batch.into_parts().into_iter().map(|txn| store.propose(txn))).await
        }
        answer => vec![answer],
    }
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
