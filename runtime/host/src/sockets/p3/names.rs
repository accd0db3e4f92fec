//! `wasi:sockets/ip-name-lookup`.

use wasmtime::component::Accessor;

use super::bindings::wasi::sockets::ip_name_lookup::{ErrorCode, Host, HostWithStore};
use super::bindings::wasi::sockets::types::IpAddress;
use crate::guest::Guest;
use crate::sockets::failure::Failure;
use crate::sockets::{HasSockets, SocketsView, names};

impl Host for SocketsView<'_> {
    fn convert_error_code(&mut self, failure: Failure) -> wasmtime::Result<ErrorCode> {
        match failure {
            Failure::Refused(refusal) => Ok(refusal.into()),
            Failure::Trap(error) => Err(error),
        }
    }
}

impl HostWithStore<Guest> for HasSockets {
    async fn resolve_addresses(store: &Accessor<Guest, Self>, name: String) -> Result<Vec<IpAddress>, Failure> {
        let resolving = store.with(|mut store| names::resolve(store.get().sockets, &name))?;
        Ok(resolving.await?.into_iter().map(IpAddress::from).collect())
    }
}
