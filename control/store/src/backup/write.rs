//! Writing a backup: record after record, sealed as chunks fill.

use std::io::{self, Read, Write};

use api::Object;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use ring::digest::{SHA256, digest};

use super::{
    BROKEN_OFF, BackupError, CHUNK_BYTES, CONTENTS_BYTES_MAX, Contents, FORMAT_PLAIN, FORMAT_VOLUMES, Head, Key,
    LEFT_NAMES_MAX, MAGIC, Summed, Tally, mark, place,
};
use crate::codec::{put_bytes, put_object};
use crate::seal::Sealer;

/// Writes one backup. What was begun and not [finished](Writer::finish) is refused by whoever reads it.
pub struct Writer<W> {
    out: Summed<W>,
    format: u8,
    sealer: Sealer,
    sum_of_head: Vec<u8>,
    /// Records that are not in a chunk yet.
    waiting: Vec<u8>,
    /// Whether those are of a volume, and as small as can be.
    is_packed: bool,
    chunks: u64,
    objects: u64,
    files: u64,
    tally: Tally,
}

// === impl Writer ===

impl<W: Write> Writer<W> {
    /// Begins with what is to come.
    pub fn begin(out: W, key: &Key, contents: &Contents) -> Result<Self, BackupError> {
        let head = Head { contents: contents.clone(), key: key.id() };
        let head = serde_json::to_vec(&head).map_err(io::Error::from)?;
        let mut out = Summed::new(out);
        out.put(MAGIC)?;
        let format = if contents.volumes.is_some() { FORMAT_VOLUMES } else { FORMAT_PLAIN };
        out.put(&[format])?;
        let mut framed = Vec::new();
        put_bytes(&mut framed, &head);
        out.put(&framed)?;
        let sum_of_head = digest(&SHA256, &head).as_ref().to_vec();
        Ok(Self {
            out,
            format,
            sealer: key.sealer(),
            sum_of_head,
            waiting: Vec::new(),
            is_packed: false,
            chunks: 0,
            objects: 0,
            files: 0,
            tally: Tally::default(),
        })
    }

    /// Adds an object, with its revision.
    pub fn object(&mut self, object: &Object) -> Result<(), BackupError> {
        let mut says = Vec::from(object.revision().0.to_le_bytes());
        put_object(&mut says, object);
        self.objects += 1;
        self.record(mark::OBJECT, &says)
    }

    /// Adds a file of this length; there may be more of it by now, which is left out.
    pub fn file(&mut self, path: &str, length: u64, content: impl Read) -> Result<(), BackupError> {
        let mut says = Vec::new();
        put_bytes(&mut says, path.as_bytes());
        says.extend_from_slice(&length.to_le_bytes());
        self.files += 1;
        self.record(mark::FILE, &says)?;
        let (mut content, mut left) = (content, length);
        while left > 0 {
            let piece = left.min(CHUNK_BYTES as u64);
            let read = (&mut content).take(piece).read_to_end(&mut self.waiting)? as u64;
            if read < piece {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{path} became shorter")).into());
            }
            left -= read;
            self.seal_full()?;
        }
        Ok(())
    }

    /// Adds what is in a volume, which comes packed and is as long as it is. Where it ends before all of it came, what there is of it
    /// is said to be of no use, and why is given back; then it is [left out](Self::left), or everything [given up](Self::give_up).
    ///
    /// The backup has to have begun with how many volumes there are.
    pub fn volume(&mut self, name: &str, content: impl Read) -> Result<Result<(), io::Error>, BackupError> {
        let mut says = Vec::new();
        put_bytes(&mut says, name.as_bytes());
        self.record(mark::VOLUME, &says)?;
        let (mut content, mut length, mut piece) = (content, 0, Vec::with_capacity(CHUNK_BYTES));
        loop {
            piece.clear();
            if let Err(error) = (&mut content).take(CHUNK_BYTES as u64).read_to_end(&mut piece) {
                self.waiting.extend_from_slice(&BROKEN_OFF.to_le_bytes());
                self.seal_full()?;
                return Ok(Err(error));
            }
            // An empty one is the end.
            put_bytes(&mut self.waiting, &piece);
            self.is_packed = true;
            self.seal_full()?;
            length += piece.len() as u64;
            if piece.is_empty() {
                self.tally.volumes += 1;
                self.tally.bytes += length;
                return Ok(Ok(()));
            }
        }
    }

    /// Tells of a volume that it is not there.
    pub fn left(&mut self, name: String) {
        self.tally.left += 1;
        if self.tally.left_names.len() < LEFT_NAMES_MAX {
            self.tally.left_names.push(name);
        }
    }

    /// What came of the volumes so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Ends it in a way that whoever reads it learns why it is of no use.
    pub fn give_up(mut self, why: &str) -> Result<W, BackupError> {
        let why = &why.as_bytes()[..why.len().min(CONTENTS_BYTES_MAX)];
        let mut said = Vec::from(BROKEN_OFF.to_le_bytes());
        put_bytes(&mut said, why);
        self.out.put(&said)?;
        self.out.inner.flush()?;
        Ok(self.out.inner)
    }

    /// Ends it. Only now it can be read.
    pub fn finish(mut self) -> Result<W, BackupError> {
        let mut counts = [self.objects, self.files].map(u64::to_le_bytes).concat();
        let mut tally = Vec::new();
        if self.format == FORMAT_VOLUMES {
            put_bytes(&mut tally, &serde_json::to_vec(&self.tally).map_err(io::Error::from)?);
            counts.extend_from_slice(&tally);
        }
        self.record(mark::END, &counts)?;
        let last = std::mem::take(&mut self.waiting);
        self.chunk(&last, true)?;
        self.out.put(&0_u32.to_le_bytes())?;
        self.out.put(&tally)?;
        let Summed { mut inner, sum } = self.out;
        inner.write_all(sum.finish().as_ref())?;
        inner.flush()?;
        Ok(inner)
    }

    fn record(&mut self, mark: u8, says: &[u8]) -> Result<(), BackupError> {
        self.is_packed = false;
        self.waiting.push(mark);
        put_bytes(&mut self.waiting, says);
        self.seal_full()
    }

    /// Seals as many full chunks as there are, and leaves something for the last one.
    fn seal_full(&mut self) -> Result<(), BackupError> {
        if self.waiting.len() <= CHUNK_BYTES {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = waiting.as_slice();
        while rest.len() > CHUNK_BYTES {
            let (full, behind) = rest.split_at(CHUNK_BYTES);
            self.chunk(full, false)?;
            rest = behind;
        }
        self.waiting.extend_from_slice(rest);
        Ok(())
    }

    fn chunk(&mut self, records: &[u8], is_last: bool) -> Result<(), BackupError> {
        let compression = if self.is_packed { Compression::none() } else { Compression::fast() };
        let mut deflating = DeflateEncoder::new(Vec::new(), compression);
        deflating.write_all(records)?;
        let deflated = deflating.finish()?;
        let place = place(&self.sum_of_head, self.chunks, is_last);
        let mut sealed = Vec::with_capacity(deflated.len() + 64);
        self.sealer.seal(&place, &mut sealed, |out| out.extend_from_slice(&deflated));
        self.chunks += 1;
        let mut framed = Vec::with_capacity(sealed.len() + 4);
        put_bytes(&mut framed, &sealed);
        self.out.put(&framed)?;
        Ok(())
    }
}
