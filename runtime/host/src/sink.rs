//! Where a guest's output goes.
//!
//! A [`Sink`] is written to from the guests' threads and never blocks them: it says how much it takes now, and a guest
//! that writes faster than its reader reads waits, alone. [`pipe`] makes the usual one.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

/// Nobody reads any more; a guest sees a broken pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads this output any more")]
pub struct SinkClosed;

/// Takes bytes as they come, lines or not.
pub trait Sink: Send + Sync + 'static {
    /// How many bytes may be written now; zero when the reader is behind.
    fn room(&self) -> usize;

    /// Resolves when there is room again.
    fn ready(self: Arc<Self>) -> BoxFuture<'static, ()>;

    /// Takes the bytes, at most as many as there was room for when this writer asked.
    fn write(&self, bytes: Bytes) -> Result<(), SinkClosed>;
}

/// Takes everything and keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

/// The writing end of a [`pipe`].
pub struct Pipe {
    room: Arc<Semaphore>,
    bytes: mpsc::UnboundedSender<Written>,
}

/// The reading end of a [`pipe`].
pub struct PipeReader {
    room: Arc<Semaphore>,
    bytes: mpsc::UnboundedReceiver<Written>,
}

struct Written {
    bytes: Bytes,
    /// Given back to the writers when the bytes have been read.
    room_taken: usize,
}

/// A pipe that holds about `capacity_bytes`; its writers wait when it is full and fail when its reader is gone.
pub fn pipe(capacity_bytes: usize) -> (Arc<Pipe>, PipeReader) {
    let room = Arc::new(Semaphore::new(capacity_bytes.clamp(1, Semaphore::MAX_PERMITS)));
    let (sender, receiver) = mpsc::unbounded();
    (Arc::new(Pipe { room: room.clone(), bytes: sender }), PipeReader { room, bytes: receiver })
}

// === impl Discard ===

/// As much as a guest writes at a time.
const WRITE_BYTES_MAX: usize = 64 * 1024;

impl Sink for Discard {
    fn room(&self) -> usize {
        WRITE_BYTES_MAX
    }

    fn ready(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn write(&self, _: Bytes) -> Result<(), SinkClosed> {
        Ok(())
    }
}

// === impl Pipe ===

impl Sink for Pipe {
    fn room(&self) -> usize {
        // A pipe without a reader must let the write through that then fails.
        if self.bytes.is_closed() { WRITE_BYTES_MAX } else { self.room.available_permits().min(WRITE_BYTES_MAX) }
    }

    fn ready(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // Also once there is no reader any more: he closed it.
            let _ = self.room.acquire().await;
        })
    }

    fn write(&self, bytes: Bytes) -> Result<(), SinkClosed> {
        // Writers that asked at the same time may overrun the pipe together, each by one write at most.
        let room_taken = self.room.forget_permits(bytes.len());
        self.bytes.unbounded_send(Written { bytes, room_taken }).map_err(|_| SinkClosed)
    }
}

// === impl PipeReader ===

impl PipeReader {
    /// The next piece, as it was written; none when every writer is gone.
    pub async fn recv(&mut self) -> Option<Bytes> {
        let Written { bytes, room_taken } = self.bytes.next().await?;
        self.room.add_permits(room_taken);
        Some(bytes)
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_pipe_has_room_again_when_it_was_read() {
        let (sink, mut reader) = pipe(8);
        sink.write(Bytes::from_static(b"12345678")).expect("the reader is there");
        assert_eq!(sink.room(), 0);
        let waiting = tokio::spawn(sink.clone().ready());
        assert_eq!(reader.recv().await.as_deref(), Some(&b"12345678"[..]));
        waiting.await.expect("ready resolves");
        assert_eq!(sink.room(), 8);
    }

    #[tokio::test]
    async fn writers_that_overrun_a_pipe_do_not_widen_it() {
        let (sink, mut reader) = pipe(4);
        sink.write(Bytes::from_static(b"abcd")).expect("the reader is there");
        sink.write(Bytes::from_static(b"efgh")).expect("the reader is there");
        reader.recv().await;
        reader.recv().await;
        assert_eq!(sink.room(), 4);
    }

    #[tokio::test]
    async fn a_pipe_without_a_reader_is_closed_and_blocks_nobody() {
        let (sink, reader) = pipe(1);
        drop(reader);
        sink.clone().ready().await;
        assert!(sink.room() > 0);
        assert_eq!(sink.write(Bytes::from_static(b"x")), Err(SinkClosed));
    }
}
