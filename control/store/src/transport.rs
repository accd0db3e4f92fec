//! The way to the other members, as the store needs it.
//!
//! The store says whom it wants to talk to and takes a stream of bytes; it knows no URLs, no TLS and no HTTP. What goes over the
//! stream is its [own](crate::wire). Whoever carries it sees to it that both ends are servers of this cluster: a member
//! believes what another tells it.

use std::fmt;
use std::io;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::MemberId;

/// A member, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its number.
    pub member: MemberId,
    /// Where the others reach it, in the words of the [`Transport`].
    pub address: String,
}

/// Bytes both ways, in order, as TCP has it.
pub type Connection = Box<dyn Duplex>;

/// What a [`Connection`] can do.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Reaches members.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Opens a connection to a member. The other end gives it to [`Store::serve`](crate::Store::serve).
    fn dial(&self, peer: &Peer) -> BoxFuture<'static, io::Result<Connection>>;
}

/// The way of a store that has no others to reach: nobody is there.
///
/// Should a membership ever name another, that one is honestly unreachable: nothing is lost, and nothing is committed without it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nowhere;

impl Transport for Nowhere {
    fn dial(&self, _peer: &Peer) -> BoxFuture<'static, io::Result<Connection>> {
        Box::pin(async { Err(io::Error::new(io::ErrorKind::NotConnected, "this server has no way to other servers")) })
    }
}
