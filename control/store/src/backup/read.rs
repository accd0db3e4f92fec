//! Reading a backup: chunks are opened one by one, and records come out of them.

use std::io::{self, Read, Write};

use api::{Object, Revision};
use flate2::read::DeflateDecoder;

use super::frames::Frames;
use super::{BackupError, CHUNK_BYTES, Contents, Key, mark, place};
use crate::codec::{self, object};
use crate::seal::Sealer;

/// Reads one backup from front to back.
pub struct Reader<R> {
    records: Records<R>,
    /// What is left of the content of the file that came last.
    left: u64,
    objects: u64,
    files: u64,
    is_over: bool,
}

/// One thing in a backup.
#[derive(Debug)]
pub enum Item {
    /// An object, at the revision that wrote it.
    Object(Object),
    /// A file; its content is what [`Reader::copy`] gives until the next item is asked for.
    File {
        /// Where it goes, from the data directory on. Nothing in it leads out of there.
        path: String,
        /// How long it is.
        length: u64,
    },
}

/// The records as one stream of bytes.
struct Records<R> {
    frames: Frames<R>,
    sealer: Sealer,
    open: Vec<u8>,
    at: usize,
}

// === impl Reader ===

impl<R: Read> Reader<R> {
    /// Begins to read, if this is a backup and the key is the one that it takes.
    pub fn open(input: R, key: &Key) -> Result<Self, BackupError> {
        let frames = Frames::new(input)?;
        let wanted = frames.head.key;
        if wanted != key.id() {
            return Err(BackupError::OtherKey { wanted, given: key.id() });
        }
        let records = Records { frames, sealer: key.sealer(), open: Vec::new(), at: 0 };
        Ok(Self { records, left: 0, objects: 0, files: 0, is_over: false })
    }

    /// What it says of itself.
    pub fn contents(&self) -> &Contents {
        &self.records.frames.head.contents
    }

    /// The next thing in it; none only when the whole file has been read and everything was as it was written.
    pub fn item(&mut self) -> Result<Option<Item>, BackupError> {
        if self.is_over {
            return Ok(None);
        }
        self.copy(&mut io::sink())?;
        let mut head = [0; 5];
        self.records.exactly(&mut head)?;
        let [mark, length @ ..] = head;
        let says = self.records.bytes(u32::from_le_bytes(length).into())?;
        match mark {
            mark::OBJECT => {
                self.objects += 1;
                let mut reader = codec::Reader::inside(&says);
                let revision = Revision(reader.u64()?);
                let object = object(&mut reader)?.at(revision);
                Ok(Some(Item::Object(reader.end(object)?)))
            }
            mark::FILE => {
                self.files += 1;
                let mut reader = codec::Reader::inside(&says);
                let (path, length) = (reader.text()?.to_owned(), reader.u64()?);
                if !is_inside(&path) {
                    return Err(BackupError::Damaged("file: its path leads elsewhere"));
                }
                self.left = length;
                reader.end(Some(Item::File { path, length })).map_err(Into::into)
            }
            mark::END => {
                let mut reader = codec::Reader::inside(&says);
                let counts = (reader.u64()?, reader.u64()?);
                reader.end(())?;
                if counts != (self.objects, self.files) || self.objects != self.contents().objects {
                    return Err(BackupError::Damaged("end: there are more or fewer than it says"));
                }
                self.records.end()?;
                self.is_over = true;
                Ok(None)
            }
            _ => Err(BackupError::Damaged("record: of a sort that nobody writes")),
        }
    }

    /// Copies the rest of the content of the file that came last.
    pub fn copy(&mut self, out: &mut impl Write) -> Result<(), BackupError> {
        while self.left > 0 {
            let piece = self.records.piece()?;
            let length = (piece.len() as u64).min(self.left) as usize;
            out.write_all(&piece[..length])?;
            self.records.at += length;
            self.left -= length as u64;
        }
        Ok(())
    }
}

/// Whether a path names something below the directory that it is taken from.
fn is_inside(path: &str) -> bool {
    !path.contains('\\') && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

// === impl Records ===

impl<R: Read> Records<R> {
    /// What is open and not yet read; never empty.
    fn piece(&mut self) -> Result<&[u8], BackupError> {
        while self.at == self.open.len() {
            let frame = self.frames.next()?.ok_or(BackupError::Damaged("records: they end too early"))?;
            let place = place(&self.frames.sum_of_head, frame.number, frame.is_last);
            let deflated = self.sealer.open(&place, &frame.bytes)?;
            self.open.clear();
            self.at = 0;
            let limit = CHUNK_BYTES as u64 + 1;
            let inflated = DeflateDecoder::new(deflated.as_slice()).take(limit).read_to_end(&mut self.open);
            inflated.map_err(|_| BackupError::Damaged("chunk: not deflated"))?;
            if self.open.len() > CHUNK_BYTES {
                return Err(BackupError::Damaged("chunk: longer than any"));
            }
        }
        Ok(&self.open[self.at..])
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        let mut filled = 0;
        while filled < bytes.len() {
            let piece = self.piece()?;
            let length = piece.len().min(bytes.len() - filled);
            bytes[filled..filled + length].copy_from_slice(&piece[..length]);
            self.at += length;
            filled += length;
        }
        Ok(())
    }

    /// As many bytes; memory is taken only as they come.
    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let piece = self.piece()?;
            let taken = (piece.len() as u64).min(length - bytes.len() as u64) as usize;
            bytes.extend_from_slice(&piece[..taken]);
            self.at += taken;
        }
        Ok(bytes)
    }

    /// There is nothing more.
    fn end(&mut self) -> Result<(), BackupError> {
        let is_over = self.at == self.open.len() && self.frames.next()?.is_none();
        if is_over { Ok(()) } else { Err(BackupError::Damaged("end: something follows it")) }
    }
}
