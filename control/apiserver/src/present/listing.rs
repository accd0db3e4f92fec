//! A long list on its way to its client.
//!
//! It is written a piece at a time, when the connection has room for it: a client that reads slowly, or not at all, costs the
//! objects of the list, which it shares with the world, and one piece.

use std::pin::Pin;
use std::task::{Context, Poll};

use api::{Object, StatusError};
use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::Frame;

use super::{CLOSING, Headings, Presenter, metadata};
use crate::list::Page;

/// A list, as far as it is not written yet.
pub(super) struct Listing {
    presenter: Presenter,
    objects: std::vec::IntoIter<Object>,
    /// What comes before the next object.
    next: Vec<u8>,
    is_over: bool,
}

/// A piece is written of so many bytes of objects: short enough that others have their turn within a millisecond.
const PIECE_BYTES: usize = 64 * 1024;

// === impl Listing ===

impl Listing {
    pub(super) fn new(presenter: Presenter, page: Page) -> Self {
        let next = presenter.opening(&metadata(&page), Headings::Told);
        Self { presenter, objects: page.objects.into_iter(), next, is_over: false }
    }

    fn piece(&mut self) -> Result<Bytes, StatusError> {
        let mut piece = std::mem::take(&mut self.next);
        piece.reserve(PIECE_BYTES + PIECE_BYTES / 8);
        let mut read = 0;
        while read < PIECE_BYTES {
            let Some(object) = self.objects.next() else {
                self.is_over = true;
                piece.extend_from_slice(CLOSING);
                piece.push(b'\n');
                return Ok(piece.into());
            };
            read += object.body().len();
            self.presenter.item(&object, &mut piece)?;
            if self.objects.len() > 0 {
                piece.push(b',');
            }
        }
        Ok(piece.into())
    }
}

impl HttpBody for Listing {
    type Data = Bytes;
    type Error = StatusError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StatusError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let piece = self.piece();
        self.is_over |= piece.is_err();
        Poll::Ready(Some(piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}
