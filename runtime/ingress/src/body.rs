//! Bodies on their way through: counted, limited in size and in silence.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use network::BoxError;
use tokio::sync::oneshot;

use crate::access::Record;
use crate::connection::Busy;
use crate::silence::Silence;
use crate::terms::SizeMax;

/// The body of a request.
pub(crate) struct Upload {
    body: Incoming,
    size_max: SizeMax,
    received: Arc<AtomicU64>,
    silence: Silence,
    limit: Duration,
    /// Who answers in the component's place if the body breaks a limit.
    told: Option<oneshot::Sender<Overrun>>,
}

/// The body of an answer. Dropping it ends the request.
pub(crate) struct Download {
    body: network::Body,
    silence: Silence,
    limit: Duration,
    record: Option<Record>,
    _busy: Busy,
}

/// Which limit a body breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Overrun {
    #[error("the request's body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("nothing of the request's body came within {0:?}")]
    TooSlow(Duration),
}

/// An answer's body of which nothing comes any more.
#[derive(Debug, thiserror::Error)]
#[error("nothing of the answer came within {0:?}")]
struct Stuck(Duration);

// === impl Upload ===

impl Upload {
    /// A body; also what becomes ready when it breaks a limit.
    pub(crate) fn new(
        body: Incoming,
        size_max: SizeMax,
        limit: Duration,
        received: Arc<AtomicU64>,
    ) -> (Self, oneshot::Receiver<Overrun>) {
        let (told, is_told) = oneshot::channel();
        (Self { body, size_max, received, silence: Silence::new(limit), limit, told: Some(told) }, is_told)
    }

    fn fail(&mut self, overrun: Overrun) -> BoxError {
        if let Some(told) = self.told.take() {
            // Nobody waits any more where the answer is under way: it then breaks off with the body.
            let _ = told.send(overrun);
        }
        overrun.into()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                return this.silence.poll(cx).map(|()| Some(Err(this.fail(Overrun::TooSlow(this.limit)))));
            }
        };
        this.silence.broken();
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let more = data.len() as u64;
            let received = this.received.fetch_add(more, Ordering::Relaxed) + more;
            if let SizeMax::Bytes(max) = this.size_max
                && received > max
            {
                return Poll::Ready(Some(Err(this.fail(Overrun::TooLarge(max)))));
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Download ===

impl Download {
    pub(crate) fn new(body: network::Body, limit: Duration, mut record: Option<Record>, busy: Busy) -> Self {
        if let Some(record) = &mut record {
            record.is_whole = body.is_end_stream();
        }
        Self { body, silence: Silence::new(limit), limit, record, _busy: busy }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => return this.silence.poll(cx).map(|()| Some(Err(Stuck(this.limit).into()))),
        };
        this.silence.broken();
        if let Some(record) = &mut this.record {
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                record.sent += data.len() as u64;
            }
            record.is_whole = frame.is_none() || this.body.is_end_stream();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
