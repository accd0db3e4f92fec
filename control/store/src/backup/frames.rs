//! The file as it lies there: its head, its chunks one after the other, and the sum at its end. Nothing is opened here.

use std::io::Read;

use ring::digest::{SHA256, digest};

use super::{
    BROKEN_OFF, BackupError, CONTENTS_BYTES_MAX, Contents, FORMAT_PLAIN, FORMAT_VOLUMES, FRAME_BYTES_MAX, Head, MAGIC,
    Summed, Tally,
};

/// The chunks of a file, still sealed.
pub(super) struct Frames<R> {
    input: Summed<R>,
    pub(super) format: u8,
    pub(super) head: Head,
    /// What ties chunks to this file.
    pub(super) sum_of_head: Vec<u8>,
    /// How long the next chunk is; none once the end is reached.
    next: Option<usize>,
    number: u64,
    /// What came of the volumes, once the end is reached.
    pub(super) tally: Tally,
}

/// One chunk, still sealed.
pub(super) struct Frame {
    pub(super) number: u64,
    pub(super) is_last: bool,
    pub(super) bytes: Vec<u8>,
}

/// What is in a backup, once all of it is seen to be as it was written. It takes no key.
pub fn check(input: impl Read) -> Result<(Contents, Tally), BackupError> {
    let mut frames = Frames::new(input)?;
    while frames.next()?.is_some() {}
    Ok((frames.head.contents, frames.tally))
}

// === impl Frames ===

impl<R: Read> Frames<R> {
    pub(super) fn new(input: R) -> Result<Self, BackupError> {
        let mut input = Summed::new(input);
        let mut magic = [0; MAGIC.len()];
        input.take(&mut magic).map_err(|error| match error {
            BackupError::Truncated => BackupError::Foreign,
            error => error,
        })?;
        if magic != MAGIC {
            return Err(BackupError::Foreign);
        }
        let mut format = [0];
        input.take(&mut format)?;
        let [format] = format;
        if !(FORMAT_PLAIN..=FORMAT_VOLUMES).contains(&format) {
            return Err(BackupError::Newer(format));
        }
        let head = text(&mut input, "head: longer than any")?;
        let sum_of_head = digest(&SHA256, &head).as_ref().to_vec();
        let head = serde_json::from_slice(&head).map_err(|_| BackupError::Damaged("head: not what one says"))?;
        let mut frames = Self { input, format, head, sum_of_head, next: None, number: 0, tally: Tally::default() };
        frames.next = frames.length()?;
        if frames.next.is_none() {
            return Err(BackupError::Damaged("chunks: there are none"));
        }
        Ok(frames)
    }

    /// The next chunk. With the last one the whole file has been read, and its sum compared.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, BackupError> {
        let Some(length) = self.next else { return Ok(None) };
        let mut bytes = vec![0; length];
        self.input.take(&mut bytes)?;
        self.next = self.length()?;
        let is_last = self.next.is_none();
        if is_last {
            self.end()?;
        }
        let number = self.number;
        self.number += 1;
        Ok(Some(Frame { number, is_last, bytes }))
    }

    fn length(&mut self) -> Result<Option<usize>, BackupError> {
        match self.input.number()? {
            0 => Ok(None),
            BROKEN_OFF if self.format == FORMAT_VOLUMES => {
                let why = text(&mut self.input, "chunk: longer than any")?;
                Err(BackupError::GivenUp(String::from_utf8_lossy(&why).into_owned()))
            }
            length if length as usize > FRAME_BYTES_MAX => Err(BackupError::Damaged("chunk: longer than any")),
            length => Ok(Some(length as usize)),
        }
    }

    fn end(&mut self) -> Result<(), BackupError> {
        if self.format == FORMAT_VOLUMES {
            let tally = text(&mut self.input, "tally: longer than any")?;
            self.tally =
                serde_json::from_slice(&tally).map_err(|_| BackupError::Damaged("tally: not what one says"))?;
        }
        let found = self.input.sum.clone().finish();
        let mut said = [0; 32];
        self.input.take(&mut said)?;
        if found.as_ref() != said {
            return Err(BackupError::Damaged("sum: it is of something else"));
        }
        match self.input.inner.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(BackupError::Damaged("end: something follows it")),
        }
    }
}

/// What anybody may read, with its length before it.
fn text(input: &mut Summed<impl Read>, too_long: &'static str) -> Result<Vec<u8>, BackupError> {
    let length = input.number()? as usize;
    if length > CONTENTS_BYTES_MAX {
        return Err(BackupError::Damaged(too_long));
    }
    let mut bytes = vec![0; length];
    input.take(&mut bytes)?;
    Ok(bytes)
}
