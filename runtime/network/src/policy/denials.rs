//! What was denied: counted, and told to whoever listens.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;

use super::{Direction, PortProtocol, Whose};

/// Denials that wait for whoever tells of them; what comes on top is counted but not told.
const WAITING_MAX: usize = 256;

/// A connection that policy did not let be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Denial {
    /// The pod whose policies denied it.
    pub pod: Whose,
    /// Which end of the connection that pod is.
    pub direction: Direction,
    /// The other end: a pod with its address, or an address.
    pub peer: String,
    /// The port that was asked for.
    pub port: PortProtocol,
    /// The policies that isolate the pod.
    pub by: Arc<str>,
}

/// Every denial of this node. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Denials {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ingress: AtomicU64,
    egress: AtomicU64,
    listeners: broadcast::Sender<Denial>,
}

// === impl Denials ===

impl Denials {
    /// How many connections have been denied by this end so far.
    pub fn count(&self, direction: Direction) -> u64 {
        self.counter(direction).load(Ordering::Relaxed)
    }

    /// Every denial from now on. Who is too slow misses the oldest.
    pub fn listen(&self) -> broadcast::Receiver<Denial> {
        self.shared.listeners.subscribe()
    }

    /// Counts a denial, and tells of it if anybody listens.
    pub(super) fn add(&self, direction: Direction, denial: impl FnOnce() -> Option<Denial>) {
        self.counter(direction).fetch_add(1, Ordering::Relaxed);
        if self.shared.listeners.receiver_count() > 0
            && let Some(denial) = denial()
        {
            // The last listener may just have gone, which is his affair.
            let _ = self.shared.listeners.send(denial);
        }
    }

    fn counter(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Ingress => &self.shared.ingress,
            Direction::Egress => &self.shared.egress,
        }
    }
}

impl Default for Denials {
    fn default() -> Self {
        let listeners = broadcast::Sender::new(WAITING_MAX);
        Self { shared: Arc::new(Shared { ingress: AtomicU64::new(0), egress: AtomicU64::new(0), listeners }) }
    }
}

// === impl Denial ===

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, port, by, .. } = self;
        match self.direction {
            Direction::Ingress => write!(f, "Denied ingress from {peer} to port {port}")?,
            Direction::Egress => write!(f, "Denied egress to {peer}, port {port}")?,
        }
        write!(f, ": no rule of NetworkPolicy {by} allows it")
    }
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}
