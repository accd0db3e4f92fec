//! A connection that remembers whether its end was told.
//!
//! HTTP/2 ends a connection in the same way whether the other side closed it or was not heard of for too long. For whoever has
//! pods there it is not the same.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The connection.
pub(super) struct Heard<T> {
    inner: T,
    end: End,
}

/// Its end.
#[derive(Clone, Default)]
pub(super) struct End(Arc<AtomicBool>);

// === impl Heard ===

impl<T> Heard<T> {
    /// Listens for the end of a connection.
    pub(super) fn on(inner: T) -> (Self, End) {
        let end = End::default();
        (Self { inner, end: end.clone() }, end)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut this.inner).poll_read(context, buffer));
        // Nothing where something was asked for is the end.
        if outcome.is_err() || buffer.filled().len() == before && buffer.remaining() > 0 {
            this.end.0.store(true, Ordering::Relaxed);
        }
        Poll::Ready(outcome)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = ready!(Pin::new(&mut this.inner).poll_write(context, bytes));
        if outcome.is_err() {
            this.end.0.store(true, Ordering::Relaxed);
        }
        Poll::Ready(outcome)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

// === impl End ===

impl End {
    /// Whether the other side, or the system in its name, said that it is over.
    pub(super) fn was_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn an_end_is_one_that_was_told() {
        let (near, far) = tokio::io::duplex(16);
        let (mut near, end) = Heard::on(near);
        let mut byte = [0];
        let silence = tokio::time::timeout(std::time::Duration::from_millis(10), near.read(&mut byte));
        assert!(silence.await.is_err() && !end.was_told(), "nothing is heard, and nothing told");
        drop(far);
        assert_eq!(near.read(&mut byte).await.expect("the end"), 0);
        assert!(end.was_told());
    }
}
