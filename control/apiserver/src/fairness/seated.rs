//! An answer whose request keeps its seat until it is sent.
//!
//! What is answered lies in memory until its reader takes it, so seats bound that memory. A long list is written as it is read:
//! after a moment its slow reader costs a piece of it and no time of the processor to speak of, and keeps one seat.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::seat::Seat;

/// The body of such an answer.
pub(super) struct Seated {
    body: Body,
    seat: Arc<Mutex<Option<Seat>>>,
}

/// A client that reads as fast as a network goes has a long list by then.
const FULL_COST: Duration = Duration::from_secs(2);

// === impl Seated ===

impl Seated {
    /// An answer that is all there.
    pub(super) fn new(body: Body, seat: Seat) -> Self {
        Self { body, seat: Arc::new(Mutex::new(Some(seat))) }
    }

    /// An answer that is written as it is read.
    pub(super) fn long(body: Body, seat: Seat) -> Self {
        let seated = Self::new(body, seat);
        let seat = Arc::downgrade(&seated.seat);
        tokio::spawn(async move {
            tokio::time::sleep(FULL_COST).await;
            if let Some(seat) = seat.upgrade()
                && let Some(seat) = seat.lock().as_mut()
            {
                seat.shrink();
            }
        });
        seated
    }
}

impl HttpBody for Seated {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.seat.lock().take();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
