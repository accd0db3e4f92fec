//! Whether what comes over a connection becomes something.
//!
//! A head is bounded, and a body is read as fast as somebody wants it. But there are ways to send without end what is neither:
//! informational answers, sizes of chunks in zeros or spaces. Whoever reads them works for ever, and no timer that waits for the next piece
//! hears of it. So bytes are counted until they become something, and past a limit the connection fails.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Body, BoxError};

/// Many times the largest head, and what is read ahead of who wants it; little to read for who finds nothing in it.
const NOTHING_BYTES_MAX: usize = 2 << 20;

/// What stands for a connection that is not counted any more.
const UNCOUNTED: usize = usize::MAX;

/// What one side of a connection has made of what came.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Bytes since something was made of them.
    nothing: Arc<AtomicUsize>,
}

/// A connection whose bytes are counted.
pub(super) struct Counted<Io> {
    io: Io,
    progress: Progress,
}

/// A body that notes each piece of it.
struct Noted {
    body: Incoming,
    progress: Progress,
}

// === impl Progress ===

impl Progress {
    pub(super) fn counted<Io>(&self, io: Io) -> Counted<Io> {
        Counted { io, progress: self.clone() }
    }

    /// Something was made of what came.
    pub(super) fn made(&self) {
        let _ = self
            .nothing
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |nothing| (nothing != UNCOUNTED).then_some(0));
    }

    /// From here on the connection speaks another protocol, which has bounds of its own.
    pub(super) fn forget(&self) {
        self.nothing.store(UNCOUNTED, Ordering::Relaxed);
    }

    /// A body of which each piece is something.
    pub(super) fn body(&self, body: Incoming) -> Body {
        Noted { body, progress: self.clone() }.boxed_unsync()
    }

    /// Whether there may be more after so many bytes.
    fn came(&self, bytes: usize) -> bool {
        let add = |nothing: usize| (nothing != UNCOUNTED).then(|| nothing.saturating_add(bytes).min(UNCOUNTED - 1));
        match self.nothing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(before) => before + bytes <= NOTHING_BYTES_MAX,
            Err(_) => true,
        }
    }
}

// === impl Counted ===

impl<Io: AsyncRead + Unpin> AsyncRead for Counted<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if self.progress.came(buf.filled().len() - before) {
            return Poll::Ready(Ok(()));
        }
        let words = format!("the other side sent {NOTHING_BYTES_MAX} bytes that say nothing");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Counted<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

// === impl Noted ===

impl hyper::body::Body for Noted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.progress.made();
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::fabric::bridge;
    use crate::{Stream, empty};

    /// Asks somebody who answers `head` and then this again and again; tells the status, and whether the body came to an end.
    async fn check(head: &str, again: &str, expected: &str) {
        let (near, far) = Stream::pair(([10, 42, 0, 2], 40_000).into(), ([10, 42, 0, 3], 80).into());
        let (head, pieces) = (head.to_owned(), Bytes::from(again.repeat(64_000 / again.len() + 1)));
        let answering = tokio::spawn(async move {
            let (mut reader, mut writer) = far.into_split();
            reader.chunk(usize::MAX).await.expect("a request");
            writer.send_all(head.into()).await.expect("room");
            while writer.send_all(pieces.clone()).await.is_ok() {}
        });
        let asked = bridge::ask(near, ([10, 42, 0, 3], 80).into(), Request::new(empty()));
        let asked = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            match asked.await {
                Err(fault) => format!("fault {}", fault.status().as_u16()),
                Ok(response) => {
                    let status = response.status().as_u16();
                    let mut body = response.into_body();
                    let mut bytes = 0;
                    loop {
                        match body.frame().await {
                            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                            Some(Err(_)) => return format!("{status} broken"),
                            None => return format!("{status} whole"),
                        }
                        if bytes > 8 * NOTHING_BYTES_MAX {
                            return format!("{status} endless");
                        }
                    }
                }
            }
        });
        assert_eq!(asked.await.expect("it comes to an end"), expected, "{again:?}");
        answering.await.expect("it ends, too");
    }

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

    #[tokio::test]
    async fn who_sends_without_end_and_says_nothing_is_cut_off() {
        check("", "HTTP/1.1 100 Continue\r\n\r\n", "fault 502").await;
        check("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", "fault 502").await;
        check("HTTP/1.1 200 OK\r\n", "x-more: and more\r\n", "fault 502").await;
        check("HTTP/1.1 200 OK\r\nx-more: ", "and more ", "fault 502").await;
        check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", "hello", "fault 502").await;
        check(CHUNKED, "0", "200 broken").await;
        check(&format!("{CHUNKED}5"), " ", "200 broken").await;
        check(&format!("{CHUNKED}5;"), "extension", "200 broken").await;
        check(&format!("{CHUNKED}5\r\nhello\r\n0\r\n"), "x-more: and more\r\n", "200 broken").await;
        check("", "no answer at all ", "fault 502").await;
    }

    #[tokio::test]
    async fn who_says_something_may_go_on() {
        check(CHUNKED, &format!("1000\r\n{}\r\n", "x".repeat(4_096)), "200 endless").await;
        check("HTTP/1.1 200 OK\r\n\r\n", "hello", "200 endless").await;
        check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "and more", "200 whole").await;
    }

    #[tokio::test]
    async fn another_protocol_is_not_counted() {
        let (near, far) = Stream::pair(([10, 42, 0, 2], 40_000).into(), ([10, 42, 0, 3], 80).into());
        let progress = Progress::default();
        progress.forget();
        let mut counted = progress.counted(near);
        let (_, mut writer) = far.into_split();
        tokio::spawn(async move { while writer.send_all(Bytes::from(vec![0; 64 << 10])).await.is_ok() {} });
        let mut read = 0;
        let mut buffer = vec![0; 64 << 10];
        while read < 2 * NOTHING_BYTES_MAX {
            read += counted.read(&mut buffer).await.expect("it is not cut off");
        }
    }
}
