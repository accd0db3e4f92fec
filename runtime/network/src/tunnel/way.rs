//! The way to one node, or to the server: its keeper dials, dials again, and gives up what is idle.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::link::Link;

/// Pauses between tries to dial grow from the first to the second: whoever was gone is back within seconds.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// A connection that nobody has asked over for so long is given up, and who is not asked is dialled no more.
const IDLE_MAX: Duration = Duration::from_mins(5);
/// A little more than a dial takes: so long does the first to ask wait for it.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The way to one node, or to the server.
pub(super) struct Way {
    node: Arc<str>,
    state: watch::Sender<State>,
    wanted: Notify,
    started: Instant,
    /// When somebody last asked, in milliseconds since `started`.
    used_ms: AtomicU64,
    datagrams: mpsc::Sender<Bytes>,
}

/// What is known of a way.
#[derive(Clone)]
enum State {
    /// Nobody has asked for long.
    Asleep,
    /// It is being dialled; those who ask wait for it.
    Dialling,
    /// It stands.
    Up(Link),
    /// The last dial failed. The next comes by itself; those who ask need not wait for it.
    Down,
}

// === impl Way ===

impl Way {
    /// A way that nobody has asked for; `datagrams` takes those that are to be sent on it.
    pub(super) fn new(node: Arc<str>, datagrams: mpsc::Sender<Bytes>) -> Self {
        let (state, wanted) = (watch::Sender::new(State::Asleep), Notify::new());
        Self { node, state, wanted, started: Instant::now(), used_ms: AtomicU64::new(0), datagrams }
    }

    /// Where it leads.
    pub(super) fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// Sends a frame of [`datagrams`](super::datagrams), or loses it.
    pub(super) fn datagram(&self, frame: Bytes) {
        if self.datagrams.try_send(frame).is_err() {
            debug!(node = %self.node, "a datagram got lost");
        }
    }

    /// The connection, once it stands; none if it is known not to.
    pub(super) async fn link(&self) -> Option<Link> {
        self.touch();
        if let State::Up(link) = &*self.state.borrow()
            && !link.is_closed()
        {
            return Some(link.clone());
        }
        self.wanted.notify_one();
        let mut state = self.state.subscribe();
        let settled = |state: &State| match state {
            State::Up(link) => !link.is_closed(),
            State::Down => true,
            State::Asleep | State::Dialling => false,
        };
        match timeout(PATIENCE, state.wait_for(settled)).await {
            Ok(Ok(state)) => match &*state {
                State::Up(link) => Some(link.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Waits until somebody wants the way, and keeps it for as long as somebody does.
    pub(super) async fn keep<D: Future<Output = io::Result<Link>>>(&self, dial: impl Fn() -> D) {
        self.wanted.notified().await;
        self.state.send_if_modified(|state| {
            let is_asleep = matches!(state, State::Asleep);
            if is_asleep {
                *state = State::Dialling;
            }
            is_asleep
        });
        let mut pause = RETRY_FIRST;
        loop {
            match dial().await {
                Ok(link) => {
                    info!(node = %self.node, "tunnel up");
                    pause = RETRY_FIRST;
                    self.state.send_replace(State::Up(link.clone()));
                    tokio::select! {
                        () = link.closed() => {}
                        () = self.idle() => {
                            info!(node = %self.node, "tunnel given up: nobody asks");
                            self.state.send_replace(State::Asleep);
                            return;
                        }
                    }
                    info!(node = %self.node, "tunnel broken");
                    self.state.send_replace(State::Dialling);
                }
                Err(error) => {
                    debug!(node = %self.node, %error, "no tunnel");
                    self.state.send_replace(State::Down);
                    if self.idle_for() >= IDLE_MAX {
                        return;
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_LAST);
                }
            }
        }
    }

    /// Somebody uses it.
    pub(super) fn touch(&self) {
        self.used_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn idle_for(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.used_ms.load(Ordering::Relaxed)))
    }

    /// Waits until nobody has asked for long.
    async fn idle(&self) {
        loop {
            match IDLE_MAX.checked_sub(self.idle_for()) {
                Some(rest) if !rest.is_zero() => sleep(rest).await,
                _ => return,
            }
        }
    }
}
