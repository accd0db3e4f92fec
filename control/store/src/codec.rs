//! How things lie on disk: plain bytes of our own, so that no upgrade of a library is ever a migration of data.
//!
//! Numbers are little endian and of fixed width, text and bytes carry their length as a `u32`, and everything that is stored
//! on its own begins with a [`FORMAT`] byte. `codec/golden.txt` holds one of each; a change that alters it needs a new format.

use bytes::Bytes;

mod consensus;
mod txn;

pub(crate) use consensus::{
    command, entry_id, id, identified, member_list, members, open_entry, put_command, put_id, put_sessions, put_vote,
    seal_entry, sessions, some_id, vote,
};
pub(crate) use txn::{key, object, put_key, put_object};

/// The format written now. Readers refuse what they do not know.
pub(crate) const FORMAT: u8 = 1;

/// Bytes that do not say what they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub(crate) struct Malformed {
    /// Which part could not be read.
    pub what: &'static str,
}

/// Something that can be stored on its own.
pub(crate) trait Stored: Sized {
    /// Appends it, format byte and all.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads it back; the bytes must hold nothing else.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed>;
}

/// Reads one part after the other.
pub(crate) struct Reader<'a>(&'a [u8]);

// === impl Malformed ===

impl Malformed {
    /// It may well say what it should, to whoever knows more formats.
    pub(crate) const NEWER: Self = Self { what: "record: its format is newer than the 1 that this version knows" };
}

impl From<Malformed> for std::io::Error {
    fn from(error: Malformed) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Begins with the format byte.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Self(bytes);
        match reader.byte()? {
            FORMAT => Ok(reader),
            0 => Err(Malformed { what: "format: there is none of number 0" }),
            _ => Err(Malformed::NEWER),
        }
    }

    /// In the middle of something whose format is known.
    pub(crate) fn inside(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed { what: "flag" }),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.array().map(u32::from_le_bytes)? as usize;
        let (head, tail) = self.0.split_at_checked(length).ok_or(Malformed { what: "length" })?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn owned(&mut self) -> Result<Bytes, Malformed> {
        self.bytes().map(Bytes::copy_from_slice)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed { what: "text" })
    }

    pub(crate) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.array().map(u32::from_le_bytes)?;
        (0..count).map(|_| item(self)).collect()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Malformed { what: "end" })?;
        self.0 = tail;
        Ok(*head)
    }

    /// Whatever is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// What was read is all there was.
    pub(crate) fn end<T>(self, value: T) -> Result<T, Malformed> {
        if self.0.is_empty() { Ok(value) } else { Err(Malformed { what: "end" }) }
    }
}

/// Appends bytes and how many they are.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends what `write` appends, behind how many bytes that is.
pub(crate) fn put_sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_length(out, 0);
    write(out);
    let length = length(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&length);
}

/// Appends numbers.
pub(crate) fn put_numbers(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u64>) {
    out.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
}

/// Appends how many items follow.
pub(crate) fn put_length(out: &mut Vec<u8>, items: usize) {
    out.extend_from_slice(&length(items));
}

fn length(length: usize) -> [u8; 4] {
    let length = u32::try_from(length);
    length.expect("nothing that is stored is 4 GiB long: requests are limited to a few MiB").to_le_bytes()
}

#[cfg(test)]
mod tests;
