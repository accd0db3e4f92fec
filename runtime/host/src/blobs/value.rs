//! Values on their way: one that is being written, and one that is being read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::shelf::{Shelf, Staged};

/// A value that is being written.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Outgoing {
    writing: Writing,
    /// The container and the object that it is for.
    target: Option<(String, String)>,
    is_taken: bool,
}

/// A value that is being read: a part of a file.
#[expect(unreachable_pub, reason = "the bindings name it so")]
pub struct Incoming {
    file: File,
    start: u64,
    bytes: u64,
}

/// What has been written so far, or why that is not all.
#[derive(Clone)]
struct Writing(Arc<Mutex<Result<State, String>>>);

enum State {
    Nothing(Arc<Shelf>),
    Some(Staged),
}

/// As much as is moved at a time.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// What is larger is read as a stream, so that no guest makes the host hold it.
const WHOLE_BYTES_MAX: u64 = 64 << 20;

// === impl Outgoing ===

impl Outgoing {
    pub(super) fn new(shelf: Result<Arc<Shelf>, String>) -> Self {
        Self { writing: Writing(Arc::new(Mutex::new(shelf.map(State::Nothing)))), target: None, is_taken: false }
    }

    /// The stream into it, once.
    pub(super) fn body(&mut self) -> Option<DynOutputStream> {
        let is_first = !std::mem::replace(&mut self.is_taken, true);
        is_first.then(|| Box::new(self.writing.clone()) as DynOutputStream)
    }

    /// Says what it is for.
    pub(super) fn is_for(&mut self, container: String, object: String) -> Result<(), String> {
        if let Some((_, other)) = &self.target {
            return Err(format!("the value is for object {other} already"));
        }
        self.target = Some((container, object));
        Ok(())
    }

    /// Puts it where it is for.
    pub(super) fn finish(self) -> io::Result<()> {
        let (container, object) =
            self.target.ok_or_else(|| io::Error::other("the value was not given to a container by write-data"))?;
        let mut writing = self.writing.lock();
        let state = std::mem::replace(&mut *writing, Err("the value is finished".to_owned()));
        let staged = match state.map_err(io::Error::other)? {
            State::Some(staged) => staged,
            State::Nothing(shelf) => shelf.stage()?,
        };
        staged.place(&container, &object)
    }
}

// === impl Writing ===

impl Writing {
    fn lock(&self) -> MutexGuard<'_, Result<State, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: &[u8]) -> io::Result<()> {
        let mut writing = self.lock();
        let state = writing.as_mut().map_err(|why| io::Error::other(why.clone()))?;
        let added = match state {
            State::Some(staged) => staged.write_all(bytes),
            State::Nothing(shelf) => shelf.stage().and_then(|mut staged| {
                staged.write_all(bytes)?;
                *state = State::Some(staged);
                Ok(())
            }),
        };
        // What is not whole is never put anywhere.
        added.inspect_err(|error| *writing = Err(error.to_string()))
    }
}

#[async_trait]
impl Pollable for Writing {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Writing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.add(&bytes).map_err(|error| StreamError::LastOperationFailed(error.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PIECE_BYTES_MAX)
    }
}

// === impl Incoming ===

impl Incoming {
    /// The bytes from `start` to `end`, both included, as far as there are any.
    pub(super) fn new(file: File, start: u64, end: u64) -> io::Result<Self> {
        if start > end {
            return Err(io::Error::other(format!("the end {end} is before the start {start}")));
        }
        let after = file.metadata()?.len().min(end.saturating_add(1));
        Ok(Self { file, start, bytes: after.saturating_sub(start) })
    }

    pub(super) fn size(&self) -> u64 {
        self.bytes
    }

    /// All of it.
    pub(super) fn read(self) -> io::Result<Vec<u8>> {
        if self.bytes > WHOLE_BYTES_MAX {
            let why = format!("the value has more than {WHOLE_BYTES_MAX} bytes: it is to be read as a stream");
            return Err(io::Error::other(why));
        }
        let mut all = Vec::with_capacity(self.bytes as usize);
        Stream(self).read_to_end(&mut all)?;
        Ok(all)
    }

    pub(super) fn stream(self) -> DynInputStream {
        Box::new(Stream(self))
    }
}

/// What is left of a value.
struct Stream(Incoming);

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Incoming { file, start, bytes } = &mut self.0;
        let piece = into.len().min(usize::try_from(*bytes).unwrap_or(usize::MAX));
        let read = file.read_at(&mut into[..piece], *start)?;
        (*start, *bytes) = (*start + read as u64, *bytes - read as u64);
        Ok(read)
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for Stream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut piece = vec![0; size.min(PIECE_BYTES_MAX)];
        match Read::read(self, &mut piece) {
            Ok(0) => Err(StreamError::Closed),
            Ok(read) => {
                piece.truncate(read);
                Ok(piece.into())
            }
            Err(error) => Err(StreamError::LastOperationFailed(error.into())),
        }
    }
}
