//! A connection: two pipes, one each way, in memory.
//!
//! Bytes are moved, not copied: what one side sends is what the other reads, cut where it has to be. A pipe holds so many
//! bytes and no more; who writes faster than the other side reads waits. Each direction ends by itself, and dropping is
//! closing: a dropped [`Writer`] ends its direction after what was written, a dropped [`Reader`] makes the other side's
//! writes fail. A connection to a real socket is a stream as well, with a task that carries bytes between the two.
//!
//! Whoever reads or writes by tokio's traits takes turns as with a real socket: a side that is always ready would otherwise keep the
//! thread of the other for as long as it likes.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;

use pipe::Pipe;

mod carry;
mod pipe;

pub use carry::carry;

/// The most bytes that one write copies at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// One side of a connection.
#[derive(Debug)]
pub struct Stream {
    local: SocketAddr,
    remote: SocketAddr,
    reader: Reader,
    writer: Writer,
}

/// What comes from the other side.
pub struct Reader {
    pipe: Arc<Pipe>,
    held: Option<Held>,
}

/// What goes to the other side.
pub struct Writer {
    pipe: Arc<Pipe>,
    held: Option<Held>,
}

/// Something that lives as long as one side of a connection does.
type Held = Arc<dyn Any + Send + Sync>;

// === impl Stream ===

impl Stream {
    /// Both sides of a connection between two addresses, each side first at its own.
    pub fn pair(near: SocketAddr, far: SocketAddr) -> (Self, Self) {
        let (out, back) = (Pipe::new(), Pipe::new());
        let side = |local, remote, incoming: &Arc<Pipe>, outgoing: &Arc<Pipe>| Self {
            local,
            remote,
            reader: Reader { pipe: incoming.clone(), held: None },
            writer: Writer { pipe: outgoing.clone(), held: None },
        };
        (side(near, far, &back, &out), side(far, near, &out, &back))
    }

    /// This side's address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The other side's address.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The same connection, to an address that stands for the other side's: what was dialled rather than who took it.
    pub fn seen_as(self, remote: SocketAddr) -> Self {
        Self { remote, ..self }
    }

    /// Keeps `value` until this side of the connection is gone, both halves of it.
    pub fn holding(mut self, value: impl Any + Send + Sync) -> Self {
        let held: Held = match self.reader.held.take() {
            Some(before) => Arc::new((before, value)),
            None => Arc::new(value),
        };
        self.reader.held = Some(held.clone());
        self.writer.held = Some(held);
        self
    }

    /// Both halves, to be used apart.
    pub fn into_split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }

    /// Breaks the connection off in both directions; what was under way is lost.
    pub fn reset(self) {
        self.reader.pipe.reset();
        self.writer.pipe.reset();
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.finish();
        Poll::Ready(Ok(()))
    }
}

// === impl Reader ===

impl Reader {
    /// What has come, at most `bytes_max` bytes of it; empty once the other side has ended its direction.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<io::Result<Bytes>> {
        self.pipe.poll_chunk(cx, bytes_max)
    }

    /// What has come; empty once the other side has ended its direction.
    pub async fn chunk(&mut self, bytes_max: usize) -> io::Result<Bytes> {
        std::future::poll_fn(|cx| self.poll_chunk(cx, bytes_max)).await
    }

    /// Breaks this direction off: the other side's writes fail.
    pub fn reset(&mut self) {
        self.pipe.reset();
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let turn = ready!(poll_proceed(cx));
        let chunk = ready!(self.pipe.poll_chunk(cx, buf.remaining()))?;
        turn.made_progress();
        buf.put_slice(&chunk);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.pipe.deafen();
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reader").field(&self.pipe).finish()
    }
}

// === impl Writer ===

impl Writer {
    /// How many bytes may be sent, at least one; pending while the other side is behind. Where the other side reads no
    /// more, the next [`send`](Self::send) says so.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.pipe.poll_ready(cx)
    }

    /// Sends `bytes`, at most as many as were ready.
    pub fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        self.pipe.send(bytes)
    }

    /// Sends all of `bytes`, waiting for the other side where it is behind.
    pub async fn send_all(&mut self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            let ready = std::future::poll_fn(|cx| self.poll_ready(cx)).await;
            let part = bytes.split_to(ready.min(bytes.len()));
            self.send(part)?;
        }
        Ok(())
    }

    /// Ends this direction after what was sent.
    pub fn finish(&mut self) {
        self.pipe.finish();
    }

    /// Breaks this direction off: the other side's reads fail.
    pub fn reset(&mut self) {
        self.pipe.reset();
    }

    /// Ready once the other side reads no more, though it may still write.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pipe.poll_closed(cx)
    }

    /// Waits until the other side reads no more.
    pub async fn closed(&mut self) {
        std::future::poll_fn(|cx| self.poll_closed(cx)).await;
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let turn = ready!(poll_proceed(cx));
        let ready = ready!(self.pipe.poll_ready(cx)).min(bytes.len());
        turn.made_progress();
        self.pipe.send(Bytes::copy_from_slice(&bytes[..ready]))?;
        Poll::Ready(Ok(ready))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let turn = ready!(poll_proceed(cx));
        let ready = ready!(self.pipe.poll_ready(cx)).min(WRITE_BYTES_MAX);
        turn.made_progress();
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>().min(ready);
        let mut together = BytesMut::with_capacity(length);
        for slice in slices {
            let part = slice.len().min(length - together.len());
            together.extend_from_slice(&slice[..part]);
        }
        self.pipe.send(together.freeze())?;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pipe.finish();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Writer").field(&self.pipe).finish()
    }
}

#[cfg(test)]
mod tests;
