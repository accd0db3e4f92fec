//! What a tar archive says of each thing in it, in blocks of 512 bytes.
//!
//! As GNU's tar writes it: a name that is too long for its field comes before, as an entry of its own. What POSIX has for that in
//! the header is read, too.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
const NAME_BYTES: usize = 100;
/// A name, or where a link leads; no file system has longer ones.
const WORD_BYTES_MAX: u64 = 4_096;

pub(super) const DIRECTORY: u8 = b'5';
pub(super) const REGULAR: u8 = b'0';
/// A file, as it was told before there were kinds.
pub(super) const REGULAR_OF_OLD: u8 = 0;
pub(super) const LINK: u8 = b'2';
/// One more name of a file that has one already.
pub(super) const SAME: u8 = b'1';
/// What follows is the name of the next entry, or where it leads.
pub(super) const LONG_NAME: u8 = b'L';
pub(super) const LONG_LINK: u8 = b'K';
const LONG: &[u8] = b"././@LongLink";

/// The end of an archive.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// An entry of an archive, before its content.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) kind: u8,
    pub(super) name: Vec<u8>,
    /// Where a link leads, or which name the file had first.
    pub(super) link: Vec<u8>,
    pub(super) bytes: u64,
    /// In seconds since 1970.
    pub(super) modified: u64,
}

/// How many bytes follow the content so that the next entry begins with a block.
pub(super) fn padding(bytes: u64) -> u64 {
    let rest = bytes % BLOCK as u64;
    if rest == 0 { 0 } else { BLOCK as u64 - rest }
}

pub(super) fn skip(archive: &mut impl Read, bytes: u64) -> io::Result<()> {
    if io::copy(&mut archive.take(bytes), &mut io::sink())? < bytes { Err(broken("it is cut off")) } else { Ok(()) }
}

/// A name that was too long for its field.
pub(super) fn word(archive: &mut impl Read, bytes: u64) -> io::Result<Vec<u8>> {
    if bytes > WORD_BYTES_MAX {
        return Err(broken("a name is too long"));
    }
    let mut word = Vec::new();
    archive.take(bytes).read_to_end(&mut word)?;
    skip(archive, padding(bytes))?;
    let end = word.iter().position(|byte| *byte == 0).unwrap_or(word.len());
    word.truncate(end);
    Ok(word)
}

pub(super) fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("this is no archive of a volume: {why}"))
}

// === impl Entry ===

impl Entry {
    pub(super) fn write(&self, archive: &mut impl Write) -> io::Result<()> {
        for (kind, word) in [(LONG_NAME, &self.name), (LONG_LINK, &self.link)] {
            if word.len() > NAME_BYTES {
                let bytes = word.len() as u64 + 1;
                let long = Self { kind, name: LONG.to_vec(), link: Vec::new(), bytes, modified: 0 };
                archive.write_all(&long.header())?;
                archive.write_all(word)?;
                io::copy(&mut io::repeat(0).take(1 + padding(bytes)), archive)?;
            }
        }
        archive.write_all(&self.header())
    }

    fn header(&self) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(NAME_BYTES)]);
        put(100, if self.kind == DIRECTORY { b"0000755\0" } else { b"0000644\0" });
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, &number(self.bytes));
        put(136, &number(self.modified));
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(NAME_BYTES)]);
        put(257, b"ustar  \0");
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header
    }

    /// The next one; none at the end.
    pub(super) fn read(archive: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; BLOCK];
        archive.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => broken("it is cut off"),
            io::ErrorKind::InvalidInput => broken(&error.to_string()),
            _ => error,
        })?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let told = octal(&header[148..156])?;
        let blank = |(at, byte): (usize, &u8)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte });
        if header.iter().enumerate().map(blank).sum::<u64>() != told {
            return Err(broken("a header does not match its sum"));
        }
        let text = |at: usize, bytes: usize| -> Vec<u8> {
            header[at..at + bytes].iter().copied().take_while(|byte| *byte != 0).collect()
        };
        let mut name = text(0, NAME_BYTES);
        // What POSIX has in the place of long names.
        let prefix = if header[257..263] == *b"ustar\0" { text(345, 155) } else { Vec::new() };
        if !prefix.is_empty() {
            name = [prefix, name].join(&b'/');
        }
        let (bytes, modified) = (number_of(&header[124..136])?, number_of(&header[136..148])?);
        let kind = header[156];
        let bytes = if matches!(kind, DIRECTORY | LINK | SAME) { 0 } else { bytes };
        Ok(Some(Self { kind, name, link: text(157, NAME_BYTES), bytes, modified }))
    }
}

/// A number in octal digits, or in bytes where there are not enough of them.
fn number(number: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if number < 1 << 33 {
        field[..11].copy_from_slice(format!("{number:011o}").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&number.to_be_bytes());
    }
    field
}

/// Such a number again.
fn number_of(field: &[u8]) -> io::Result<u64> {
    if field[0] & 0x80 == 0 {
        return octal(field);
    }
    let bytes = field[4..].try_into().map_err(|_| broken("a number is too long"))?;
    Ok(u64::from_be_bytes(bytes))
}

fn octal(field: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(field);
    let digits = text.trim_matches(['\0', ' ']);
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(digits, 8).map_err(|_| broken("a number is none"))
}
