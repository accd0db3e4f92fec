//! A body that must not pause for longer than its reader is willing to wait.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error as WasiError, WasiBody};

pub(crate) struct Paced {
    inner: WasiBody,
    limit: Duration,
    pause: Pin<Box<Sleep>>,
}

// === impl Paced ===

impl Paced {
    pub(crate) fn new(inner: WasiBody, limit: Duration) -> Self {
        Self { inner, limit, pause: Box::pin(tokio::time::sleep(limit)) }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, WasiError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            let next = Instant::now() + self.limit;
            self.pause.as_mut().reset(next);
            return Poll::Ready(frame);
        }
        self.pause.as_mut().poll(cx).map(|()| Some(Err(WasiError::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
