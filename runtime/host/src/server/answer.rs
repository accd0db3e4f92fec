//! A response's body, which holds the instance that writes it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use wasmtime_wasi_http::WasiBody;

use crate::body::{BodyError, WasiReason};

/// What the one who writes a response and the one who reads it know of each other.
#[derive(Default)]
pub(super) struct Delivery {
    complete: Notify,
    cut: AtomicBool,
}

/// Marks a delivery as cut when dropped before the guest was done. It must go before the instance does: with the
/// instance its body ends, and a reader could not tell that end from a good one.
pub(super) struct Cut {
    delivery: Arc<Delivery>,
    done: bool,
}

/// Ends a task when dropped, unless the response was delivered.
pub(super) struct Leash {
    task: AbortHandle,
    delivery: Arc<Delivery>,
    let_go: bool,
}

/// The guest was gone before its response was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the component ended before its response was complete")]
struct Incomplete;

pub(super) struct Answer {
    body: WasiBody,
    /// What the body promised to bring and has not brought; a reader that got it all does not ask for the end.
    bytes_left: Option<u64>,
    leash: Leash,
}

// === impl Delivery ===

impl Delivery {
    /// Resolves when the reader has the whole response.
    pub(super) async fn completed(&self) {
        self.complete.notified().await;
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }
}

// === impl Cut ===

impl Cut {
    pub(super) fn unless_done(delivery: Arc<Delivery>) -> Self {
        Self { delivery, done: false }
    }

    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if !self.done {
            self.delivery.cut();
        }
    }
}

// === impl Leash ===

impl Leash {
    pub(super) fn new(task: AbortHandle, delivery: Arc<Delivery>) -> Self {
        Self { task, delivery, let_go: false }
    }

    /// The response is complete: the guest may finish what it has begun.
    fn let_go(&mut self) {
        if !std::mem::replace(&mut self.let_go, true) {
            self.delivery.complete.notify_one();
        }
    }

    fn was_cut(&self) -> bool {
        !self.let_go && self.delivery.cut.load(Ordering::Acquire)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if !self.let_go {
            self.task.abort();
        }
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn new(body: WasiBody, leash: Leash) -> Self {
        let bytes_left = body.size_hint().exact();
        let mut answer = Self { body, bytes_left, leash };
        answer.note_end();
        answer
    }

    fn note_end(&mut self) {
        if self.bytes_left == Some(0) || self.body.is_end_stream() {
            self.leash.let_go();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
            let cut = self.leash.was_cut();
            self.leash.let_go();
            return Poll::Ready(cut.then(|| Err(Incomplete.into())));
        };
        if let (Ok(frame), Some(left)) = (&frame, self.bytes_left) {
            let brought = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.bytes_left = Some(left.saturating_sub(brought));
        }
        self.note_end();
        Poll::Ready(Some(frame.map_err(|error| Box::new(WasiReason(error)) as BodyError)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
