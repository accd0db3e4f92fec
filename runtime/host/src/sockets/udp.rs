//! A socket for datagrams.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::address::Family;
use super::failure::Refusal;
use super::options::Options;
use super::{Place, Sockets, lock};
use crate::network::{Datagrams, NetworkError};

/// A socket for datagrams.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Udp {
    pub(crate) family: Family,
    pub(crate) options: Options,
    sockets: Sockets,
    place: Place,
    bound: Option<Arc<Bound>>,
}

/// A socket with an address; lives as long as anybody can send or receive through it.
pub(crate) struct Bound {
    pub(crate) local: SocketAddr,
    family: Family,
    datagrams: Mutex<Box<dyn Datagrams>>,
    /// The only peer, if there is one.
    peer: Mutex<Option<SocketAddr>>,
    /// Held by whoever waits to receive, where several may.
    pub(crate) receiving: tokio::sync::Mutex<()>,
    /// Held by whoever waits to send, where several may.
    pub(crate) sending: tokio::sync::Mutex<()>,
    _place: Place,
}

/// What IPv4 leaves of 64 KiB after its headers.
const DATAGRAM_BYTES_MAX: usize = 65_507;

// === impl Udp ===

impl Udp {
    pub(crate) fn new(sockets: &Sockets, family: Family) -> Result<Self, NetworkError> {
        let (sockets, place) = (sockets.clone(), sockets.place()?);
        Ok(Self { family, options: Options::default(), sockets, place, bound: None })
    }

    pub(crate) fn bind(&mut self, local: SocketAddr) -> Result<(), Refusal> {
        if self.bound.is_some() {
            return Err(Refusal::InvalidState);
        }
        let local = self.family.local_datagram(local)?;
        let datagrams = self.sockets.network.datagrams(local)?;
        self.bound = Some(Arc::new(Bound {
            local: datagrams.local(),
            family: self.family,
            datagrams: Mutex::new(datagrams),
            peer: Mutex::new(None),
            receiving: tokio::sync::Mutex::new(()),
            sending: tokio::sync::Mutex::new(()),
            _place: self.place.clone(),
        }));
        Ok(())
    }

    /// The socket once it has an address.
    pub(crate) fn bound(&self) -> Result<&Arc<Bound>, Refusal> {
        self.bound.as_ref().ok_or(Refusal::InvalidState)
    }

    /// The socket, with any free address if it has none.
    pub(crate) fn bound_or_bind(&mut self) -> Result<&Arc<Bound>, Refusal> {
        if self.bound.is_none() {
            self.bind(self.family.anywhere())?;
        }
        self.bound()
    }

    /// Limits the socket to one peer, or to none.
    pub(crate) fn set_peer(&mut self, peer: Option<SocketAddr>) -> Result<(), Refusal> {
        let peer = peer.map(|peer| self.family.remote_datagram(peer)).transpose()?;
        *lock(&self.bound()?.peer) = peer;
        Ok(())
    }

    /// Limits the socket to one peer, with any free address if it has none.
    pub(crate) fn connect(&mut self, peer: SocketAddr) -> Result<(), Refusal> {
        self.family.remote_datagram(peer)?;
        self.bound_or_bind()?;
        self.set_peer(Some(peer))
    }

    /// Where a datagram for `to` goes: the peer, or whoever is named.
    pub(crate) fn target(&self, to: Option<SocketAddr>) -> Result<SocketAddr, Refusal> {
        target(self.family, self.peer().ok(), to)
    }

    pub(crate) fn peer(&self) -> Result<SocketAddr, Refusal> {
        self.bound()?.peer().ok_or(Refusal::InvalidState)
    }
}

// === impl Bound ===

impl Bound {
    /// The next datagram, of the peer only if there is one.
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, SocketAddr), NetworkError>> {
        let peer = self.peer();
        loop {
            let (datagram, from) = ready!(lock(&self.datagrams).poll_receive(cx))?;
            if peer.is_none_or(|peer| peer == from) {
                return Poll::Ready(Ok((datagram, from)));
            }
        }
    }

    /// Whether another datagram may be sent.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        lock(&self.datagrams).poll_ready(cx)
    }

    /// Where a datagram for `to` goes: the peer, or whoever is named.
    pub(crate) fn target(&self, to: Option<SocketAddr>) -> Result<SocketAddr, Refusal> {
        target(self.family, self.peer(), to)
    }

    pub(crate) fn send(&self, datagram: Vec<u8>, to: SocketAddr) -> Result<(), Refusal> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(NetworkError::TooLarge.into());
        }
        Ok(lock(&self.datagrams).send(datagram.into(), to)?)
    }

    fn peer(&self) -> Option<SocketAddr> {
        *lock(&self.peer)
    }
}

fn target(family: Family, peer: Option<SocketAddr>, to: Option<SocketAddr>) -> Result<SocketAddr, Refusal> {
    match (to, peer) {
        (None, Some(peer)) => Ok(peer),
        (Some(to), None) => family.remote_datagram(to),
        (Some(to), Some(peer)) if to == peer => Ok(peer),
        (Some(_), Some(_)) | (None, None) => Err(Refusal::InvalidArgument),
    }
}
