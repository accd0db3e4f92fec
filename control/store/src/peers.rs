//! The other members: connections to them, and what they are asked over these.
//!
//! A connection is dialled when it is first needed and kept; one that has gone silent is dropped and dialled anew the next time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::MemberId;
use crate::transport::{Peer, Transport};

mod caller;
mod line;
mod serve;

pub(crate) use caller::Caller;
pub(crate) use line::Line;
pub(crate) use serve::serve;

/// A connection on which nobody has answered for so long is given up: the next one may take another way, or find the process
/// that has come back. Longer than a slow disk takes to write what it was sent.
pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(1_000);

/// Knows the ways to all others.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) member: MemberId,
    pub(crate) transport: Arc<dyn Transport>,
    callers: Mutex<HashMap<MemberId, Arc<Caller>>>,
}

// === impl Peers ===

impl Peers {
    pub(crate) fn new(member: MemberId, transport: Arc<dyn Transport>) -> Self {
        Self { member, transport, callers: Mutex::default() }
    }

    /// Whom to ask things of this member. One that has moved is another.
    pub(crate) fn caller(&self, peer: &Peer) -> Arc<Caller> {
        let mut callers = self.callers.lock();
        match callers.get(&peer.member) {
            Some(known) if known.peer() == peer => known.clone(),
            _ => {
                let caller = Arc::new(Caller::new(self.member, peer.clone(), self.transport.clone()));
                callers.insert(peer.member, caller.clone());
                caller
            }
        }
    }
}
