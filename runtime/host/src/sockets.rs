//! Sockets and names of a guest: `wasi:sockets`, 0.2 and 0.3, over its [`Network`].
//!
//! What both generations mean is written once ([`tcp`], [`udp`], [`names`]): states, options, and which addresses are refused
//! before the network hears of them. [`p2`] and [`p3`] say it in the words of their interfaces. Nothing here touches a
//! socket of the node.
//!
//! Everything an instance opened lives in its store and ends with it.

mod address;
mod addresses;
mod failure;
mod names;
mod options;
mod p2;
mod p3;
mod tcp;
mod udp;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{HasData, Linker, ResourceTable};

use crate::guest::Guest;
use crate::network::{Network, NetworkError};
use crate::spec::Spec;

/// As much as is read or written at a time, and so what a guest makes the host hold for it in one call.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// What an instance's sockets are made with.
#[derive(Clone)]
pub(crate) struct Sockets {
    network: Arc<dyn Network>,
    places: Arc<Semaphore>,
}

/// One of the sockets an instance may have; given back when the last handle on the socket is gone.
type Place = Arc<OwnedSemaphorePermit>;

/// The part of a [`Guest`] that sockets need.
pub(crate) struct SocketsView<'a> {
    sockets: &'a Sockets,
    table: &'a mut ResourceTable,
}

/// Stands for [`SocketsView`] in a linker.
struct HasSockets;

/// Adds every interface of `wasi:sockets`.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p2::add_to_linker(linker)?;
    p3::add_to_linker(linker)
}

// === impl Sockets ===

impl Sockets {
    pub(crate) fn new(spec: &Spec) -> Self {
        let places = spec.sockets_max.min(Semaphore::MAX_PERMITS);
        Self { network: spec.network.clone(), places: Arc::new(Semaphore::new(places)) }
    }

    fn place(&self) -> Result<Place, NetworkError> {
        self.places.clone().try_acquire_owned().map(Arc::new).map_err(|_| NetworkError::TooMany)
    }
}

// === impl SocketsView ===

impl<'a> SocketsView<'a> {
    pub(crate) fn new(sockets: &'a Sockets, table: &'a mut ResourceTable) -> Self {
        Self { sockets, table }
    }
}

impl HasData for HasSockets {
    type Data<'a> = SocketsView<'a>;
}

/// Locks what only one store uses, and that for the length of a poll.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
