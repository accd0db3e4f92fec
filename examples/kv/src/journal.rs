//! What is kept on a disk: every command that changes something, in the order they came, as clients say them.
//!
//! A command is in the file before it is done, and on the disk before anybody hears that it is done. At the start, and when the
//! file has grown to twice of what it need be, it is written anew with nothing but what there is; what was written by half when
//! the power went is cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::resp::{self, Parsed};
use crate::store::{Store, Value};

/// Below this it is not worth writing anew.
const BYTES_MIN: u64 = 1 << 20;

/// The file.
pub struct Journal {
    directory: PathBuf,
    file: File,
    bytes: u64,
    /// How long it was when it held nothing but what there is.
    bytes_least: u64,
    is_dirty: bool,
}

const NAME: &str = "journal";
const NEXT: &str = "journal.next";

// === impl Journal ===

impl Journal {
    /// Does again what a directory tells of, and goes on from there.
    pub fn open(directory: &str) -> io::Result<(Self, Store)> {
        let directory = PathBuf::from(directory);
        let told = match fs::read(directory.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            told => told?,
        };
        let (mut store, mut at) = (Store::default(), 0);
        while let Parsed::Whole(command, length) = resp::parse(&told[at..]) {
            store.act(&command);
            at += length;
        }
        // On a disk that is full it goes on as it is.
        let (file, bytes) = anew(&directory, &store).or_else(|_| as_it_is(&directory, at as u64))?;
        Ok((Self { directory, file, bytes, bytes_least: bytes, is_dirty: false }, store))
    }

    /// Notes a command that is about to be done; if that fails it is not to be done.
    pub fn note(&mut self, command: &[Vec<u8>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        resp::write_command(command, &mut bytes);
        if let Err(error) = self.file.write_all(&bytes) {
            // Half of a command would make what comes after it unreadable.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    /// Returns when everything noted is on the disk.
    pub fn settle(&mut self, store: &Store) -> io::Result<()> {
        if std::mem::take(&mut self.is_dirty) {
            self.file.sync_data()?;
        }
        if self.bytes > BYTES_MIN.max(self.bytes_least * 2) {
            if let Ok(anew) = anew(&self.directory, store) {
                (self.file, self.bytes) = anew;
            }
            self.bytes_least = self.bytes;
        }
        Ok(())
    }
}

/// Writes the file anew, and puts it in the place of the old one once it is whole.
fn anew(directory: &Path, store: &Store) -> io::Result<(File, u64)> {
    let written = write(directory, store);
    if written.is_err() {
        let _ = fs::remove_file(directory.join(NEXT));
    }
    written
}

fn write(directory: &Path, store: &Store) -> io::Result<(File, u64)> {
    let mut bytes = Vec::new();
    for (key, value) in store.values() {
        match value {
            Value::Bytes(value) => resp::write_command(&[b"SET", key.as_slice(), value], &mut bytes),
            // An item at a time: a command has only so many words.
            Value::List(items) => {
                items.iter().for_each(|item| resp::write_command(&[b"RPUSH", key.as_slice(), item], &mut bytes));
            }
        }
    }
    let mut file = File::create(directory.join(NEXT))?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(directory.join(NEXT), directory.join(NAME))?;
    File::open(directory)?.sync_all()?;
    let file = OpenOptions::new().append(true).open(directory.join(NAME))?;
    Ok((file, bytes.len() as u64))
}

/// The file as it was found, without what was written by half.
fn as_it_is(directory: &Path, bytes: u64) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(directory.join(NAME))?;
    file.set_len(bytes)?;
    Ok((file, bytes))
}
