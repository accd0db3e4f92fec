//! Reading a backup: chunks are opened one by one, and records come out of them.

use std::io::{self, Read, Write};

use api::{Object, Revision};
use flate2::read::DeflateDecoder;

use super::frames::Frames;
use super::{BROKEN_OFF, BackupError, CHUNK_BYTES, Contents, FORMAT_VOLUMES, Key, Tally, mark, place};
use crate::codec::{self, object};
use crate::seal::Sealer;

/// Reads one backup from front to back.
pub struct Reader<R> {
    records: Records<R>,
    /// What is left of the content of what came last.
    left: Left,
    objects: u64,
    files: u64,
    volumes: u64,
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
    /// What was in a volume; [`Reader::copy`] gives it until the next item is asked for, and says whether that is all.
    Volume {
        /// The volume's name.
        name: String,
    },
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// All there is.
    Whole,
    /// What there was of a volume before it could not be had any more. It is of no use.
    BrokenOff,
}

/// What is left of some content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// So many bytes.
    Bytes(u64),
    /// So many bytes of a piece, and whatever pieces follow.
    Pieces(u64),
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
        Ok(Self { records, left: Left::Bytes(0), objects: 0, files: 0, volumes: 0, is_over: false })
    }

    /// What it says of itself.
    pub fn contents(&self) -> &Contents {
        &self.records.frames.head.contents
    }

    /// What came of the volumes; nothing is known of that before the end.
    pub fn tally(&self) -> &Tally {
        &self.records.frames.tally
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
                self.left = Left::Bytes(length);
                reader.end(Some(Item::File { path, length })).map_err(Into::into)
            }
            mark::VOLUME if self.records.frames.format == FORMAT_VOLUMES => {
                let mut reader = codec::Reader::inside(&says);
                let name = reader.text()?.to_owned();
                if !is_inside(&name) || name.contains('/') {
                    return Err(BackupError::Damaged("volume: its name leads elsewhere"));
                }
                self.left = Left::Pieces(0);
                reader.end(Some(Item::Volume { name })).map_err(Into::into)
            }
            mark::END => {
                let mut reader = codec::Reader::inside(&says);
                let counts = (reader.u64()?, reader.u64()?);
                let tally = match self.records.frames.format {
                    FORMAT_VOLUMES => Some(reader.bytes()?),
                    _ => None,
                };
                reader.end(())?;
                self.records.end()?;
                if counts != (self.objects, self.files) || self.objects != self.contents().objects {
                    return Err(BackupError::Damaged("end: there are more or fewer than it says"));
                }
                // Who has no key may read the tally, and must not have written it.
                if tally.is_some_and(|sealed| serde_json::from_slice(sealed).ok().as_ref() != Some(self.tally()))
                    || self.volumes != self.tally().volumes
                {
                    return Err(BackupError::Damaged("end: there are more or fewer volumes than it says"));
                }
                self.is_over = true;
                Ok(None)
            }
            _ => Err(BackupError::Damaged("record: of a sort that nobody writes")),
        }
    }

    /// Copies the rest of the content of what came last.
    pub fn copy(&mut self, out: &mut impl Write) -> Result<Copied, BackupError> {
        loop {
            let left = match self.left {
                Left::Bytes(0) => return Ok(Copied::Whole),
                Left::Pieces(0) => {
                    let mut length = [0; 4];
                    self.records.exactly(&mut length)?;
                    match u32::from_le_bytes(length) {
                        0 => {
                            (self.left, self.volumes) = (Left::Bytes(0), self.volumes + 1);
                            return Ok(Copied::Whole);
                        }
                        BROKEN_OFF => {
                            self.left = Left::Bytes(0);
                            return Ok(Copied::BrokenOff);
                        }
                        length => self.left = Left::Pieces(length.into()),
                    }
                    continue;
                }
                Left::Bytes(left) | Left::Pieces(left) => left,
            };
            let piece = self.records.piece()?;
            let length = (piece.len() as u64).min(left) as usize;
            out.write_all(&piece[..length])?;
            self.records.at += length;
            let left = left - length as u64;
            self.left = if matches!(self.left, Left::Bytes(_)) { Left::Bytes(left) } else { Left::Pieces(left) };
        }
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
