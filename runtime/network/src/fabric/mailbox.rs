//! Datagrams that wait to be read: so many and no more, as in a socket's buffer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

/// How much waits: what Linux gives a socket by default.
const WEIGHT_MAX: usize = 208 << 10;
/// What a datagram weighs beside its bytes.
const OVERHEAD: usize = 256;

/// Datagrams that wait to be read.
#[derive(Default)]
pub(super) struct Mailbox(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<(Bytes, SocketAddr)>,
    weight: usize,
    reading: Option<Waker>,
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
