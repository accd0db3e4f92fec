//! The streams a stream socket makes: of connections, of what comes in, of what goes out.
//!
//! A transfer of no bytes asks for readiness. When the guest cancels one (`finish`), what is not there at once is not
//! waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::PollSemaphore;
use wasmtime::component::{Destination, Resource, Source, StreamConsumer, StreamProducer, StreamResult};
use wasmtime::{AsContextMut, StoreContextMut};

use super::bindings::wasi::sockets::types::ErrorCode;
use crate::guest::Guest;
use crate::network::{Connection, NetworkError};
use crate::sockets::CHUNK_BYTES_MAX;
use crate::sockets::tcp::{Half, Heritage, Listening, Open, Tcp};

/// How a direction of a connection ended.
type Ended = oneshot::Sender<Result<(), ErrorCode>>;

/// Connections, one after another.
pub(super) struct Accepting {
    listening: Arc<Listening>,
    heritage: Heritage,
    places: PollSemaphore,
    /// A place for the next connection: without one, those that wait go on waiting.
    place: Option<OwnedSemaphorePermit>,
    waiting: Option<Connection>,
}

/// What the other side sends.
pub(super) struct Receiving {
    open: Arc<Open>,
    ended: Option<Ended>,
}

/// What the guest sends.
pub(super) struct Sending {
    open: Arc<Open>,
    ended: Option<Ended>,
}

/// `Pending`, unless the guest does not wait.
fn pending(finish: bool) -> Poll<wasmtime::Result<StreamResult>> {
    if finish { Poll::Ready(Ok(StreamResult::Cancelled)) } else { Poll::Pending }
}

// === impl Accepting ===

impl Accepting {
    pub(super) fn new(listening: Arc<Listening>, heritage: Heritage) -> Self {
        let places = heritage.places();
        Self { listening, heritage, places, place: None, waiting: None }
    }

    /// Ready with a place and a connection, or with an error that ends it all.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetworkError>> {
        if self.place.is_none() {
            self.place = ready!(self.places.poll_acquire(cx));
        }
        while self.waiting.is_none() {
            match ready!(self.listening.poll_accept(cx)) {
                Ok(connection) => self.waiting = Some(connection),
                // It went before it was accepted; there may be more.
                Err(NetworkError::Aborted | NetworkError::Reset) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl StreamProducer<Guest> for Accepting {
    type Item = Resource<Tcp>;
    type Buffer = Option<Resource<Tcp>>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, Guest>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        match self.poll_waiting(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a guest's listener failed");
                return Poll::Ready(Ok(StreamResult::Dropped));
            }
            Poll::Pending => return pending(finish),
        }
        if destination.remaining(store.as_context_mut()) != Some(0)
            && let Some(connection) = self.waiting.take()
            && let Some(place) = self.place.take()
        {
            let socket = self.heritage.accepted(connection, Arc::new(place));
            destination.set_buffer(Some(store.data_mut().sockets().table.push(socket)?));
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

// === impl Receiving ===

impl Receiving {
    pub(super) fn new(open: Arc<Open>, ended: Ended) -> Self {
        Self { open, ended: Some(ended) }
    }

    fn end(&mut self, result: Result<(), ErrorCode>) -> StreamResult {
        if let Some(ended) = self.ended.take() {
            // The guest may not want to know.
            let _ = ended.send(result);
        }
        StreamResult::Dropped
    }
}

impl StreamProducer<Guest> for Receiving {
    type Item = u8;
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'a, Guest>,
        mut destination: Destination<'a, u8, Bytes>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let room = destination.remaining(store).unwrap_or(CHUNK_BYTES_MAX).min(CHUNK_BYTES_MAX);
        if room == 0 {
            return match self.open.poll_readable(cx) {
                Poll::Ready(()) => Poll::Ready(Ok(StreamResult::Completed)),
                Poll::Pending => pending(finish),
            };
        }
        Poll::Ready(Ok(match self.open.poll_read(cx, room) {
            Poll::Pending => return pending(finish),
            Poll::Ready(Ok(end)) if end.is_empty() => self.end(Ok(())),
            Poll::Ready(Ok(bytes)) => {
                destination.set_buffer(bytes);
                StreamResult::Completed
            }
            Poll::Ready(Err(error)) => self.end(Err(error.into())),
        }))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.open.shut(Half::Incoming);
        self.end(Ok(()));
    }
}

// === impl Sending ===

impl Sending {
    pub(super) fn new(open: Arc<Open>, ended: Ended) -> Self {
        Self { open, ended: Some(ended) }
    }

    fn end(&mut self, result: Result<(), ErrorCode>) -> StreamResult {
        if let Some(ended) = self.ended.take() {
            // The guest may not want to know.
            let _ = ended.send(result);
        }
        StreamResult::Dropped
    }
}

impl StreamConsumer<Guest> for Sending {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, Guest>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let room = match self.open.poll_writable(cx) {
            Poll::Pending => return pending(finish),
            Poll::Ready(Ok(room)) => room.min(CHUNK_BYTES_MAX),
            Poll::Ready(Err(error)) => return Poll::Ready(Ok(self.end(Err(error.into())))),
        };
        let mut source = source.as_direct(store);
        let bytes = source.remaining();
        let count = room.min(bytes.len());
        if count > 0 {
            let bytes = Bytes::copy_from_slice(&bytes[..count]);
            source.mark_read(count);
            if let Err(error) = self.open.write(bytes) {
                return Poll::Ready(Ok(self.end(Err(error.into()))));
            }
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.open.shut(Half::Outgoing);
        self.end(Ok(()));
    }
}
