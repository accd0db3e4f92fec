//! Policy as it is now: the one thing that those who carry connections ask.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use state::Snapshot;
use tokio::sync::watch;

use super::answers::Answers;
use super::{Denial, Denials, Direction, Peer, PolicyTable, PortProtocol, SOURCES, Verdict};
use crate::{Latest, published};

/// The table of now, what pods were told of names, and the denials. Cloning shares it.
#[derive(Clone)]
pub struct Policy {
    table: Latest<PolicyTable>,
    answers: Answers,
    denials: Denials,
}

/// A connection is not to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{direction} is denied by NetworkPolicy {by}")]
pub struct Denied {
    /// The end that denied it.
    pub direction: Direction,
    /// The policies that isolate it.
    pub by: Arc<str>,
}

// === impl Policy ===

impl Policy {
    /// The policies of the snapshots, kept up to date.
    pub fn follow(view: watch::Receiver<Snapshot>) -> Self {
        Self::of(published(view, SOURCES, |view| PolicyTable::from(view)))
    }

    /// One table, for good. The default one lets everything through.
    pub fn fixed(table: PolicyTable) -> Self {
        Self::of(Latest::fixed(table))
    }

    fn of(table: Latest<PolicyTable>) -> Self {
        Self { table, answers: Answers::default(), denials: Denials::default() }
    }

    /// Whether nobody is isolated at all.
    pub fn is_open(&self) -> bool {
        self.table.load().is_open()
    }

    /// Whether a pod is isolated as a source.
    pub fn isolates_egress(&self, from: &Peer<'_>) -> bool {
        self.table.load().isolation(Direction::Egress, from).is_some()
    }

    /// Asks one end whether a connection may be. A no is counted and told of.
    pub fn check(
        &self,
        direction: Direction,
        from: &Peer<'_>,
        to: &Peer<'_>,
        port: PortProtocol,
    ) -> Result<(), Denied> {
        self.check_unless(direction, from, to, port, || false)
    }

    /// As [`check`](Self::check), but a no does not count where `excused`, for what is part of something that was allowed.
    pub fn check_unless(
        &self,
        direction: Direction,
        from: &Peer<'_>,
        to: &Peer<'_>,
        port: PortProtocol,
        excused: impl FnOnce() -> bool,
    ) -> Result<(), Denied> {
        let table = self.table.load();
        let Verdict::Denied(by) = table.allows(direction, from, to, port) else { return Ok(()) };
        if excused() || (direction == Direction::Egress && self.was_named(&table, from, to, port)) {
            return Ok(());
        }
        let by = by.clone();
        self.denials.add(direction, || {
            let (pod, peer) = table.told(direction, from, to)?;
            Some(Denial { pod, direction, peer, port, by: by.clone() })
        });
        Err(Denied { direction, by })
    }

    /// Asks both ends, the one that connects first.
    pub fn check_both(&self, from: &Peer<'_>, to: &Peer<'_>, port: PortProtocol) -> Result<(), Denied> {
        self.check(Direction::Egress, from, to, port)?;
        self.check(Direction::Ingress, from, to, port)
    }

    /// Whether a pod may have a name outside the cluster looked up. A no is counted and told of, as of a question to the name
    /// server that it would have been.
    pub fn may_ask(&self, from: &Peer<'_>, name: &str) -> bool {
        let table = self.table.load();
        let Some(isolation) = table.isolation(Direction::Egress, from).filter(|_| !table.may_ask(from, name)) else {
            return true;
        };
        let by = isolation.by.clone();
        self.denials.add(Direction::Egress, || {
            let pod = table.whose(from)?;
            Some(Denial { pod, direction: Direction::Egress, peer: name.to_owned(), port: PortProtocol::udp(53), by })
        });
        false
    }

    /// A pod was told these addresses for a name outside the cluster. Rules about names hold for them from now on, so this
    /// comes before the pod hears of them.
    pub fn answered(&self, from: &Peer<'_>, name: &str, addresses: &[IpAddr]) {
        if let Peer::Pod { namespace, name: pod, .. } = from
            && self.table.load().has_names(from)
        {
            self.answers.note(namespace, pod, name, addresses, Instant::now());
        }
    }

    /// Whether policies hold for a pod of this node as they do for its labels.
    pub fn knows(&self, namespace: &str, name: &str) -> bool {
        self.table.load().knows(namespace, name)
    }

    /// Waits until policies hold for a pod of this node as they do for its labels. Until then it is isolated wherever any pod
    /// of its namespace is, which a program should not have to see.
    pub async fn known(&self, namespace: &str, name: &str) {
        let mut table = self.table.clone();
        while !table.load().knows(namespace, name) {
            if !table.changed().await {
                return;
            }
        }
    }

    /// The table of now.
    pub fn table(&self) -> Arc<PolicyTable> {
        self.table.get()
    }

    /// What was denied.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Whether the address was the answer to a name that the pod may reach at this port. What is in the cluster is not
    /// reached by names outside it.
    fn was_named(&self, table: &PolicyTable, from: &Peer<'_>, to: &Peer<'_>, port: PortProtocol) -> bool {
        let (Peer::Pod { namespace, name: pod, .. }, Peer::Address(address)) = (from, to) else { return false };
        let is_outside = table.party(to).is_some_and(|party| party.pod.is_none());
        let is_meant = |name: &str| table.allows_name(from, name, port.number);
        is_outside && self.answers.any(namespace, pod, *address, Instant::now(), is_meant)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::fixed(PolicyTable::default())
    }
}
