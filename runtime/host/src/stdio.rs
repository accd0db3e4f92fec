//! Standard input and output of a guest, on [`Sink`]s and readers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::cli::{AsyncStdinStream, IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiCtxBuilder, async_trait};

use crate::sink::Sink;
use crate::spec::Streams;

/// What a guest reads from standard input.
#[derive(Default)]
pub enum Stdin {
    /// Nothing: the end is there at once.
    #[default]
    Empty,
    /// Whatever the stream brings.
    Stream(Box<dyn AsyncRead + Send + Sync + Unpin>),
}

/// One of a guest's two output streams.
#[derive(Clone)]
pub(crate) struct Output {
    sink: Arc<dyn Sink>,
    streams: Streams,
}

/// A guest's input stream.
struct Input {
    stream: AsyncStdinStream,
    streams: Streams,
}

/// A handle on an [`Output`] for writers that poll.
struct Writer {
    sink: Arc<dyn Sink>,
    waiting: Option<BoxFuture<'static, ()>>,
}

// === impl Stdin ===

impl Stdin {
    pub(crate) fn connect(self, wasi: &mut WasiCtxBuilder, streams: Streams) {
        if let Stdin::Stream(reader) = self {
            wasi.stdin(Input { stream: AsyncStdinStream::new(reader), streams });
        }
    }
}

// === impl Input ===

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        self.streams == Streams::Terminal
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        self.stream.async_stream()
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        self.stream.p2_stream()
    }
}

// === impl Output ===

impl Output {
    pub(crate) fn new(sink: Arc<dyn Sink>, streams: Streams) -> Self {
        Self { sink, streams }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        self.streams == Streams::Terminal
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(SyncWriter(std::sync::Mutex::new(Writer { sink: self.sink.clone(), waiting: None })))
    }

    // Without a stream of our own, every instance would start a task per stream to copy its output.
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        while self.sink.room() == 0 {
            self.sink.clone().ready().await;
        }
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.sink.write(bytes).map_err(|_| StreamError::Closed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.sink.room())
    }
}

// === impl Writer ===

impl Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            let room = self.sink.room().min(bytes.len());
            if room > 0 || bytes.is_empty() {
                let written = self.sink.write(Bytes::copy_from_slice(&bytes[..room]));
                return Poll::Ready(written.map(|()| room).map_err(|_| io::ErrorKind::BrokenPipe.into()));
            }
            self.waiting = Some(self.sink.clone().ready());
        }
    }
}

/// A [`Writer`] that may be shared, as `wasi:cli` asks of its streams; it has one user at a time.
struct SyncWriter(std::sync::Mutex<Writer>);

impl AsyncWrite for SyncWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let writer = self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        writer.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
