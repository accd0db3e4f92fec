//! Between bodies and the halves of a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::{Either, select};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::stream::{Reader, Writer};
use crate::{Body, BoxError};

/// The most bytes that one frame of a byte stream carries.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// What comes from one side of a connection, as a body.
pub(super) struct Reading(pub(super) Reader);

/// What comes from a queue, as a body; it ends with the queue.
pub(super) struct Queued(pub(super) mpsc::Receiver<Bytes>);

/// A body that can be taken back as long as nothing of it has been sent.
pub(super) struct Lent(Arc<Mutex<Loan>>);

/// The other end of a [`Lent`] body.
pub(super) struct Lender(Arc<Mutex<Loan>>);

struct Loan {
    body: Body,
    is_begun: bool,
}

/// Lends a body.
pub(super) fn lend(body: Body) -> (Lender, Lent) {
    let loan = Arc::new(Mutex::new(Loan { body, is_begun: false }));
    (Lender(loan.clone()), Lent(loan))
}

/// Pours a body into one side of a connection, and ends it as the body ends; stops when nobody reads there any more.
pub(super) async fn pour(mut body: Body, mut writer: Writer) {
    loop {
        let frame = {
            let closed = std::pin::pin!(writer.closed());
            match select(body.frame(), closed).await {
                Either::Left((frame, _)) => frame,
                Either::Right(_) => return,
            }
        };
        match frame {
            None => return writer.finish(),
            Some(Err(_)) => return writer.reset(),
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else { continue };
                if writer.send_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

// === impl Reading ===

impl http_body::Body for Reading {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match ready!(self.0.poll_chunk(cx, FRAME_BYTES_MAX)) {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => Some(Ok(Frame::data(chunk))),
            Err(error) => Some(Err(error.into())),
        })
    }
}

// === impl Queued ===

impl http_body::Body for Queued {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(ready!(self.0.poll_recv(cx)).map(|bytes| Ok(Frame::data(bytes))))
    }
}

// === impl Lent ===

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut loan = self.0.lock();
        let polled = Pin::new(&mut loan.body).poll_frame(cx);
        loan.is_begun |= matches!(polled, Poll::Ready(Some(_)));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}

// === impl Lender ===

impl Lender {
    /// The body, if nothing of it has been sent.
    pub(super) fn take_back(self) -> Option<Body> {
        let mut loan = self.0.lock();
        (!loan.is_begun).then(|| std::mem::replace(&mut loan.body, crate::empty()))
    }
}
