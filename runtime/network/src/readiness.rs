//! What a node knows of the readiness of its own pods.
//!
//! The cluster's word on a pod comes from the pod's node and goes round by the control plane. While the two do not hear each other
//! it is out of date: it says that a pod is not ready because nobody hears of its node, or that one is ready whose probes
//! have failed since. So of its own pods a node believes itself. That a pod is to end is still the cluster's word.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Which pods of this node are ready, by address. Cloning shares it.
#[derive(Clone)]
pub struct Readiness(Arc<Shared>);

struct Shared {
    known: Mutex<HashMap<IpAddr, Known>>,
    changes: watch::Sender<()>,
}

/// Whether who is at an address is ready, and who says so.
#[derive(Clone, Copy)]
struct Known {
    speaker: Speaker,
    is_ready: bool,
}

/// Tells those apart who have an address one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speaker(pub(crate) usize);

// === impl Readiness ===

impl Readiness {
    /// Whether the pod at an address is ready, if it is one of this node.
    pub fn of(&self, address: IpAddr) -> Option<bool> {
        self.known().get(&address).map(|known| known.is_ready)
    }

    /// Whether it is still so of each of these addresses.
    pub(crate) fn agrees(&self, told: &HashMap<IpAddr, Option<bool>>) -> bool {
        let known = self.known();
        told.iter().all(|(address, told)| known.get(address).map(|known| known.is_ready) == *told)
    }

    /// Tells of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    pub(crate) fn tell(&self, speaker: Speaker, address: IpAddr, is_ready: bool) {
        let before = self.known().insert(address, Known { speaker, is_ready });
        if before.map(|known| known.is_ready) != Some(is_ready) {
            self.0.changes.send_replace(());
        }
    }

    /// Forgets what `speaker` said, unless another has the address by now.
    pub(crate) fn forget(&self, speaker: Speaker, address: IpAddr) {
        let mut known = self.known();
        if known.get(&address).is_some_and(|known| known.speaker == speaker) {
            known.remove(&address);
            drop(known);
            self.0.changes.send_replace(());
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Shared { known: Mutex::default(), changes: watch::channel(()).0 }))
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        f.debug_map().entries(known.iter().map(|(address, known)| (address, known.is_ready))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_takes_back_only_what_he_said() {
        let (readiness, address) = (Readiness::default(), IpAddr::from([10, 42, 0, 2]));
        let mut changes = readiness.changes();
        let mut news = || {
            let has_changed = changes.has_changed().expect("it is there");
            changes.mark_unchanged();
            has_changed
        };
        let (first, second) = (Speaker(1), Speaker(2));
        readiness.tell(first, address, false);
        assert_eq!((readiness.of(address), news()), (Some(false), true));
        readiness.tell(first, address, false);
        assert!(!news(), "nothing new");
        readiness.tell(second, address, true);
        readiness.forget(first, address);
        assert_eq!((readiness.of(address), news()), (Some(true), true));
        readiness.forget(second, address);
        assert_eq!((readiness.of(address), news()), (None, true));
    }
}
