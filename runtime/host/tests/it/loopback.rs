//! A network of one address, in memory: what a guest's sockets are tried on.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use host::{Connecting, Connection, Datagrams, Listener, Network, NetworkError, Port, Reader, Resolving, Writer};

/// What a pipe holds before its writer waits.
pub(crate) const PIPE_BYTES: usize = 64 * 1024;

const DATAGRAMS_MAX: usize = 64;

/// Everybody on it is at 127.0.0.1 and ::1, and is called `here`.
#[derive(Clone, Default)]
pub(crate) struct Loopback {
    shared: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Stream addresses that are taken, with those who wait to be accepted where somebody listens.
    streams: HashMap<SocketAddr, Option<Queue<Connection>>>,
    datagrams: HashMap<SocketAddr, Queue<(Bytes, SocketAddr)>>,
    ports_given: u16,
}

/// A queue with one reader.
struct Queue<T>(Arc<Mutex<(VecDeque<T>, Option<Waker>)>>);

struct Taken {
    network: Loopback,
    local: SocketAddr,
}

struct Listening {
    queue: Queue<Connection>,
    _taken: Taken,
}

struct Mailbox {
    network: Loopback,
    local: SocketAddr,
    queue: Queue<(Bytes, SocketAddr)>,
}

/// Bytes on their way.
#[derive(Default)]
struct Pipe {
    pieces: VecDeque<Bytes>,
    held: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    ended: bool,
    unread: bool,
}

struct Out(Arc<Mutex<Pipe>>);

struct In {
    pipe: Arc<Mutex<Pipe>>,
    /// An accepted or implicit end holds nothing; one that was bound holds its address.
    _taken: Option<Taken>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics here")
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

// === impl Loopback ===

impl Loopback {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How many addresses are taken.
    pub(crate) fn taken(&self) -> usize {
        let state = lock(&self.shared);
        state.streams.len() + state.datagrams.len()
    }

    /// Whether somebody listens there, at either address.
    pub(crate) fn listens(&self, port: u16) -> bool {
        let state = lock(&self.shared);
        let own = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        own.into_iter().any(|ip| matches!(state.streams.get(&SocketAddr::new(ip, port)), Some(Some(_))))
    }

    fn own(
        &self,
        local: SocketAddr,
        is_taken: impl Fn(&State, SocketAddr) -> bool,
    ) -> Result<SocketAddr, NetworkError> {
        let ip = match local.ip() {
            ip if ip.is_loopback() => ip,
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            _ => return Err(NetworkError::NotLocal),
        };
        let mut state = lock(&self.shared);
        let mut address = SocketAddr::new(ip, local.port());
        while address.port() == 0 || (local.port() == 0 && is_taken(&state, address)) {
            state.ports_given = state.ports_given.wrapping_add(1);
            address.set_port(32_768 | state.ports_given);
        }
        if is_taken(&state, address) { Err(NetworkError::InUse) } else { Ok(address) }
    }

    fn take(&self, local: SocketAddr) -> Result<Taken, NetworkError> {
        let local = self.own(local, |state, address| state.streams.contains_key(&address))?;
        lock(&self.shared).streams.insert(local, None);
        Ok(Taken { network: self.clone(), local })
    }

    fn dial(&self, from: Taken, to: SocketAddr) -> Result<Connection, NetworkError> {
        let state = lock(&self.shared);
        let Some(Some(queue)) = state.streams.get(&to) else {
            drop(state);
            return Err(if to.ip().is_loopback() { NetworkError::Refused } else { NetworkError::Unreachable });
        };
        let local = from.local;
        let (there, here) = (Arc::default(), Arc::default());
        let theirs = Connection {
            local: to,
            remote: local,
            reader: Box::new(In { pipe: Arc::clone(&there), _taken: None }),
            writer: Box::new(Out(Arc::clone(&here))),
        };
        queue.push(theirs);
        let reader = Box::new(In { pipe: here, _taken: Some(from) });
        Ok(Connection { local, remote: to, reader, writer: Box::new(Out(there)) })
    }

    /// Connects as somebody who is no guest.
    pub(crate) fn connect_here(&self, port: u16) -> Result<Connection, NetworkError> {
        let from = self.take(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?;
        self.dial(from, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
    }
}

impl Network for Loopback {
    fn bind(&self, local: SocketAddr) -> Result<Box<dyn Port>, NetworkError> {
        Ok(Box::new(self.take(local)?))
    }

    fn connect(&self, to: SocketAddr) -> Connecting {
        let ip = if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        let dialled = self.take(SocketAddr::new(ip, 0)).and_then(|from| self.dial(from, to));
        Box::pin(async { dialled })
    }

    fn datagrams(&self, local: SocketAddr) -> Result<Box<dyn Datagrams>, NetworkError> {
        let local = self.own(local, |state, address| state.datagrams.contains_key(&address))?;
        let queue = Queue::new();
        lock(&self.shared).datagrams.insert(local, queue.clone());
        Ok(Box::new(Mailbox { network: self.clone(), local, queue }))
    }

    fn resolve(&self, name: String) -> Resolving {
        Box::pin(async move {
            // An answer takes a while, as it does where it comes from elsewhere.
            tokio::task::yield_now().await;
            match name.as_str() {
                "here" => Ok(vec![Ipv4Addr::LOCALHOST.into(), IpAddr::V6(Ipv6Addr::LOCALHOST)]),
                "later" => Err(NetworkError::ResolverBusy),
                _ => Err(NetworkError::NoSuchName),
            }
        })
    }
}

// === impl Taken ===

impl Port for Taken {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn listen(self: Box<Self>, _: u32) -> Result<Box<dyn Listener>, NetworkError> {
        let queue = Queue::new();
        lock(&self.network.shared).streams.insert(self.local, Some(queue.clone()));
        Ok(Box::new(Listening { queue, _taken: *self }))
    }

    fn connect(self: Box<Self>, to: SocketAddr) -> Connecting {
        let network = self.network.clone();
        Box::pin(async move { network.dial(*self, to) })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let gone = lock(&self.network.shared).streams.remove(&self.local);
        drop(gone);
    }
}

impl Listener for Listening {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Connection, NetworkError>> {
        self.queue.poll_pop(cx).map(Ok)
    }
}

// === impl Mailbox ===

impl Datagrams for Mailbox {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetworkError>> {
        self.queue.poll_pop(cx).map(Ok)
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn send(&mut self, datagram: Bytes, to: SocketAddr) -> Result<(), NetworkError> {
        if let Some(queue) = lock(&self.network.shared).datagrams.get(&to)
            && queue.len() < DATAGRAMS_MAX
        {
            queue.push((datagram, self.local));
        }
        Ok(())
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        lock(&self.network.shared).datagrams.remove(&self.local);
    }
}

// === impl Queue ===

impl<T> Queue<T> {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((VecDeque::new(), None))))
    }

    fn len(&self) -> usize {
        lock(&self.0).0.len()
    }

    fn push(&self, one: T) {
        let mut queue = lock(&self.0);
        queue.0.push_back(one);
        wake(&mut queue.1);
    }

    fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut queue = lock(&self.0);
        match queue.0.pop_front() {
            Some(one) => Poll::Ready(one),
            None => {
                queue.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// === impl Pipe ===

impl Reader for In {
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetworkError>> {
        let mut pipe = lock(&self.pipe);
        let Some(piece) = pipe.pieces.front_mut() else {
            if pipe.ended {
                return Poll::Ready(Ok(Bytes::new()));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let bytes = piece.split_to(bytes_max.min(piece.len()));
        if piece.is_empty() {
            pipe.pieces.pop_front();
        }
        pipe.held -= bytes.len();
        wake(&mut pipe.writer);
        Poll::Ready(Ok(bytes))
    }
}

impl Drop for In {
    fn drop(&mut self) {
        let mut pipe = lock(&self.pipe);
        pipe.unread = true;
        pipe.pieces.clear();
        wake(&mut pipe.writer);
    }
}

impl Writer for Out {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        let mut pipe = lock(&self.0);
        if pipe.unread {
            return Poll::Ready(Err(NetworkError::Broken));
        }
        match PIPE_BYTES - pipe.held {
            0 => {
                pipe.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            room => Poll::Ready(Ok(room)),
        }
    }

    fn write(&mut self, bytes: Bytes) -> Result<(), NetworkError> {
        let mut pipe = lock(&self.0);
        if pipe.unread {
            return Err(NetworkError::Broken);
        }
        assert!(!bytes.is_empty() && pipe.held + bytes.len() <= PIPE_BYTES, "no more than there is room for");
        pipe.held += bytes.len();
        pipe.pieces.push_back(bytes);
        wake(&mut pipe.reader);
        Ok(())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let mut pipe = lock(&self.0);
        pipe.ended = true;
        wake(&mut pipe.reader);
    }
}
