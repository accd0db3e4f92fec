//! `wasi:sockets` 0.2.
//!
//! Two-step operations (`start-…`, `finish-…`) are one step here for all but connecting: the first does it, the second says
//! so. Streams and pollables are those of `wasi:io`, as every other stream of a guest.

mod convert;
mod names;
mod stream;
mod tcp;
mod udp;

#[allow(missing_docs, unreachable_pub, clippy::pedantic)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/p2",
        world: "coracle:sockets/guest",
        imports: { default: trappable },
        require_store_data_send: true,
        trappable_error_type: { "wasi:sockets/network.error-code" => crate::sockets::failure::Failure },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:sockets/network.network": super::Network,
            "wasi:sockets/tcp.tcp-socket": super::tcp::Socket,
            "wasi:sockets/udp.udp-socket": super::udp::Socket,
            "wasi:sockets/udp.incoming-datagram-stream": super::udp::Incoming,
            "wasi:sockets/udp.outgoing-datagram-stream": super::udp::Outgoing,
            "wasi:sockets/ip-name-lookup.resolve-address-stream": super::names::Addresses,
        },
    });
}

use wasmtime::component::{Linker, Resource};

use self::bindings::wasi::sockets::network::ErrorCode;
use self::bindings::wasi::sockets::{
    instance_network, ip_name_lookup, network, tcp as tcp_sockets, tcp_create_socket, udp as udp_sockets,
    udp_create_socket,
};
use super::failure::Failure;
use super::{HasSockets, SocketsView};
use crate::guest::Guest;
use crate::network::NetworkError;

/// The handle on a network that 0.2 wants to be shown; every guest is on one.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Network;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    network::add_to_linker::<_, HasSockets>(linker, Guest::sockets)?;
    instance_network::add_to_linker::<_, HasSockets>(linker, Guest::sockets)?;
    tcp_sockets::add_to_linker::<_, HasSockets>(linker, Guest::sockets)?;
    tcp_create_socket::add_to_linker::<_, HasSockets>(linker, Guest::sockets)?;
    udp_sockets::add_to_linker::<_, HasSockets>(linker, Guest::sockets)?;
    udp_create_socket::add_to_linker::<_, HasSockets>(linker, Guest::sockets)?;
    ip_name_lookup::add_to_linker::<_, HasSockets>(linker, Guest::sockets)
}

impl network::Host for SocketsView<'_> {
    fn convert_error_code(&mut self, failure: Failure) -> wasmtime::Result<ErrorCode> {
        match failure {
            Failure::Refused(refusal) => Ok(refusal.into()),
            Failure::Trap(error) => Err(error),
        }
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        let error = self.table.get(&error)?;
        Ok(error.downcast_ref::<NetworkError>().cloned().map(ErrorCode::from))
    }
}

impl network::HostNetwork for SocketsView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl instance_network::Host for SocketsView<'_> {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        Ok(self.table.push(Network)?)
    }
}
