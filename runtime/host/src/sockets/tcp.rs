//! A stream socket, its states and its connection.
//!
//! ```text
//! Unbound ─ bind ─► Bound ─ listen ─► Listening
//!    └────────────────┴─ connect ─► Connecting ─► Connected
//!                                        └──────► Closed (failed)
//! ```

mod connection;

pub(crate) use connection::Open;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio_util::sync::PollSemaphore;

use super::address::Family;
use super::failure::Refusal;
use super::options::Options;
use super::{Place, Sockets, lock};
use crate::network::{Connecting, Connection, Listener, NetworkError, Port};

/// A stream socket.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Tcp {
    pub(crate) family: Family,
    pub(crate) options: Options,
    sockets: Sockets,
    place: Place,
    backlog: u32,
    state: State,
}

enum State {
    Unbound,
    Bound(Box<dyn Port>),
    Listening(Arc<Listening>),
    Connecting(Attempt),
    Connected(Arc<Open>),
    Closed,
}

/// A socket that takes connections; lives as long as anybody can accept one.
pub(crate) struct Listening {
    pub(crate) local: SocketAddr,
    listener: Mutex<Box<dyn Listener>>,
    _place: Place,
}

/// What an accepted socket has of the one that listened.
pub(crate) struct Heritage {
    family: Family,
    options: Options,
    sockets: Sockets,
}

/// A connection on its way.
struct Attempt {
    local: Option<SocketAddr>,
    progress: Progress,
}

enum Progress {
    Pending(Connecting),
    Done(Result<Connection, NetworkError>),
}

/// Which half of a connection is shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Incoming,
    Outgoing,
    Both,
}

/// As many connections wait to be accepted unless the guest says otherwise.
const BACKLOG_DEFAULT: u32 = 128;

/// As many as may wait, whatever the guest says.
const BACKLOG_MAX: u32 = 4_096;

// === impl Tcp ===

impl Tcp {
    pub(crate) fn new(sockets: &Sockets, family: Family) -> Result<Self, NetworkError> {
        Ok(Self {
            family,
            options: Options::default(),
            sockets: sockets.clone(),
            place: sockets.place()?,
            backlog: BACKLOG_DEFAULT,
            state: State::Unbound,
        })
    }

    /// What the sockets of connections that come in here will have of this one.
    pub(crate) fn heritage(&self) -> Heritage {
        Heritage { family: self.family, options: self.options.clone(), sockets: self.sockets.clone() }
    }

    pub(crate) fn bind(&mut self, local: SocketAddr) -> Result<(), Refusal> {
        let State::Unbound = self.state else { return Err(Refusal::InvalidState) };
        let local = self.family.local_stream(local)?;
        self.state = State::Bound(self.sockets.network.bind(local)?);
        Ok(())
    }

    /// Takes connections from now on; the socket must be bound.
    pub(crate) fn listen(&mut self) -> Result<Arc<Listening>, Refusal> {
        let port = match std::mem::replace(&mut self.state, State::Closed) {
            State::Bound(port) => port,
            other => {
                self.state = other;
                return Err(Refusal::InvalidState);
            }
        };
        let local = port.local();
        let listener = Mutex::new(port.listen(self.backlog)?);
        let listening = Arc::new(Listening { local, listener, _place: self.place.clone() });
        self.state = State::Listening(listening.clone());
        Ok(listening)
    }

    /// Whether no address was taken yet.
    pub(crate) fn is_unbound(&self) -> bool {
        matches!(self.state, State::Unbound)
    }

    /// Sets out for `to`; [`poll_connected`](Self::poll_connected) and [`connected`](Self::connected) tell what came of it.
    pub(crate) fn connect(&mut self, to: SocketAddr) -> Result<(), Refusal> {
        let (State::Unbound | State::Bound(_)) = self.state else { return Err(Refusal::InvalidState) };
        let to = self.family.remote_stream(to)?;
        let attempt = match std::mem::replace(&mut self.state, State::Closed) {
            State::Bound(port) => Attempt { local: Some(port.local()), progress: Progress::Pending(port.connect(to)) },
            _ => Attempt { local: None, progress: Progress::Pending(self.sockets.network.connect(to)) },
        };
        self.state = State::Connecting(attempt);
        // A future does nothing before it is polled, and the guest may ask late.
        let _ = self.poll_connected(&mut idle());
        Ok(())
    }

    /// Ready when the attempt to connect has ended, if there is one.
    pub(crate) fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Connecting(Attempt { progress, .. }) = &mut self.state
            && let Progress::Pending(connecting) = progress
        {
            *progress = Progress::Done(ready!(connecting.as_mut().poll(cx)));
        }
        Poll::Ready(())
    }

    /// The outcome of an attempt that has ended.
    pub(crate) fn connected(&mut self) -> Result<Arc<Open>, Refusal> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Connecting(Attempt { progress: Progress::Done(outcome), .. }) => {
                let open = Arc::new(Open::new(outcome?, self.place.clone()));
                self.state = State::Connected(open.clone());
                Ok(open)
            }
            other => {
                self.state = other;
                Err(Refusal::InvalidState)
            }
        }
    }

    pub(crate) fn open(&self) -> Result<&Arc<Open>, Refusal> {
        match &self.state {
            State::Connected(open) => Ok(open),
            _ => Err(Refusal::InvalidState),
        }
    }

    pub(crate) fn listening(&self) -> Option<&Arc<Listening>> {
        match &self.state {
            State::Listening(listening) => Some(listening),
            _ => None,
        }
    }

    pub(crate) fn local(&self) -> Result<SocketAddr, Refusal> {
        match &self.state {
            State::Bound(port) => Ok(port.local()),
            State::Listening(listening) => Ok(listening.local),
            State::Connecting(Attempt { local: Some(local), .. }) => Ok(*local),
            State::Connected(open) => Ok(open.local),
            State::Unbound | State::Connecting(_) | State::Closed => Err(Refusal::InvalidState),
        }
    }

    pub(crate) fn remote(&self) -> Result<SocketAddr, Refusal> {
        self.open().map(|open| open.remote)
    }

    pub(crate) fn set_backlog(&mut self, backlog: u64) -> Result<(), Refusal> {
        match &self.state {
            _ if backlog == 0 => Err(Refusal::InvalidArgument),
            State::Unbound | State::Bound(_) => {
                self.backlog = u32::try_from(backlog).unwrap_or(BACKLOG_MAX).min(BACKLOG_MAX);
                Ok(())
            }
            State::Listening(_) => Err(NetworkError::Unsupported.into()),
            State::Connecting(_) | State::Connected(_) | State::Closed => Err(Refusal::InvalidState),
        }
    }
}

// === impl Listening ===

impl Listening {
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Result<Connection, NetworkError>> {
        lock(&self.listener).poll_accept(cx)
    }
}

// === impl Heritage ===

impl Heritage {
    /// The socket of a connection that came in.
    pub(crate) fn accepted(&self, connection: Connection, place: Place) -> Tcp {
        Tcp {
            family: self.family,
            options: self.options.clone(),
            sockets: self.sockets.clone(),
            place: place.clone(),
            backlog: BACKLOG_DEFAULT,
            state: State::Connected(Arc::new(Open::new(connection, place))),
        }
    }

    /// Where a place for another socket can be had.
    pub(crate) fn places(&self) -> PollSemaphore {
        PollSemaphore::new(self.sockets.places.clone())
    }
}

/// The context of somebody who only looks.
pub(crate) fn idle() -> Context<'static> {
    Context::from_waker(std::task::Waker::noop())
}
