//! Datagrams that wait to be read: so many and no more, as in a socket's buffer.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

/// How much waits: what Linux gives a socket by default.
const WEIGHT_MAX: usize = 208 << 10;
/// What a datagram weighs beside its bytes.
const OVERHEAD: usize = 256;
/// Exchanges that one socket is known to have; beyond this the oldest is forgotten.
const EXCHANGES_MAX: usize = 1_024;
/// How long an answer may take to count as one: what Linux gives one that was answered before.
const EXCHANGE_IDLE: Duration = Duration::from_secs(120);

/// Datagrams that wait to be read.
#[derive(Default)]
pub(super) struct Mailbox(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<(Bytes, SocketAddr)>,
    weight: usize,
    reading: Option<Waker>,
    /// Whom datagrams of this one's were allowed to go to, and whose were allowed to come; kept only while policies are asked.
    reached: Exchanges,
    reached_by: Exchanges,
}

/// With whom there was something to do, and when it was last allowed by itself.
type Exchanges = HashMap<SocketAddr, Instant>;

fn note(exchanges: &mut Exchanges, peer: SocketAddr) {
    let now = Instant::now();
    if exchanges.len() >= EXCHANGES_MAX && !exchanges.contains_key(&peer) {
        exchanges.retain(|_, at| now.duration_since(*at) < EXCHANGE_IDLE);
        let oldest = exchanges.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer);
        if let Some(oldest) = oldest.filter(|_| exchanges.len() >= EXCHANGES_MAX) {
            exchanges.remove(&oldest);
        }
    }
    exchanges.insert(peer, now);
}

fn is_under_way(exchanges: &Exchanges, peer: SocketAddr) -> bool {
    exchanges.get(&peer).is_some_and(|at| at.elapsed() < EXCHANGE_IDLE)
}

// === impl Mailbox ===

impl Mailbox {
    /// Puts in a datagram; `false` says that the box is full and the datagram is lost.
    pub(super) fn put(&self, datagram: Bytes, from: SocketAddr) -> bool {
        let mut state = self.0.lock();
        let weight = datagram.len() + OVERHEAD;
        if state.weight + weight > WEIGHT_MAX {
            return false;
        }
        state.weight += weight;
        state.waiting.push_back((datagram, from));
        let reading = state.reading.take();
        drop(state);
        if let Some(waker) = reading {
            waker.wake();
        }
        true
    }

    /// Something of this one's was allowed to go to `peer`.
    pub(super) fn reaches(&self, peer: SocketAddr) {
        note(&mut self.0.lock().reached, peer);
    }

    /// Something of `peer`'s was allowed to come here.
    pub(super) fn is_reached_by(&self, peer: SocketAddr) {
        note(&mut self.0.lock().reached_by, peer);
    }

    /// Whether `peer` may be answering.
    pub(super) fn has_reached(&self, peer: SocketAddr) -> bool {
        is_under_way(&self.0.lock().reached, peer)
    }

    /// Whether `peer` may be answered.
    pub(super) fn was_reached_by(&self, peer: SocketAddr) -> bool {
        is_under_way(&self.0.lock().reached_by, peer)
    }

    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<(Bytes, SocketAddr)> {
        let mut state = self.0.lock();
        match state.waiting.pop_front() {
            Some((datagram, from)) => {
                state.weight -= datagram.len() + OVERHEAD;
                Poll::Ready((datagram, from))
            }
            None => {
                match &mut state.reading {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}
