//! `wasi:sockets/tcp` and `tcp-create-socket`.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, subscribe};

use super::Network;
use super::bindings::wasi::sockets::network::{IpAddressFamily, IpSocketAddress};
use super::bindings::wasi::sockets::tcp::{Duration, Host, HostTcpSocket, ShutdownType};
use super::bindings::wasi::sockets::tcp_create_socket;
use super::stream::{Input, Output};
use crate::network::{Connection, NetworkError};
use crate::sockets::failure::{Failure, Refusal};
use crate::sockets::options::set;
use crate::sockets::tcp::{Half, Open, Tcp, idle};
use crate::sockets::{Place, SocketsView};

/// A stream socket.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Socket {
    tcp: Tcp,
    under_way: Option<Step>,
    /// A connection taken to know that there is one, not accepted yet.
    waiting: Option<Result<Connection, NetworkError>>,
}

/// What was started and not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Bind,
    Connect,
    Listen,
}

type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

// === impl Socket ===

impl Socket {
    fn new(tcp: Tcp) -> Self {
        Self { tcp, under_way: None, waiting: None }
    }

    /// Does the first half of a step.
    fn start(&mut self, step: Step, act: impl FnOnce(&mut Tcp) -> Result<(), Refusal>) -> Result<(), Refusal> {
        if self.under_way.is_some() {
            return Err(Refusal::Conflict);
        }
        act(&mut self.tcp)?;
        self.under_way = Some(step);
        Ok(())
    }

    /// Does the second half of a step.
    fn finish(&mut self, step: Step) -> Result<(), Refusal> {
        if self.under_way != Some(step) {
            return Err(Refusal::NotInProgress);
        }
        self.under_way = None;
        Ok(())
    }

    fn finish_connect(&mut self) -> Result<Arc<Open>, Refusal> {
        if self.under_way == Some(Step::Connect) && self.tcp.poll_connected(&mut idle()).is_pending() {
            return Err(Refusal::WouldBlock);
        }
        self.finish(Step::Connect)?;
        self.tcp.connected()
    }

    fn is_listening(&self) -> bool {
        self.tcp.listening().is_some() && self.under_way.is_none()
    }

    /// Ready when there is a connection to accept.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_none()
            && let Some(listening) = self.tcp.listening()
        {
            self.waiting = Some(ready!(listening.poll_accept(cx)));
        }
        Poll::Ready(())
    }

    fn accept(&mut self, place: impl FnOnce() -> Result<Place, NetworkError>) -> Result<Self, Refusal> {
        if !self.is_listening() {
            return Err(Refusal::InvalidState);
        }
        let Poll::Ready(()) = self.poll_waiting(&mut idle()) else { return Err(Refusal::WouldBlock) };
        // Without a place for it, the connection waits for another try.
        let place = place()?;
        match self.waiting.take() {
            Some(connection) => Ok(Self::new(self.tcp.heritage().accepted(connection?, place))),
            None => Err(Refusal::WouldBlock),
        }
    }

    fn shutdown(&self, kind: ShutdownType) -> Result<(), Refusal> {
        self.tcp.open()?.shut(match kind {
            ShutdownType::Receive => Half::Incoming,
            ShutdownType::Send => Half::Outgoing,
            ShutdownType::Both => Half::Both,
        });
        Ok(())
    }
}

#[async_trait]
impl Pollable for Socket {
    async fn ready(&mut self) {
        poll_fn(|cx| match self.under_way {
            Some(Step::Connect) => self.tcp.poll_connected(cx),
            Some(Step::Bind | Step::Listen) => Poll::Ready(()),
            None => self.poll_waiting(cx),
        })
        .await;
    }
}

// === impl SocketsView ===

impl tcp_create_socket::Host for SocketsView<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> Result<Resource<Socket>, Failure> {
        let tcp = Tcp::new(self.sockets, family.into())?;
        Ok(self.table.push(Socket::new(tcp))?)
    }
}

impl Host for SocketsView<'_> {}

impl SocketsView<'_> {
    fn tcp2(&mut self, socket: &Resource<Socket>) -> Result<&mut Socket, Failure> {
        Ok(self.table.get_mut(socket)?)
    }
}

/// Makes the streams of a connection, which must be dropped before its socket.
fn streams(table: &mut ResourceTable, socket: &Resource<Socket>, open: &Arc<Open>) -> Result<Streams, Failure> {
    let input: DynInputStream = Box::new(Input { open: open.clone() });
    let output: DynOutputStream = Box::new(Output::new(open.clone()));
    Ok((table.push_child(input, socket)?, table.push_child(output, socket)?))
}

impl HostTcpSocket for SocketsView<'_> {
    fn start_bind(
        &mut self,
        socket: Resource<Socket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> Result<(), Failure> {
        self.table.get(&network)?;
        Ok(self.tcp2(&socket)?.start(Step::Bind, |tcp| tcp.bind(SocketAddr::from(local)))?)
    }

    fn finish_bind(&mut self, socket: Resource<Socket>) -> Result<(), Failure> {
        Ok(self.tcp2(&socket)?.finish(Step::Bind)?)
    }

    fn start_connect(
        &mut self,
        socket: Resource<Socket>,
        network: Resource<Network>,
        remote: IpSocketAddress,
    ) -> Result<(), Failure> {
        self.table.get(&network)?;
        Ok(self.tcp2(&socket)?.start(Step::Connect, |tcp| tcp.connect(SocketAddr::from(remote)))?)
    }

    fn finish_connect(&mut self, socket: Resource<Socket>) -> Result<Streams, Failure> {
        let open = self.tcp2(&socket)?.finish_connect()?;
        streams(self.table, &socket, &open)
    }

    fn start_listen(&mut self, socket: Resource<Socket>) -> Result<(), Failure> {
        Ok(self.tcp2(&socket)?.start(Step::Listen, |tcp| tcp.listen().map(drop))?)
    }

    fn finish_listen(&mut self, socket: Resource<Socket>) -> Result<(), Failure> {
        Ok(self.tcp2(&socket)?.finish(Step::Listen)?)
    }

    fn accept(
        &mut self,
        socket: Resource<Socket>,
    ) -> Result<(Resource<Socket>, Resource<DynInputStream>, Resource<DynOutputStream>), Failure> {
        let sockets = self.sockets;
        let accepted = self.tcp2(&socket)?.accept(|| sockets.place())?;
        let open = accepted.tcp.open()?.clone();
        let socket = self.table.push(accepted)?;
        let (input, output) = streams(self.table, &socket, &open)?;
        Ok((socket, input, output))
    }

    fn local_address(&mut self, socket: Resource<Socket>) -> Result<IpSocketAddress, Failure> {
        let socket = self.tcp2(&socket)?;
        if socket.under_way == Some(Step::Bind) {
            return Err(Refusal::InvalidState.into());
        }
        Ok(socket.tcp.local()?.into())
    }

    fn remote_address(&mut self, socket: Resource<Socket>) -> Result<IpSocketAddress, Failure> {
        Ok(self.tcp2(&socket)?.tcp.remote()?.into())
    }

    fn is_listening(&mut self, socket: Resource<Socket>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&socket)?.is_listening())
    }

    fn address_family(&mut self, socket: Resource<Socket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.tcp.family.into())
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<Socket>, value: u64) -> Result<(), Failure> {
        Ok(self.tcp2(&socket)?.tcp.set_backlog(value)?)
    }

    fn keep_alive_enabled(&mut self, socket: Resource<Socket>) -> Result<bool, Failure> {
        Ok(self.tcp2(&socket)?.tcp.options.keep_alive)
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<Socket>, value: bool) -> Result<(), Failure> {
        self.tcp2(&socket)?.tcp.options.keep_alive = value;
        Ok(())
    }

    fn keep_alive_idle_time(&mut self, socket: Resource<Socket>) -> Result<Duration, Failure> {
        Ok(self.tcp2(&socket)?.tcp.options.keep_alive_idle_ns)
    }

    fn set_keep_alive_idle_time(&mut self, socket: Resource<Socket>, value: Duration) -> Result<(), Failure> {
        Ok(set(&mut self.tcp2(&socket)?.tcp.options.keep_alive_idle_ns, value)?)
    }

    fn keep_alive_interval(&mut self, socket: Resource<Socket>) -> Result<Duration, Failure> {
        Ok(self.tcp2(&socket)?.tcp.options.keep_alive_interval_ns)
    }

    fn set_keep_alive_interval(&mut self, socket: Resource<Socket>, value: Duration) -> Result<(), Failure> {
        Ok(set(&mut self.tcp2(&socket)?.tcp.options.keep_alive_interval_ns, value)?)
    }

    fn keep_alive_count(&mut self, socket: Resource<Socket>) -> Result<u32, Failure> {
        Ok(self.tcp2(&socket)?.tcp.options.keep_alive_count)
    }

    fn set_keep_alive_count(&mut self, socket: Resource<Socket>, value: u32) -> Result<(), Failure> {
        Ok(set(&mut self.tcp2(&socket)?.tcp.options.keep_alive_count, value)?)
    }

    fn hop_limit(&mut self, socket: Resource<Socket>) -> Result<u8, Failure> {
        Ok(self.tcp2(&socket)?.tcp.options.hop_limit)
    }

    fn set_hop_limit(&mut self, socket: Resource<Socket>, value: u8) -> Result<(), Failure> {
        Ok(set(&mut self.tcp2(&socket)?.tcp.options.hop_limit, value)?)
    }

    fn receive_buffer_size(&mut self, socket: Resource<Socket>) -> Result<u64, Failure> {
        Ok(self.tcp2(&socket)?.tcp.options.receive_buffer_bytes)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Socket>, value: u64) -> Result<(), Failure> {
        Ok(set(&mut self.tcp2(&socket)?.tcp.options.receive_buffer_bytes, value)?)
    }

    fn send_buffer_size(&mut self, socket: Resource<Socket>) -> Result<u64, Failure> {
        Ok(self.tcp2(&socket)?.tcp.options.send_buffer_bytes)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Socket>, value: u64) -> Result<(), Failure> {
        Ok(set(&mut self.tcp2(&socket)?.tcp.options.send_buffer_bytes, value)?)
    }

    fn subscribe(&mut self, socket: Resource<Socket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, socket)
    }

    fn shutdown(&mut self, socket: Resource<Socket>, kind: ShutdownType) -> Result<(), Failure> {
        Ok(self.tcp2(&socket)?.shutdown(kind)?)
    }

    fn drop(&mut self, socket: Resource<Socket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}
