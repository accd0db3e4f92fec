//! `wasi:sockets/types`: `tcp-socket`.

use std::future::poll_fn;
use std::net::SocketAddr;

use tokio::sync::oneshot;
use wasmtime::component::{Access, Accessor, FutureReader, Resource, StreamReader};

use super::bindings::wasi::sockets::types::{
    Duration, ErrorCode, HostTcpSocket, HostTcpSocketWithStore, IpAddressFamily, IpSocketAddress,
};
use super::stream::{Accepting, Receiving, Sending};
use crate::guest::Guest;
use crate::sockets::failure::{Failure, Refusal};
use crate::sockets::options::set;
use crate::sockets::tcp::Tcp;
use crate::sockets::{HasSockets, SocketsView};

type Outcome = Result<(), ErrorCode>;

impl SocketsView<'_> {
    fn tcp3(&mut self, socket: &Resource<Tcp>) -> Result<&mut Tcp, Failure> {
        Ok(self.table.get_mut(socket)?)
    }
}

impl HostTcpSocketWithStore<Guest> for HasSockets {
    async fn connect(
        store: &Accessor<Guest, Self>,
        socket: Resource<Tcp>,
        remote: IpSocketAddress,
    ) -> Result<(), Failure> {
        store.with(|mut store| Ok::<_, Failure>(store.get().tcp3(&socket)?.connect(SocketAddr::from(remote))?))?;
        poll_fn(|cx| {
            store.with(|mut store| match store.get().tcp3(&socket) {
                Ok(tcp) => tcp.poll_connected(cx).map(Ok),
                Err(failure) => std::task::Poll::Ready(Err(failure)),
            })
        })
        .await?;
        store.with(|mut store| Ok(store.get().tcp3(&socket)?.connected().map(drop)?))
    }

    fn listen(
        mut store: Access<'_, Guest, Self>,
        socket: Resource<Tcp>,
    ) -> Result<StreamReader<Resource<Tcp>>, Failure> {
        let mut view = store.get();
        let tcp = view.tcp3(&socket)?;
        if tcp.is_unbound() {
            tcp.bind(tcp.family.anywhere())?;
        }
        let accepting = Accepting::new(tcp.listen()?, tcp.heritage());
        StreamReader::new(&mut store, accepting).map_err(Failure::Trap)
    }

    fn send(
        mut store: Access<'_, Guest, Self>,
        socket: Resource<Tcp>,
        mut data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<Outcome>> {
        let open = store.get().table.get(&socket)?.open().ok().filter(|open| open.take_outgoing()).cloned();
        let (ended, outcome) = oneshot::channel();
        match open {
            Some(open) => data.pipe(&mut store, Sending::new(open, ended))?,
            None => {
                data.close(&mut store)?;
                refuse(ended);
            }
        }
        FutureReader::new(&mut store, outcome)
    }

    fn receive(
        mut store: Access<'_, Guest, Self>,
        socket: Resource<Tcp>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Outcome>)> {
        let open = store.get().table.get(&socket)?.open().ok().filter(|open| open.take_incoming()).cloned();
        let (ended, outcome) = oneshot::channel();
        let data = match open {
            Some(open) => StreamReader::new(&mut store, Receiving::new(open, ended))?,
            None => {
                refuse(ended);
                StreamReader::new(&mut store, std::iter::empty())?
            }
        };
        Ok((data, FutureReader::new(&mut store, outcome)?))
    }
}

fn refuse(ended: oneshot::Sender<Outcome>) {
    // The receiver is in the caller's hands.
    let _ = ended.send(Err(Refusal::InvalidState.into()));
}

impl HostTcpSocket for SocketsView<'_> {
    fn create(&mut self, family: IpAddressFamily) -> Result<Resource<Tcp>, Failure> {
        let tcp = Tcp::new(self.sockets, family.into())?;
        Ok(self.table.push(tcp)?)
    }

    fn bind(&mut self, socket: Resource<Tcp>, local: IpSocketAddress) -> Result<(), Failure> {
        Ok(self.tcp3(&socket)?.bind(local.into())?)
    }

    fn get_local_address(&mut self, socket: Resource<Tcp>) -> Result<IpSocketAddress, Failure> {
        Ok(self.tcp3(&socket)?.local()?.into())
    }

    fn get_remote_address(&mut self, socket: Resource<Tcp>) -> Result<IpSocketAddress, Failure> {
        Ok(self.tcp3(&socket)?.remote()?.into())
    }

    fn get_is_listening(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&socket)?.listening().is_some())
    }

    fn get_address_family(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family.into())
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<Tcp>, value: u64) -> Result<(), Failure> {
        Ok(self.tcp3(&socket)?.set_backlog(value)?)
    }

    fn get_keep_alive_enabled(&mut self, socket: Resource<Tcp>) -> Result<bool, Failure> {
        Ok(self.tcp3(&socket)?.options.keep_alive)
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<Tcp>, value: bool) -> Result<(), Failure> {
        self.tcp3(&socket)?.options.keep_alive = value;
        Ok(())
    }

    fn get_keep_alive_idle_time(&mut self, socket: Resource<Tcp>) -> Result<Duration, Failure> {
        Ok(self.tcp3(&socket)?.options.keep_alive_idle_ns)
    }

    fn set_keep_alive_idle_time(&mut self, socket: Resource<Tcp>, value: Duration) -> Result<(), Failure> {
        Ok(set(&mut self.tcp3(&socket)?.options.keep_alive_idle_ns, value)?)
    }

    fn get_keep_alive_interval(&mut self, socket: Resource<Tcp>) -> Result<Duration, Failure> {
        Ok(self.tcp3(&socket)?.options.keep_alive_interval_ns)
    }

    fn set_keep_alive_interval(&mut self, socket: Resource<Tcp>, value: Duration) -> Result<(), Failure> {
        Ok(set(&mut self.tcp3(&socket)?.options.keep_alive_interval_ns, value)?)
    }

    fn get_keep_alive_count(&mut self, socket: Resource<Tcp>) -> Result<u32, Failure> {
        Ok(self.tcp3(&socket)?.options.keep_alive_count)
    }

    fn set_keep_alive_count(&mut self, socket: Resource<Tcp>, value: u32) -> Result<(), Failure> {
        Ok(set(&mut self.tcp3(&socket)?.options.keep_alive_count, value)?)
    }

    fn get_hop_limit(&mut self, socket: Resource<Tcp>) -> Result<u8, Failure> {
        Ok(self.tcp3(&socket)?.options.hop_limit)
    }

    fn set_hop_limit(&mut self, socket: Resource<Tcp>, value: u8) -> Result<(), Failure> {
        Ok(set(&mut self.tcp3(&socket)?.options.hop_limit, value)?)
    }

    fn get_receive_buffer_size(&mut self, socket: Resource<Tcp>) -> Result<u64, Failure> {
        Ok(self.tcp3(&socket)?.options.receive_buffer_bytes)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Tcp>, value: u64) -> Result<(), Failure> {
        Ok(set(&mut self.tcp3(&socket)?.options.receive_buffer_bytes, value)?)
    }

    fn get_send_buffer_size(&mut self, socket: Resource<Tcp>) -> Result<u64, Failure> {
        Ok(self.tcp3(&socket)?.options.send_buffer_bytes)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Tcp>, value: u64) -> Result<(), Failure> {
        Ok(set(&mut self.tcp3(&socket)?.options.send_buffer_bytes, value)?)
    }

    fn drop(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}
