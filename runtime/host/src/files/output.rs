//! A stream into a file that takes room before it writes.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::quota::Quota;

/// Where in a file something is being written, and what that takes.
pub(super) struct Growth {
    file: Arc<std::fs::File>,
    quota: Quota,
    /// Where the next byte goes; none if that is the end.
    at: Option<u64>,
    /// Room is taken up to here.
    end: u64,
    /// Whether its limit knows that it has no name.
    is_watched: bool,
}

/// The stream.
pub(super) struct Limited {
    pub(super) stream: Box<dyn OutputStream>,
    pub(super) growth: Growth,
}

// === impl Growth ===

impl Growth {
    pub(super) fn new(file: Arc<std::fs::File>, quota: Quota, at: Option<u64>) -> Self {
        Self { file, quota, at, end: 0, is_watched: false }
    }

    /// Takes room for so many bytes more.
    pub(super) fn take(&mut self, bytes: u64) -> io::Result<()> {
        let found = self.file.metadata()?;
        if found.nlink() == 0 && !std::mem::replace(&mut self.is_watched, true) {
            self.quota.watch_nameless(&self.file);
        }
        let Some(at) = self.at else { return self.quota.take(bytes) };
        let next = at.saturating_add(bytes);
        self.end = self.end.max(found.len());
        self.quota.take(next.saturating_sub(self.end))?;
        (self.at, self.end) = (Some(next), self.end.max(next));
        Ok(())
    }
}

// === impl Limited ===

impl Limited {
    fn take(&mut self, bytes: &Bytes) -> StreamResult<()> {
        self.growth.take(bytes.len() as u64).map_err(|error| StreamError::LastOperationFailed(error.into()))
    }
}

#[async_trait]
impl Pollable for Limited {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait]
impl OutputStream for Limited {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes)?;
        self.stream.write(bytes)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes)?;
        self.stream.blocking_write_and_flush(bytes).await
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.stream.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.stream.check_write()
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}
