//! `wasi:sockets/ip-name-lookup`.

use std::future::poll_fn;
use std::net::IpAddr;
use std::task::{Context, Poll, ready};

use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::Network;
use super::bindings::wasi::sockets::ip_name_lookup::{Host, HostResolveAddressStream};
use super::bindings::wasi::sockets::network::IpAddress;
use crate::network::{NetworkError, Resolving};
use crate::sockets::failure::{Failure, Refusal};
use crate::sockets::tcp::idle;
use crate::sockets::{SocketsView, names};

/// The answer to a look-up, address by address.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub enum Addresses {
    /// There is none yet.
    Pending(Resolving),
    /// What is left of it.
    Done(Result<std::vec::IntoIter<IpAddr>, NetworkError>),
}

// === impl Addresses ===

impl Addresses {
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Addresses::Pending(resolving) = self {
            let answer = ready!(resolving.as_mut().poll(cx));
            *self = Addresses::Done(answer.map(Vec::into_iter));
        }
        Poll::Ready(())
    }

    fn next(&mut self) -> Result<Option<IpAddr>, Refusal> {
        let _ = self.poll_done(&mut idle());
        match self {
            Addresses::Pending(_) => Err(Refusal::WouldBlock),
            Addresses::Done(Ok(addresses)) => Ok(addresses.next()),
            Addresses::Done(Err(error)) => Err(error.clone().into()),
        }
    }
}

#[async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll_done(cx)).await;
    }
}

// === impl SocketsView ===

impl Host for SocketsView<'_> {
    fn resolve_addresses(&mut self, network: Resource<Network>, name: String) -> Result<Resource<Addresses>, Failure> {
        self.table.get(&network)?;
        let mut addresses = Addresses::Pending(names::resolve(self.sockets, &name)?);
        let _ = addresses.poll_done(&mut idle());
        Ok(self.table.push(addresses)?)
    }
}

impl HostResolveAddressStream for SocketsView<'_> {
    fn resolve_next_address(&mut self, stream: Resource<Addresses>) -> Result<Option<IpAddress>, Failure> {
        Ok(self.table.get_mut(&stream)?.next()?.map(IpAddress::from))
    }

    fn subscribe(&mut self, stream: Resource<Addresses>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<Addresses>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}
