//! A client's connection as the protocols see it: what the gate lets pass, and an end to whoever takes nothing.
//!
//! Where the gate shuts, the parser is given a byte that no rule allows anywhere, and then the end: so it answers `400`
//! in the place it would have read on, and the connection is over. A client that does not take what it has asked for is
//! waited for as long as one that says nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::silence::Silence;
use crate::strict::Gate;

/// What no parser takes, wherever it stands.
const POISON: &[u8] = b"\0";
/// The same with what looks like the end of a head, without which a parser does not look at it.
const POISONED_HEAD: &[u8] = b"\0\r\n\r\n";

/// A connection behind its gate.
pub(crate) struct Wire<I> {
    inner: I,
    gate: Option<Gate>,
    /// What the parser still gets to read before the end.
    poison: Option<&'static [u8]>,
    stalled: Silence,
}

/// A connection of which something has been read already.
pub(crate) struct Rewound<I> {
    read: Bytes,
    inner: I,
}

// === impl Wire ===

impl<I> Wire<I> {
    /// A connection that begins with HTTP/1.1 or, as its first bytes say, HTTP/2.
    pub(crate) fn guarded(inner: I, silence: Duration) -> Self {
        Self { inner, gate: Some(Gate::default()), poison: None, stalled: Silence::new(silence) }
    }

    /// A connection on which HTTP/2 was agreed.
    pub(crate) fn open(inner: I, silence: Duration) -> Self {
        Self { inner, gate: None, poison: None, stalled: Silence::new(silence) }
    }

    fn unless_stalled<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled.broken();
            return polled;
        }
        ready!(self.stalled.poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Wire<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(poison) = &mut this.poison {
            let (now, later) = poison.split_at(poison.len().min(buf.remaining()));
            buf.put_slice(now);
            *poison = later;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if let Some(gate) = &mut this.gate {
            let passed = before + gate.pass(&buf.filled()[before..]);
            if passed < buf.filled().len() {
                let poison = if gate.is_shut_in_a_head() { POISONED_HEAD } else { POISON };
                buf.set_filled(passed);
                let (now, later) = poison.split_at(poison.len().min(buf.remaining()));
                buf.put_slice(now);
                this.poison = Some(later);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.unless_stalled(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.unless_stalled(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.unless_stalled(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.unless_stalled(shut, cx)
    }
}

// === impl Rewound ===

impl<I> Rewound<I> {
    pub(crate) fn new(read: Bytes, inner: I) -> Self {
        Self { read, inner }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Rewound<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let taken = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..taken]);
        self.read.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Rewound<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
