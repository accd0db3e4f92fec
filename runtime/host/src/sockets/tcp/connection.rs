//! An established connection, shared by its socket and its streams.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::Half;
use crate::network::{Connection, NetworkError, Reader, Writer};
use crate::sockets::{CHUNK_BYTES_MAX, Place, lock};

/// Both halves of a connection; it ends with its last owner, or half by half before.
pub(crate) struct Open {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    _place: Place,
}

/// What comes in. One piece is taken ahead, so that readiness can be told without a guest's buffer.
struct Incoming {
    reader: Option<Box<dyn Reader>>,
    ahead: Bytes,
    failed: Option<NetworkError>,
    taken: bool,
}

struct Outgoing {
    writer: Option<Box<dyn Writer>>,
    failed: Option<NetworkError>,
    taken: bool,
}

// === impl Open ===

impl Open {
    pub(super) fn new(connection: Connection, place: Place) -> Self {
        let Connection { local, remote, reader, writer } = connection;
        let incoming = Incoming { reader: Some(reader), ahead: Bytes::new(), failed: None, taken: false };
        let outgoing = Outgoing { writer: Some(writer), failed: None, taken: false };
        Self { local, remote, incoming: Mutex::new(incoming), outgoing: Mutex::new(outgoing), _place: place }
    }

    /// Ready when bytes, the end or an error are there.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        lock(&self.incoming).poll_readable(cx)
    }

    /// What has come, at most `bytes_max`; empty at the end.
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetworkError>> {
        lock(&self.incoming).poll_read(cx, bytes_max)
    }

    /// How many bytes may be written.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        lock(&self.outgoing).poll_writable(cx)
    }

    /// Takes at most as many bytes as were writable.
    pub(crate) fn write(&self, bytes: Bytes) -> Result<(), NetworkError> {
        lock(&self.outgoing).write(bytes)
    }

    /// Whether nothing can be written any more, and why.
    pub(crate) fn write_failure(&self) -> Option<NetworkError> {
        lock(&self.outgoing).failure()
    }

    pub(crate) fn shut(&self, half: Half) {
        if half != Half::Outgoing {
            let mut incoming = lock(&self.incoming);
            incoming.reader = None;
            incoming.ahead = Bytes::new();
        }
        if half != Half::Incoming {
            lock(&self.outgoing).writer = None;
        }
    }

    /// True once: the incoming half has one reader.
    pub(crate) fn take_incoming(&self) -> bool {
        !std::mem::replace(&mut lock(&self.incoming).taken, true)
    }

    /// True once: the outgoing half has one writer.
    pub(crate) fn take_outgoing(&self) -> bool {
        !std::mem::replace(&mut lock(&self.outgoing).taken, true)
    }
}

// === impl Incoming ===

impl Incoming {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(reader) = &mut self.reader
            && self.ahead.is_empty()
        {
            match ready!(reader.poll_read(cx, CHUNK_BYTES_MAX)) {
                Ok(end) if end.is_empty() => self.reader = None,
                Ok(bytes) => self.ahead = bytes,
                Err(error) => {
                    self.failed = Some(error);
                    self.reader = None;
                }
            }
        }
        Poll::Ready(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetworkError>> {
        ready!(self.poll_readable(cx));
        Poll::Ready(match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self.ahead.split_to(bytes_max.min(self.ahead.len()))),
        })
    }
}

// === impl Outgoing ===

impl Outgoing {
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        let Some(writer) = &mut self.writer else { return Poll::Ready(Err(self.reason())) };
        let ready = ready!(writer.poll_ready(cx));
        Poll::Ready(self.noted(ready))
    }

    fn write(&mut self, bytes: Bytes) -> Result<(), NetworkError> {
        let Some(writer) = &mut self.writer else { return Err(self.reason()) };
        let written = writer.write(bytes);
        self.noted(written)
    }

    /// After an error there is no writer any more.
    fn noted<T>(&mut self, result: Result<T, NetworkError>) -> Result<T, NetworkError> {
        result.inspect_err(|error| {
            self.failed = Some(error.clone());
            self.writer = None;
        })
    }

    fn failure(&self) -> Option<NetworkError> {
        self.writer.is_none().then(|| self.reason())
    }

    fn reason(&self) -> NetworkError {
        self.failed.clone().unwrap_or(NetworkError::Broken)
    }
}
