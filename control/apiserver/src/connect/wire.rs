//! A connection that an HTTP request became: bytes as they are, or in WebSocket messages.
//!
//! Reading is the caller's; writing is a queue and one future that empties it, so that many may write and a slow reader of one
//! thing does not hold up the answers to pings.

use std::future::Future;
use std::io;

use bytes::{Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use crate::websocket::{self, Message};

/// How bytes are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Not at all.
    Plain,
    /// As WebSocket messages.
    WebSocket,
}

/// What is read. What is given out may be empty: a message with nothing in it.
pub(super) struct Reader {
    framing: Framing,
    stream: ReadHalf<TokioIo<Upgraded>>,
    buffer: BytesMut,
    messages: websocket::Decoder,
    writer: Writer,
}

/// What follows from what has been read.
enum Known {
    /// This.
    Bytes(Bytes),
    /// The client is done.
    End,
    /// Nothing yet: more must be read.
    Nothing,
}

/// Where to write. When the last one is dropped the connection is closed.
#[derive(Clone)]
pub(super) struct Writer {
    framing: Framing,
    queue: mpsc::Sender<Bytes>,
}

/// The other side is gone.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client is gone")]
pub(super) struct Gone;

/// So many pieces wait at most; each is at most a megabyte and mostly 16 KiB.
const QUEUE_MAX: usize = 32;
const READ_BYTES: usize = 32 << 10;

/// Both ends of a connection, and what writes it.
pub(super) fn open(upgraded: Upgraded, framing: Framing) -> (Reader, Writer, impl Future<Output = ()> + Send) {
    let (stream, sink) = tokio::io::split(TokioIo::new(upgraded));
    let (queue, pieces) = mpsc::channel(QUEUE_MAX);
    let writer = Writer { framing, queue };
    let messages = websocket::Decoder::default();
    let reader = Reader { framing, stream, buffer: BytesMut::new(), messages, writer: writer.clone() };
    (reader, writer, write(sink, pieces, framing))
}

async fn write(mut sink: WriteHalf<TokioIo<Upgraded>>, mut pieces: mpsc::Receiver<Bytes>, framing: Framing) {
    while let Some(piece) = pieces.recv().await {
        let written = async {
            sink.write_all(&piece).await?;
            // What waits goes out together.
            if pieces.is_empty() { sink.flush().await } else { Ok(()) }
        };
        if written.await.is_err() {
            return;
        }
    }
    if framing == Framing::WebSocket && sink.write_all(&websocket::close()).await.is_err() {
        return;
    }
    // Whether the client hears the end is its own affair.
    let _ = sink.shutdown().await;
}

// === impl Reader ===

impl Reader {
    /// What comes next; nothing at the end. Whoever stops waiting loses nothing.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.known()? {
                Known::Bytes(bytes) => return Ok(Some(bytes)),
                Known::End => return Ok(None),
                Known::Nothing => {}
            }
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// What is left to read once nobody wants it: it is read and dropped, until the client is done too.
    pub(super) fn rest(self) -> impl Future<Output = ()> + Send {
        let Self { mut stream, .. } = self;
        async move {
            let mut dropped = BytesMut::with_capacity(READ_BYTES);
            while stream.read_buf(&mut dropped).await.is_ok_and(|read| read > 0) {
                dropped.clear();
            }
        }
    }

    fn known(&mut self) -> io::Result<Known> {
        if self.framing == Framing::Plain {
            let read = self.buffer.split().freeze();
            return Ok(if read.is_empty() { Known::Nothing } else { Known::Bytes(read) });
        }
        self.messages.push(&self.buffer.split());
        loop {
            match self.messages.next().map_err(io::Error::other)? {
                Some(Message::Data(bytes)) => return Ok(Known::Bytes(bytes)),
                Some(Message::Close) => return Ok(Known::End),
                // A client that does not read gets no answers either.
                Some(Message::Ping(bytes)) => drop(self.writer.queue.try_send(websocket::pong(&bytes))),
                None => return Ok(Known::Nothing),
            }
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Writes, or waits until there is room to.
    pub(super) async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        let framed = match self.framing {
            Framing::Plain => bytes,
            Framing::WebSocket => websocket::data(&bytes),
        };
        self.queue.send(framed).await.map_err(|_| Gone)
    }
}
