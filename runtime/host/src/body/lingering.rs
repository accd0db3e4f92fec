//! A request's body that its guest may go on writing when nobody reads it any more.
//!
//! A server may answer without having read the request (RFC 9110, section 9.3.1 has GET with content as the usual case). Over TCP
//! what its client still writes ends in the buffers of sockets, and the client hears of it late or never. Guests rely on that:
//! one whose writing fails takes the answer for lost.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;

use super::{Body, BodyError};

/// What is taken and thrown away, about as much as a socket's buffers hold.
const LINGER_BYTES: usize = 256 << 10;

pub(crate) struct Lingering {
    /// None once it has ended.
    body: Option<Body>,
    /// Where the rest is read if the reader goes before the end.
    runtime: Handle,
}

// === impl Lingering ===

impl Lingering {
    /// The body, its rest read on the caller's runtime.
    pub(crate) fn new(body: Body) -> Self {
        Self { body: Some(body), runtime: Handle::current() }
    }
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.runtime.spawn(read_out(body));
        }
    }
}

/// Ends with the guest's writing, at the latest with the guest.
async fn read_out(mut body: Body) {
    let mut room = LINGER_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(less) = room.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        room = less;
    }
}
