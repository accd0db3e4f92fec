//! `wasi:sockets/udp` and `udp-create-socket`.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::Network;
use super::bindings::wasi::sockets::network::{IpAddressFamily, IpSocketAddress};
use super::bindings::wasi::sockets::udp::{
    Host, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagram, OutgoingDatagram,
};
use super::bindings::wasi::sockets::udp_create_socket;
use crate::network::NetworkError;
use crate::sockets::SocketsView;
use crate::sockets::failure::{Failure, Refusal};
use crate::sockets::options::set;
use crate::sockets::tcp::idle;
use crate::sockets::udp::{Bound, Udp};

/// Datagrams handed over in one call, either way: at most 1 MiB.
const BATCH_MAX: usize = 16;

/// A socket for datagrams.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Socket {
    udp: Udp,
    binding: bool,
}

/// What comes in.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Incoming {
    bound: Arc<Bound>,
    /// A datagram taken to know that there is one, not given to the guest yet.
    waiting: Option<Result<(Bytes, SocketAddr), NetworkError>>,
}

/// What goes out.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Outgoing {
    bound: Arc<Bound>,
    /// How many the last check allowed; more is a trap.
    allowed: usize,
}

// === impl Socket ===

impl Socket {
    fn start_bind(&mut self, local: SocketAddr) -> Result<(), Refusal> {
        if self.binding {
            return Err(Refusal::Conflict);
        }
        self.udp.bind(local)?;
        self.binding = true;
        Ok(())
    }

    fn finish_bind(&mut self) -> Result<(), Refusal> {
        if std::mem::take(&mut self.binding) { Ok(()) } else { Err(Refusal::NotInProgress) }
    }

    fn bound(&self) -> Result<&Arc<Bound>, Refusal> {
        if self.binding { Err(Refusal::InvalidState) } else { self.udp.bound() }
    }

    fn streams(&mut self, peer: Option<SocketAddr>) -> Result<(Incoming, Outgoing), Failure> {
        let bound = self.bound()?.clone();
        // The socket's own, and this one.
        if Arc::strong_count(&bound) > 2 {
            return Err(Failure::Trap(wasmtime::format_err!("the streams of a socket are still open")));
        }
        self.udp.set_peer(peer)?;
        Ok((Incoming { bound: bound.clone(), waiting: None }, Outgoing { bound, allowed: 0 }))
    }
}

#[async_trait]
impl Pollable for Socket {
    /// Nothing a socket itself does takes time.
    async fn ready(&mut self) {}
}

// === impl Incoming ===

impl Incoming {
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_none() {
            self.waiting = Some(ready!(self.bound.poll_receive(cx)));
        }
        Poll::Ready(())
    }

    /// As many as are there; an error only when it comes first.
    fn receive(&mut self, count_max: usize) -> Result<Vec<IncomingDatagram>, Refusal> {
        let mut received = Vec::new();
        while received.len() < count_max && self.poll_waiting(&mut idle()).is_ready() {
            match self.waiting.take() {
                Some(Ok((datagram, from))) => {
                    received.push(IncomingDatagram { data: datagram.into(), remote_address: from.into() });
                }
                Some(Err(error)) if received.is_empty() => return Err(error.into()),
                later => {
                    self.waiting = later;
                    break;
                }
            }
        }
        Ok(received)
    }
}

#[async_trait]
impl Pollable for Incoming {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll_waiting(cx)).await;
    }
}

// === impl Outgoing ===

impl Outgoing {
    fn check(&mut self) -> usize {
        self.allowed = if self.bound.poll_writable(&mut idle()).is_ready() { BATCH_MAX } else { 0 };
        self.allowed
    }

    /// Sends one after another until one cannot be; an error only when it comes first.
    fn send(&mut self, datagrams: Vec<OutgoingDatagram>) -> Result<u64, Failure> {
        let (asked, allowed) = (datagrams.len(), self.allowed);
        if asked > allowed {
            return Err(Failure::Trap(wasmtime::format_err!("sent {asked} datagrams where {allowed} were allowed")));
        }
        self.allowed -= asked;
        let mut sent = 0;
        for OutgoingDatagram { data, remote_address } in datagrams {
            if self.bound.poll_writable(&mut idle()).is_pending() {
                break;
            }
            let target = self.bound.target(remote_address.map(SocketAddr::from));
            match target.and_then(|target| self.bound.send(data, target)) {
                Ok(()) => sent += 1,
                Err(refusal) if sent == 0 => return Err(refusal.into()),
                Err(_) => break,
            }
        }
        Ok(sent)
    }
}

#[async_trait]
impl Pollable for Outgoing {
    async fn ready(&mut self) {
        poll_fn(|cx| self.bound.poll_writable(cx)).await;
    }
}

// === impl SocketsView ===

impl udp_create_socket::Host for SocketsView<'_> {
    fn create_udp_socket(&mut self, family: IpAddressFamily) -> Result<Resource<Socket>, Failure> {
        let udp = Udp::new(self.sockets, family.into())?;
        Ok(self.table.push(Socket { udp, binding: false })?)
    }
}

impl Host for SocketsView<'_> {}

impl SocketsView<'_> {
    fn udp2(&mut self, socket: &Resource<Socket>) -> Result<&mut Socket, Failure> {
        Ok(self.table.get_mut(socket)?)
    }
}

impl HostUdpSocket for SocketsView<'_> {
    fn start_bind(
        &mut self,
        socket: Resource<Socket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> Result<(), Failure> {
        self.table.get(&network)?;
        Ok(self.udp2(&socket)?.start_bind(local.into())?)
    }

    fn finish_bind(&mut self, socket: Resource<Socket>) -> Result<(), Failure> {
        Ok(self.udp2(&socket)?.finish_bind()?)
    }

    fn stream(
        &mut self,
        socket: Resource<Socket>,
        remote: Option<IpSocketAddress>,
    ) -> Result<(Resource<Incoming>, Resource<Outgoing>), Failure> {
        let (incoming, outgoing) = self.udp2(&socket)?.streams(remote.map(SocketAddr::from))?;
        Ok((self.table.push_child(incoming, &socket)?, self.table.push_child(outgoing, &socket)?))
    }

    fn local_address(&mut self, socket: Resource<Socket>) -> Result<IpSocketAddress, Failure> {
        Ok(self.udp2(&socket)?.bound()?.local.into())
    }

    fn remote_address(&mut self, socket: Resource<Socket>) -> Result<IpSocketAddress, Failure> {
        Ok(self.udp2(&socket)?.udp.peer()?.into())
    }

    fn address_family(&mut self, socket: Resource<Socket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.udp.family.into())
    }

    fn unicast_hop_limit(&mut self, socket: Resource<Socket>) -> Result<u8, Failure> {
        Ok(self.udp2(&socket)?.udp.options.hop_limit)
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<Socket>, value: u8) -> Result<(), Failure> {
        Ok(set(&mut self.udp2(&socket)?.udp.options.hop_limit, value)?)
    }

    fn receive_buffer_size(&mut self, socket: Resource<Socket>) -> Result<u64, Failure> {
        Ok(self.udp2(&socket)?.udp.options.receive_buffer_bytes)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Socket>, value: u64) -> Result<(), Failure> {
        Ok(set(&mut self.udp2(&socket)?.udp.options.receive_buffer_bytes, value)?)
    }

    fn send_buffer_size(&mut self, socket: Resource<Socket>) -> Result<u64, Failure> {
        Ok(self.udp2(&socket)?.udp.options.send_buffer_bytes)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Socket>, value: u64) -> Result<(), Failure> {
        Ok(set(&mut self.udp2(&socket)?.udp.options.send_buffer_bytes, value)?)
    }

    fn subscribe(&mut self, socket: Resource<Socket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, socket)
    }

    fn drop(&mut self, socket: Resource<Socket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}

impl HostIncomingDatagramStream for SocketsView<'_> {
    fn receive(&mut self, stream: Resource<Incoming>, count_max: u64) -> Result<Vec<IncomingDatagram>, Failure> {
        let count_max = usize::try_from(count_max).unwrap_or(BATCH_MAX).min(BATCH_MAX);
        Ok(self.table.get_mut(&stream)?.receive(count_max)?)
    }

    fn subscribe(&mut self, stream: Resource<Incoming>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<Incoming>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl HostOutgoingDatagramStream for SocketsView<'_> {
    fn check_send(&mut self, stream: Resource<Outgoing>) -> Result<u64, Failure> {
        Ok(self.table.get_mut(&stream)?.check() as u64)
    }

    fn send(&mut self, stream: Resource<Outgoing>, datagrams: Vec<OutgoingDatagram>) -> Result<u64, Failure> {
        self.table.get_mut(&stream)?.send(datagrams)
    }

    fn subscribe(&mut self, stream: Resource<Outgoing>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<Outgoing>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}
