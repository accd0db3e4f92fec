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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use proptest::prelude::*;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::sockets::tcp::idle;

    /// Gives these pieces; every other time it has none yet.
    struct Script {
        pieces: VecDeque<Vec<u8>>,
        waits: bool,
    }

    /// Takes a byte at a time until it breaks.
    struct Narrow {
        left: usize,
    }

    impl Reader for Script {
        fn poll_read(&mut self, _: &mut Context<'_>, bytes_max: usize) -> Poll<Result<Bytes, NetworkError>> {
            self.waits = !self.waits;
            if self.waits {
                return Poll::Pending;
            }
            let Some(mut piece) = self.pieces.pop_front() else { return Poll::Ready(Ok(Bytes::new())) };
            let rest = piece.split_off(bytes_max.min(piece.len()));
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
            Poll::Ready(Ok(piece.into()))
        }
    }

    impl Writer for Narrow {
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
            Poll::Ready(if self.left == 0 { Err(NetworkError::Reset) } else { Ok(1) })
        }

        fn write(&mut self, bytes: Bytes) -> Result<(), NetworkError> {
            assert_eq!(bytes.len(), 1);
            self.left -= 1;
            Ok(())
        }
    }

    fn open(pieces: Vec<Vec<u8>>, left: usize) -> Open {
        let here = SocketAddr::from(([127, 0, 0, 1], 1));
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
        let reader = Box::new(Script { pieces: pieces.into(), waits: false });
        let connection = Connection { local: here, remote: here, reader, writer: Box::new(Narrow { left }) };
        Open::new(connection, Arc::new(place))
    }

    proptest! {
        #[test]
        fn what_was_sent_is_read_however_it_is_asked_for(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..10),
            asked in prop::collection::vec((any::<bool>(), 1..60_usize), 1..20),
        ) {
            let sent = pieces.concat();
            let open = open(pieces, 0);
            let mut read = Vec::new();
            for (looks_first, bytes_max) in asked.into_iter().cycle() {
                if looks_first && open.poll_readable(&mut idle()).is_pending() {
                    continue;
                }
                match open.poll_read(&mut idle(), bytes_max) {
                    Poll::Pending => prop_assert!(!looks_first, "what is readable can be read"),
                    Poll::Ready(Ok(end)) if end.is_empty() => break,
                    Poll::Ready(Ok(bytes)) => {
                        prop_assert!(bytes.len() <= bytes_max);
                        read.extend_from_slice(&bytes);
                    }
                    Poll::Ready(Err(error)) => prop_assert!(false, "{}", error),
                }
            }
            prop_assert_eq!(read, sent);
        }
    }

    #[test]
    fn the_reason_of_a_broken_half_stays_and_the_other_half_goes_on() {
        let open = open(vec![vec![7]], 1);
        assert_eq!(open.poll_writable(&mut idle()), Poll::Ready(Ok(1)));
        assert_eq!(open.write(Bytes::from_static(b"x")), Ok(()));
        assert_eq!(open.write_failure(), None);
        for _ in 0..2 {
            assert_eq!(open.poll_writable(&mut idle()), Poll::Ready(Err(NetworkError::Reset)));
        }
        assert_eq!(open.write(Bytes::from_static(b"x")), Err(NetworkError::Reset));
        assert!(open.poll_read(&mut idle(), 9).is_pending());
        assert_eq!(open.poll_read(&mut idle(), 9), Poll::Ready(Ok(Bytes::from_static(&[7]))));
        open.shut(Half::Both);
        assert_eq!(open.poll_read(&mut idle(), 9), Poll::Ready(Ok(Bytes::new())));
    }
}
