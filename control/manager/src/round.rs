//! One look at one key, and what becomes of what it wants.

use std::time::Duration;

use controllers::{Controller, Look, Outcome};
use futures::future::join_all;
use state::Key;
use store::{ProposeError, Store};
use tracing::{debug, trace};

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
    look: Look<'_>,
    gate: Option<&dyn Gate>,
) -> Ended {
    let (plan, took) = gate::decided(controller, key, &store.snapshot(), look, gate).await;
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
