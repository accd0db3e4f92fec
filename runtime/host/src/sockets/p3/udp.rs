//! `wasi:sockets/types`: `udp-socket`.

use std::future::poll_fn;
use std::net::SocketAddr;

use wasmtime::component::{Accessor, Resource};

use super::bindings::wasi::sockets::types::{HostUdpSocket, HostUdpSocketWithStore, IpAddressFamily, IpSocketAddress};
use crate::guest::Guest;
use crate::sockets::failure::Failure;
use crate::sockets::options::set;
use crate::sockets::udp::Udp;
use crate::sockets::{HasSockets, SocketsView};

impl SocketsView<'_> {
    fn udp3(&mut self, socket: &Resource<Udp>) -> Result<&mut Udp, Failure> {
        Ok(self.table.get_mut(socket)?)
    }
}

impl HostUdpSocketWithStore<Guest> for HasSockets {
    async fn send(
        store: &Accessor<Guest, Self>,
        socket: Resource<Udp>,
        data: Vec<u8>,
        remote: Option<IpSocketAddress>,
    ) -> Result<(), Failure> {
        let (bound, target) = store.with(|mut store| {
            let mut view = store.get();
            let udp = view.udp3(&socket)?;
            let target = udp.target(remote.map(SocketAddr::from))?;
            Ok::<_, Failure>((udp.bound_or_bind()?.clone(), target))
        })?;
        // Calls may overlap, and the network wakes one of them.
        let _turn = bound.sending.lock().await;
        poll_fn(|cx| bound.poll_writable(cx)).await;
        Ok(bound.send(data, target)?)
    }

    async fn receive(
        store: &Accessor<Guest, Self>,
        socket: Resource<Udp>,
    ) -> Result<(Vec<u8>, IpSocketAddress), Failure> {
        let bound = store.with(|mut store| Ok::<_, Failure>(store.get().udp3(&socket)?.bound()?.clone()))?;
        let _turn = bound.receiving.lock().await;
        let (datagram, from) = poll_fn(|cx| bound.poll_receive(cx)).await?;
        Ok((datagram.into(), from.into()))
    }
}

impl HostUdpSocket for SocketsView<'_> {
    fn create(&mut self, family: IpAddressFamily) -> Result<Resource<Udp>, Failure> {
        let udp = Udp::new(self.sockets, family.into())?;
        Ok(self.table.push(udp)?)
    }

    fn bind(&mut self, socket: Resource<Udp>, local: IpSocketAddress) -> Result<(), Failure> {
        Ok(self.udp3(&socket)?.bind(local.into())?)
    }

    fn connect(&mut self, socket: Resource<Udp>, remote: IpSocketAddress) -> Result<(), Failure> {
        Ok(self.udp3(&socket)?.connect(remote.into())?)
    }

    fn disconnect(&mut self, socket: Resource<Udp>) -> Result<(), Failure> {
        let udp = self.udp3(&socket)?;
        udp.peer()?;
        Ok(udp.set_peer(None)?)
    }

    fn get_local_address(&mut self, socket: Resource<Udp>) -> Result<IpSocketAddress, Failure> {
        Ok(self.udp3(&socket)?.bound()?.local.into())
    }

    fn get_remote_address(&mut self, socket: Resource<Udp>) -> Result<IpSocketAddress, Failure> {
        Ok(self.udp3(&socket)?.peer()?.into())
    }

    fn get_address_family(&mut self, socket: Resource<Udp>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family.into())
    }

    fn get_unicast_hop_limit(&mut self, socket: Resource<Udp>) -> Result<u8, Failure> {
        Ok(self.udp3(&socket)?.options.hop_limit)
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<Udp>, value: u8) -> Result<(), Failure> {
        Ok(set(&mut self.udp3(&socket)?.options.hop_limit, value)?)
    }

    fn get_receive_buffer_size(&mut self, socket: Resource<Udp>) -> Result<u64, Failure> {
        Ok(self.udp3(&socket)?.options.receive_buffer_bytes)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Udp>, value: u64) -> Result<(), Failure> {
        Ok(set(&mut self.udp3(&socket)?.options.receive_buffer_bytes, value)?)
    }

    fn get_send_buffer_size(&mut self, socket: Resource<Udp>) -> Result<u64, Failure> {
        Ok(self.udp3(&socket)?.options.send_buffer_bytes)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Udp>, value: u64) -> Result<(), Failure> {
        Ok(set(&mut self.udp3(&socket)?.options.send_buffer_bytes, value)?)
    }

    fn drop(&mut self, socket: Resource<Udp>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}
