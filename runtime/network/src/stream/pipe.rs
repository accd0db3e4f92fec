//! One direction of a connection: chunks of bytes in a row, a bound, and a waker at either end.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

/// How much waits in one direction: enough to keep both sides busy, little enough for ten thousand connections.
const WEIGHT_MAX: usize = 128 << 10;
/// What a chunk weighs at least, so that a flood of single bytes does not outgrow the bound by its own overhead.
const CHUNK_WEIGHT_MIN: usize = 64;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    weight: usize,
    end: Option<End>,
    /// The reader is gone.
    is_deaf: bool,
    reading: Option<Waker>,
    writing: Option<Waker>,
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// After all that was written.
    Finished,
    /// At once.
    Reset,
}

// === impl Pipe ===

impl Pipe {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    pub(super) fn poll_chunk(&self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<io::Result<Bytes>> {
        let mut state = self.0.lock();
        if let Some((chunk, writer)) = state.take(bytes_max) {
            drop(state);
            wake(writer);
            return Poll::Ready(Ok(chunk));
        }
        match state.end {
            Some(End::Finished) => Poll::Ready(Ok(Bytes::new())),
            Some(End::Reset) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None => {
                remember(&mut state.reading, cx);
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.0.lock();
        if state.is_deaf || state.end.is_some() {
            return Poll::Ready(WEIGHT_MAX);
        }
        if state.weight >= WEIGHT_MAX {
            remember(&mut state.writing, cx);
            return Poll::Pending;
        }
        Poll::Ready(WEIGHT_MAX - state.weight)
    }

    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.is_deaf || state.end == Some(End::Reset) {
            return Poll::Ready(());
        }
        remember(&mut state.writing, cx);
        Poll::Pending
    }

    pub(super) fn send(&self, bytes: Bytes) -> io::Result<()> {
        let mut state = self.0.lock();
        match state.end {
            Some(End::Reset) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(End::Finished) => return Err(io::ErrorKind::BrokenPipe.into()),
            None if state.is_deaf => return Err(io::ErrorKind::BrokenPipe.into()),
            None => {}
        }
        if bytes.is_empty() {
            return Ok(());
        }
        state.weight += weight(&bytes);
        state.chunks.push_back(bytes);
        let reader = state.reading.take();
        drop(state);
        wake(reader);
        Ok(())
    }

    /// No more is written; what was written is still read.
    pub(super) fn finish(&self) {
        let mut state = self.0.lock();
        state.end.get_or_insert(End::Finished);
        let reader = state.reading.take();
        drop(state);
        wake(reader);
    }

    /// Nothing is written or read any more.
    pub(super) fn reset(&self) {
        let mut state = self.0.lock();
        // What ended in good order and was read to its end did so, whatever comes after.
        if state.end != Some(End::Finished) || !state.chunks.is_empty() {
            state.end = Some(End::Reset);
        }
        let lost = state.clear();
        let wakers = (state.reading.take(), state.writing.take());
        drop(state);
        drop(lost);
        wake(wakers.0);
        wake(wakers.1);
    }

    /// Nobody reads any more.
    pub(super) fn deafen(&self) {
        let mut state = self.0.lock();
        state.is_deaf = true;
        let lost = state.clear();
        let writer = state.writing.take();
        drop(state);
        drop(lost);
        wake(writer);
    }
}

// === impl State ===

impl State {
    /// The next chunk, and the writer if there is room for it again.
    fn take(&mut self, bytes_max: usize) -> Option<(Bytes, Option<Waker>)> {
        let mut chunk = self.chunks.pop_front()?;
        let before = weight(&chunk);
        let mut after = 0;
        if chunk.len() > bytes_max {
            let rest = chunk.split_off(bytes_max);
            after = weight(&rest);
            self.chunks.push_front(rest);
        }
        self.weight = self.weight + after - before;
        let writer = if self.weight <= WEIGHT_MAX / 2 { self.writing.take() } else { None };
        Some((chunk, writer))
    }

    fn clear(&mut self) -> VecDeque<Bytes> {
        self.weight = 0;
        std::mem::take(&mut self.chunks)
    }
}

fn weight(bytes: &Bytes) -> usize {
    bytes.len().max(CHUNK_WEIGHT_MIN)
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
