//! `wasi:sockets` 0.3.
//!
//! Streams of bytes and of connections are the component model's own. A piece of bytes goes from the network to the
//! guest's memory in one copy, and to another host stream in none.

mod convert;
mod names;
mod stream;
mod tcp;
mod udp;

#[allow(missing_docs, unreachable_pub, clippy::pedantic)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/p3",
        world: "coracle:sockets/guest",
        imports: {
            "wasi:sockets/types.[method]tcp-socket.listen": store | trappable,
            "wasi:sockets/types.[method]tcp-socket.send": store | trappable,
            "wasi:sockets/types.[method]tcp-socket.receive": store | trappable,
            default: trappable,
        },
        require_store_data_send: true,
        trappable_error_type: {
            "wasi:sockets/types.error-code" => crate::sockets::failure::Failure,
            "wasi:sockets/ip-name-lookup.error-code" => crate::sockets::failure::Failure,
        },
        with: {
            "wasi:clocks": wasmtime_wasi::p3::bindings::clocks,
            "wasi:sockets/types.tcp-socket": crate::sockets::tcp::Tcp,
            "wasi:sockets/types.udp-socket": crate::sockets::udp::Udp,
        },
    });
}

use wasmtime::component::Linker;

use self::bindings::wasi::sockets::{ip_name_lookup, types};
use super::failure::Failure;
use super::{HasSockets, SocketsView};
use crate::guest::Guest;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasSockets>(linker, Guest::sockets)?;
    ip_name_lookup::add_to_linker::<_, HasSockets>(linker, Guest::sockets)
}

impl types::Host for SocketsView<'_> {
    fn convert_error_code(&mut self, failure: Failure) -> wasmtime::Result<types::ErrorCode> {
        match failure {
            Failure::Refused(refusal) => Ok(refusal.into()),
            Failure::Trap(error) => Err(error),
        }
    }
}
