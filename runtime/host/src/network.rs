//! The network a guest is on.
//!
//! Whoever runs workloads implements [`Network`], one value per container; the host turns `wasi:sockets`, 0.2 and 0.3
//! alike, into calls of it. There is no other way to a socket or a name: a guest whose [`Spec`](crate::Spec) says
//! nothing is on [`Nowhere`].
//!
//! The law of the traits:
//! - Nothing blocks. What has to be waited for is a future, or a poll function that wakes the last context it was given;
//!   a reader, a writer and a listener have one user each, and the two directions of [`Datagrams`] one each as well.
//! - Bytes are moved, not copied: what one side writes is what the other side reads, cut where it has to be.
//! - Dropping is closing. A dropped [`Writer`] ends the stream after what was written, a dropped [`Reader`] makes the other
//!   side's writes fail, a dropped [`Port`], [`Listener`] or [`Datagrams`] frees its address. A guest that ends drops all it has.
//! - The host checks what the guest asks for before it asks: addresses are unicast, of one family, and no IPv4 address comes
//!   dressed as an IPv6 one. Which of them may be bound or reached is the network's to say.

use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::outside::Nowhere;

/// A connection on its way; dropping it gives it up.
pub type Connecting = BoxFuture<'static, Result<Connection, NetworkError>>;

/// A name look-up on its way.
pub type Resolving = BoxFuture<'static, Result<Vec<IpAddr>, NetworkError>>;

/// Addresses, connections, datagrams and names, as one container has them.
pub trait Network: Send + Sync + 'static {
    /// Takes a local address for a stream socket. Port 0 is any free port, the unspecified address whatever the
    /// container has.
    fn bind(&self, local: SocketAddr) -> Result<Box<dyn Port>, NetworkError>;

    /// Connects from an address of the network's choice. It is polled on the guests' threads: whoever does real I/O
    /// spawns it elsewhere.
    fn connect(&self, to: SocketAddr) -> Connecting;

    /// Takes a local address for datagrams, by the same rules as [`bind`](Self::bind).
    fn datagrams(&self, local: SocketAddr) -> Result<Box<dyn Datagrams>, NetworkError>;

    /// The addresses of a name, the best one first; it is never the text of an address.
    fn resolve(&self, name: String) -> Resolving;
}

/// A local address taken for a stream socket, not used yet.
pub trait Port: Send + 'static {
    /// The address, its port known.
    fn local(&self) -> SocketAddr;

    /// Takes connections from now on; about `backlog` of them wait to be accepted.
    fn listen(self: Box<Self>, backlog: u32) -> Result<Box<dyn Listener>, NetworkError>;

    /// Connects from this address.
    fn connect(self: Box<Self>, to: SocketAddr) -> Connecting;
}

/// Takes connections.
pub trait Listener: Send + 'static {
    /// The next connection. After an error there may be more.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Connection, NetworkError>>;
}

/// An established connection.
pub struct Connection {
    /// This side's address.
    pub local: SocketAddr,
    /// The other side's address.
    pub remote: SocketAddr,
    /// What the other side sends.
    pub reader: Box<dyn Reader>,
    /// What this side sends.
    pub writer: Box<dyn Writer>,
}

/// The incoming half of a connection.
pub trait Reader: Send + 'static {
    /// What has come, at least one and at most `bytes_max` bytes; empty once the other side has ended its stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetworkError>>;
}

/// The outgoing half of a connection.
pub trait Writer: Send + 'static {
    /// How many bytes may be written, at least one; pending while the other side is behind, an error when it reads no more.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, NetworkError>>;

    /// Takes the bytes, at most as many as were ready.
    fn write(&mut self, bytes: Bytes) -> Result<(), NetworkError>;
}

/// A socket for datagrams.
pub trait Datagrams: Send + 'static {
    /// Its address, its port known.
    fn local(&self) -> SocketAddr;

    /// The next datagram and who sent it.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetworkError>>;

    /// Whether another datagram may be sent.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Sends a datagram, which may get lost; an error is told only where it is known at once.
    fn send(&mut self, datagram: Bytes, to: SocketAddr) -> Result<(), NetworkError>;
}

/// Why something on the network failed; the guest gets the word `wasi:sockets` has for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Policy forbids it.
    #[error("denied by policy")]
    Denied,
    /// There is no such thing on this network, an address family for one.
    #[error("not supported")]
    Unsupported,
    /// The address belongs to nobody here.
    #[error("the address cannot be bound here")]
    NotLocal,
    /// The address or port is taken, or no port is free.
    #[error("address in use")]
    InUse,
    /// No socket more can be had.
    #[error("too many sockets")]
    TooMany,
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// There is no way there.
    #[error("unreachable")]
    Unreachable,
    /// No answer in time.
    #[error("timed out")]
    TimedOut,
    /// The other side gave the connection up.
    #[error("connection reset")]
    Reset,
    /// The connection was given up on this side.
    #[error("connection aborted")]
    Aborted,
    /// The other side reads no more.
    #[error("broken pipe")]
    Broken,
    /// The datagram is larger than any that can be sent.
    #[error("datagram too large")]
    TooLarge,
    /// The name does not exist, or has no address.
    #[error("no such name")]
    NoSuchName,
    /// The name cannot be looked up now.
    #[error("the name cannot be resolved now")]
    ResolverBusy,
    /// The name cannot be looked up.
    #[error("the name cannot be resolved")]
    ResolverFailed,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

// === impl Nowhere ===

impl Network for Nowhere {
    fn bind(&self, _: SocketAddr) -> Result<Box<dyn Port>, NetworkError> {
        Err(NetworkError::Denied)
    }

    fn connect(&self, _: SocketAddr) -> Connecting {
        Box::pin(async { Err(NetworkError::Denied) })
    }

    fn datagrams(&self, _: SocketAddr) -> Result<Box<dyn Datagrams>, NetworkError> {
        Err(NetworkError::Denied)
    }

    fn resolve(&self, _: String) -> Resolving {
        Box::pin(async { Err(NetworkError::NoSuchName) })
    }
}

// === impl Connection ===

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("local", &self.local).field("remote", &self.remote).finish_non_exhaustive()
    }
}
