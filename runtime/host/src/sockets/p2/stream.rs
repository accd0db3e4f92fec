//! The two streams of a connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::network::NetworkError;
use crate::sockets::CHUNK_BYTES_MAX;
use crate::sockets::tcp::{Open, idle};

/// What the other side sends.
pub(super) struct Input {
    pub(super) open: Arc<Open>,
}

/// What the guest sends.
pub(super) struct Output {
    open: Arc<Open>,
    /// What the last check allowed to be written; more is a trap.
    allowed: usize,
}

// === impl Input ===

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        poll_fn(|cx| self.open.poll_readable(cx)).await;
    }
}

impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        match self.open.poll_read(&mut idle(), size.min(CHUNK_BYTES_MAX)) {
            Poll::Pending => Ok(Bytes::new()),
            Poll::Ready(Ok(end)) if end.is_empty() => Err(StreamError::Closed),
            Poll::Ready(Ok(bytes)) => Ok(bytes),
            Poll::Ready(Err(error)) => Err(failed(error)),
        }
    }
}

// === impl Output ===

impl Output {
    pub(super) fn new(open: Arc<Open>) -> Self {
        Self { open, allowed: 0 }
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        let _ = poll_fn(|cx| self.open.poll_writable(cx)).await;
    }
}

impl OutputStream for Output {
    fn check_write(&mut self) -> StreamResult<usize> {
        if self.open.write_failure().is_some() && self.allowed == 0 {
            return Err(StreamError::Closed);
        }
        self.allowed = match self.open.poll_writable(&mut idle()) {
            Poll::Pending => 0,
            Poll::Ready(Ok(room)) => room.min(CHUNK_BYTES_MAX),
            // A peer that went away is for the next write to tell: whoever checks after a finished write would take
            // that one for failed.
            Poll::Ready(Err(_)) => CHUNK_BYTES_MAX,
        };
        Ok(self.allowed)
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let allowed = std::mem::take(&mut self.allowed);
        if let Some(error) = self.open.write_failure() {
            return Err(failed(error));
        }
        if bytes.len() > allowed {
            let asked = bytes.len();
            return Err(StreamError::Trap(wasmtime::format_err!(
                "wrote {asked} bytes to a socket where {allowed} were allowed"
            )));
        }
        self.open.write(bytes).map_err(failed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
}

fn failed(error: NetworkError) -> StreamError {
    match error {
        NetworkError::Broken => StreamError::Closed,
        error => StreamError::LastOperationFailed(error.into()),
    }
}
