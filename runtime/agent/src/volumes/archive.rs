//! A directory as one file that a person can carry: a tar archive, compressed by gzip.
//!
//! It holds directories, files with their times of change in seconds and with all their names, and links that stay links and are
//! followed by nobody. What no guest can make or see is not in it: devices, sockets and pipes, owners and permissions, the times of
//! directories. Where a file has a hole the archive has zeros, and where the archive has many zeros the file that is made of it has
//! a hole.
//!
//! Guests may write to the directory meanwhile: what lies in it is reached by way of [`crate::beneath`], what is gone when its turn
//! comes is left out, and a file is as long as it was when it was opened. What cannot be read fails the whole. An archive is read
//! in one go into a directory of its own: whoever calls puts that into its place when all was read, so that an archive that is cut
//! off or was changed leaves nothing behind.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::FileType;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::beneath::{Links, Root, kind};
use entry::{
    DIRECTORY, END, Entry, LINK, LONG_LINK, LONG_NAME, REGULAR, REGULAR_OF_OLD, SAME, broken, padding, skip, word,
};

/// How much may come out of an archive: what guests may have in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes_max: u64,
    pub(crate) entries_max: u64,
}

/// As much as is read and written at once; a hole is as long.
const CHUNK: usize = 64 * 1024;
/// A file takes at least so many bytes of the room, as with guests' own limits; some are always there.
const ENTRY_BYTES: u64 = 1 << 10;
const ENTRIES_MIN: u64 = 1_000;
/// What may follow the end: others fill up what they write.
const AFTER_END_BYTES_MAX: u64 = 1 << 20;

/// The SHA-256 of what is left to read.
pub(crate) fn hash(from: &mut impl Read) -> io::Result<String> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// Writes all that is below a directory; says how many bytes its files have.
pub(crate) fn pack(root: &Root, into: impl Write) -> io::Result<u64> {
    let mut archive = GzEncoder::new(into, Compression::fast());
    let bytes = write(root, &mut archive)?;
    archive.finish()?.flush()?;
    Ok(bytes)
}

/// Makes what an archive holds below an empty directory.
pub(crate) fn unpack(from: impl Read, root: &Root, room: Room) -> io::Result<()> {
    read(&mut GzDecoder::new(BufReader::new(from)), room, |entry, archive| make(root, entry, archive)).map(drop)
}

/// How many bytes the files of an archive have.
pub(crate) fn measure(from: impl Read) -> io::Result<u64> {
    let room = Room { bytes_max: u64::MAX, entries_max: u64::MAX };
    let skipped = |entry: &Entry, archive: &mut dyn Read| skip(&mut &mut *archive, entry.bytes);
    read(&mut GzDecoder::new(BufReader::new(from)), room, skipped)
}

/// Makes what is below one directory below another, which is empty.
pub(crate) fn copy(from: &Root, to: &Root, room: Room) -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut archive = BufWriter::with_capacity(CHUNK, writer);
            write(from, &mut archive)?;
            archive.flush()
        });
        let mut archive = BufReader::with_capacity(CHUNK, reader);
        let made = read(&mut archive, room, |entry, archive| make(to, entry, archive)).map(drop);
        // Nobody reads any more, so that whoever still writes ends.
        drop(archive);
        let written = writing.join().unwrap_or_else(|_| Err(io::Error::other("the copy was given up")));
        match made {
            Ok(()) => written,
            // What is cut off is so because of what could not be read.
            Err(error) => Err(written.err().filter(|it| it.kind() != io::ErrorKind::BrokenPipe).unwrap_or(error)),
        }
    })
}

/// Whether it is not there, or is something else than it was: somebody changed it meanwhile.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput)
        || Errno::from_io_error(error) == Some(Errno::LOOP)
}

fn of(name: &Path) -> impl Fn(io::Error) -> io::Error + Copy + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", name.display()))
}

// The way in.

fn write(root: &Root, archive: &mut impl Write) -> io::Result<u64> {
    let (mut total, mut names, mut waiting) = (0_u64, BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(directory) = waiting.pop() {
        let mut found = match root.list(&directory) {
            Err(error) if !directory.as_os_str().is_empty() && is_gone(&error) => continue,
            found => found.map_err(of(&directory))?,
        };
        found.sort();
        for last in found {
            let name = directory.join(last);
            match write_one(root, &name, &mut names, archive) {
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(of(&name)(error)),
                Ok(Written::Directory) => waiting.push(name),
                Ok(Written::Bytes(bytes)) => total = total.saturating_add(bytes),
            }
        }
    }
    archive.write_all(&END)?;
    Ok(total)
}

enum Written {
    Directory,
    Bytes(u64),
}

/// Writes one thing. Nothing of it is written where it turns out to be gone.
fn write_one(
    root: &Root,
    name: &Path,
    names: &mut BTreeMap<(u64, u64), PathBuf>,
    archive: &mut impl Write,
) -> io::Result<Written> {
    let found = root.stat(name)?;
    let mut entry = Entry { name: name.as_os_str().as_bytes().to_vec(), ..Entry::default() };
    entry.modified = u64::try_from(found.st_mtime).unwrap_or(0);
    match kind(&found) {
        FileType::Directory => {
            entry.kind = DIRECTORY;
            entry.name.push(b'/');
            entry.write(archive).map_err(written)?;
            Ok(Written::Directory)
        }
        FileType::Symlink => {
            entry.kind = LINK;
            entry.link = root.read_link(name)?.as_bytes().to_vec();
            entry.write(archive).map_err(written)?;
            Ok(Written::Bytes(0))
        }
        FileType::RegularFile => {
            let file = root.file(name, Links::None)?;
            write_file(entry, name, &file, &file.metadata()?, names, archive).map_err(written).map(Written::Bytes)
        }
        _ => Ok(Written::Bytes(0)),
    }
}

/// What fails once an entry is begun is no matter of things that are gone.
fn written(error: io::Error) -> io::Error {
    if is_gone(&error) { io::Error::other(error) } else { error }
}

fn write_file(
    mut entry: Entry,
    name: &Path,
    file: &File,
    found: &Metadata,
    names: &mut BTreeMap<(u64, u64), PathBuf>,
    archive: &mut impl Write,
) -> io::Result<u64> {
    entry.modified = u64::try_from(found.mtime()).unwrap_or(0);
    if found.nlink() > 1 {
        if let Some(first) = names.get(&(found.dev(), found.ino())) {
            entry.kind = SAME;
            entry.link = first.as_os_str().as_bytes().to_vec();
            entry.write(archive)?;
            return Ok(0);
        }
        names.insert((found.dev(), found.ino()), name.to_owned());
    }
    entry.kind = REGULAR;
    // As long as it is now: whoever writes to it meanwhile makes it neither longer nor shorter here.
    entry.bytes = found.len();
    entry.write(archive)?;
    let there = io::copy(&mut file.take(entry.bytes), archive)?;
    io::copy(&mut io::repeat(0).take(entry.bytes - there + padding(entry.bytes)), archive)?;
    Ok(entry.bytes)
}

// The way out.

/// Goes through an archive, whoever takes what is in it; says how many bytes its files have.
fn read<R: Read>(
    archive: &mut R,
    room: Room,
    mut take: impl FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
) -> io::Result<u64> {
    let (mut long_name, mut long_link, mut bytes, mut entries) = (None, None, 0_u64, 0_u64);
    while let Some(mut entry) = Entry::read(archive)? {
        match entry.kind {
            LONG_NAME => long_name = Some(word(archive, entry.bytes)?),
            LONG_LINK => long_link = Some(word(archive, entry.bytes)?),
            _ => {
                entry.name = long_name.take().unwrap_or(entry.name);
                entry.link = long_link.take().unwrap_or(entry.link);
                (bytes, entries) = (bytes.saturating_add(entry.bytes), entries + 1);
                room.check(bytes, entries)?;
                take(&entry, &mut *archive)?;
                skip(archive, padding(entry.bytes))?;
            }
        }
    }
    // What comes after the end is the check of the whole.
    if io::copy(&mut archive.take(AFTER_END_BYTES_MAX), &mut io::sink())? == AFTER_END_BYTES_MAX {
        return Err(broken("there is more after its end"));
    }
    Ok(bytes)
}

/// Makes one thing below the directory, where nothing is yet.
fn make(root: &Root, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
    let name = below(&entry.name)?;
    if name.as_os_str().is_empty() {
        return if entry.kind == DIRECTORY { Ok(()) } else { Err(broken("something in it has no name")) };
    }
    let failed = of(&name);
    if let Some(parent) = name.parent().filter(|_| entry.kind != DIRECTORY) {
        root.make(parent).map_err(failed)?;
    }
    match entry.kind {
        DIRECTORY => root.make(&name).map_err(failed),
        LINK => root.link(OsStr::from_bytes(&entry.link), &name).map_err(failed),
        SAME => root.name_also(&below(&entry.link)?, &name).map_err(failed),
        REGULAR | REGULAR_OF_OLD => {
            let file = root.create(&name).map_err(failed)?;
            fill(&file, content, entry.bytes)?;
            let modified = UNIX_EPOCH.checked_add(Duration::from_secs(entry.modified));
            file.set_modified(modified.ok_or_else(|| broken("a time is none"))?).map_err(failed)
        }
        kind => Err(broken(&format!("{} is of a kind ({}) that no volume holds", name.display(), char::from(kind)))),
    }
}

/// A name as a way down, and nowhere else.
fn below(name: &[u8]) -> io::Result<PathBuf> {
    let name = Path::new(OsStr::from_bytes(name));
    let parts: PathBuf = name.components().filter(|part| *part != Component::CurDir).collect();
    if parts.components().all(|part| matches!(part, Component::Normal(_))) && !name.as_os_str().as_bytes().contains(&0)
    {
        Ok(parts)
    } else {
        Err(broken(&format!("{} lies outside", name.display())))
    }
}

/// Fills a new file, and leaves holes where there is nothing.
fn fill(file: &File, content: &mut dyn Read, bytes: u64) -> io::Result<()> {
    let (mut chunk, mut at) = (vec![0; CHUNK], 0_u64);
    while at < bytes {
        let most = usize::try_from(bytes - at).map_or(CHUNK, |left| left.min(CHUNK));
        let part = &mut chunk[..most];
        content.read_exact(part).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => broken("it is cut off"),
            _ => error,
        })?;
        if part.iter().any(|byte| *byte != 0) {
            file.write_all_at(part, at)?;
        }
        at += most as u64;
    }
    file.set_len(bytes)
}

// === impl Room ===

impl Room {
    /// The room of a volume.
    pub(crate) fn of(bytes_max: u64) -> Self {
        Self { bytes_max, entries_max: (bytes_max / ENTRY_BYTES).max(ENTRIES_MIN) }
    }

    fn check(self, bytes: u64, entries: u64) -> io::Result<()> {
        let full = |message| Err(io::Error::new(io::ErrorKind::StorageFull, message));
        if bytes > self.bytes_max {
            return full(format!("it holds more than the {} bytes that the volume has", self.bytes_max));
        }
        if entries > self.entries_max {
            return full(format!("it holds more than the {} files that the volume may have", self.entries_max));
        }
        Ok(())
    }
}
