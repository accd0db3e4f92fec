//! How what is on another node is reached.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{Fault, Origin, Refused, Request, Response, Stream};

/// The way to the pods of other nodes. The [`Fabric`](crate::Fabric) asks it about addresses of pods that are not its own;
/// on the other node it ends in [`Fabric::connect_here`](crate::Fabric::connect_here),
/// [`Fabric::send_here`](crate::Fabric::send_here) and [`Fabric::deliver`](crate::Fabric::deliver).
///
/// Futures are polled on the runtime that the fabric was made on.
pub trait Remote: Send + Sync + 'static {
    /// Whether there is a node whose pods have such addresses. It is asked on every dial: no wait, no lock.
    fn reaches(&self, address: IpAddr) -> bool;

    /// A connection to `to`. A refusal of the other side is told as it was told there.
    fn stream(&self, origin: Origin, to: SocketAddr) -> BoxFuture<'static, Result<Stream, Refused>>;

    /// Has `request` answered at `to`. What never left this node is given back by [`Fault::refused`].
    fn request(&self, origin: Origin, to: SocketAddr, request: Request) -> BoxFuture<'static, Result<Response, Fault>>;

    /// Sends a datagram from one address of the cluster to another; it may get lost.
    fn datagram(&self, origin: Origin, from: SocketAddr, to: SocketAddr, datagram: Bytes);
}
