//! A directory of containers.
//!
//! Every step of a path is opened by itself and no link is followed, so whatever a guest has put into the volume, nothing outside it
//! is reached.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode as Bits, OFlags};

use crate::quota::Quota;
use crate::spec::{Folder, Mode, Mount};

/// Where the containers are.
#[derive(Clone)]
pub(super) struct Shelf {
    root: Folder,
    mode: Mode,
    quota: Option<Quota>,
}

/// A file that is being written, to become an object; without becoming one it vanishes.
pub(super) struct Staged {
    shelf: Shelf,
    root: OwnedFd,
    name: String,
    file: File,
    is_placed: bool,
}

/// A container and an object.
type Place<'a> = (&'a str, &'a str);

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::RDONLY).union(OFlags::NONBLOCK);
const NEW: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::CLOEXEC).union(OFlags::WRONLY);

/// As long as file systems let a name be.
const NAME_BYTES_MAX: usize = 255;
/// What is being written lies beside the containers under such names, which no container has.
const STAGED: &str = ".coracle-upload-";
/// Whoever has more lists the volume's directories.
const NAMES_MAX: usize = 100_000;
/// A directory on the way may go while an object is put into it, when the last other one is deleted.
const ATTEMPTS_MAX: u32 = 8;

// === impl Shelf ===

impl Shelf {
    pub(super) fn new(mount: &Mount) -> Self {
        Self { root: mount.host.clone(), mode: mount.mode, quota: mount.quota.clone() }
    }

    fn root(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(fs::openat(fs::CWD, self.root.path(), flags, Bits::empty())?)
    }

    /// The directory of a container.
    fn container(&self, name: &str) -> io::Result<OwnedFd> {
        let opened = fs::openat(self.root()?, container_name(name)?, DIRECTORY, Bits::empty());
        opened.map_err(|error| blamed(error.into(), "container", name))
    }

    fn expect_room_for_change(&self) -> io::Result<()> {
        match self.mode {
            Mode::ReadWrite => Ok(()),
            Mode::ReadOnly => Err(io::Error::other("the volume is mounted read-only")),
        }
    }

    pub(super) fn expect_writable(&self, container: &str, object: &str) -> io::Result<()> {
        self.expect_room_for_change()?;
        segments(object)?;
        self.container(container).map(drop)
    }

    pub(super) fn create(&self, name: &str) -> io::Result<()> {
        self.expect_room_for_change()?;
        let root = self.root()?;
        let made = fs::mkdirat(&root, container_name(name)?, Bits::from_raw_mode(0o777));
        made.map_err(|error| blamed(error.into(), "container", name))?;
        Ok(fs::fsync(&root)?)
    }

    /// When a container was made.
    pub(super) fn created_at(&self, name: &str) -> io::Result<u64> {
        created_at(&File::from(self.container(name)?))
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.clear(name)?;
        let root = self.root()?;
        let gone = fs::unlinkat(&root, container_name(name)?, AtFlags::REMOVEDIR);
        gone.map_err(|error| blamed(error.into(), "container", name))?;
        Ok(fs::fsync(&root)?)
    }

    pub(super) fn clear(&self, name: &str) -> io::Result<()> {
        self.expect_room_for_change()?;
        empty(self.container(name)?.as_fd())?;
        self.freed();
        Ok(())
    }

    /// The names of all objects of a container, in order.
    pub(super) fn objects(&self, container: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        collect(self.container(container)?.as_fd(), "", &mut names)?;
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn open(&self, container: &str, object: &str) -> io::Result<File> {
        let (path, last) = segments(object)?;
        let not_found = |error: io::Error| blamed(error, "object", object);
        let directory = walk(self.container(container)?, &path, Missing::Stays).map_err(not_found)?;
        let file =
            File::from(fs::openat(&directory, last, FILE, Bits::empty()).map_err(io::Error::from).map_err(not_found)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(not_found(io::ErrorKind::NotFound.into())) }
    }

    pub(super) fn remove_object(&self, container: &str, object: &str) -> io::Result<()> {
        self.expect_room_for_change()?;
        if !is_there(self.open(container, object))? {
            return self.container(container).map(drop);
        }
        let (path, last) = segments(object)?;
        let directory = walk(self.container(container)?, &path, Missing::Stays)?;
        match fs::unlinkat(&directory, last, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(blamed(error.into(), "object", object)),
        }
        fs::fsync(&directory)?;
        self.freed();
        // A directory that was there for this object alone is in the way of one of its own name.
        for depth in (1..=path.len()).rev() {
            let (name, above) = (path[depth - 1], &path[..depth - 1]);
            let above = walk(self.container(container)?, above, Missing::Stays)?;
            if fs::unlinkat(&above, name, AtFlags::REMOVEDIR).is_err() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn copy(&self, from: Place<'_>, to: Place<'_>) -> io::Result<()> {
        self.expect_writable(to.0, to.1)?;
        let mut from = self.open(from.0, from.1)?;
        let mut staged = self.stage()?;
        io::copy(&mut from, &mut staged)?;
        staged.place(to.0, to.1)
    }

    pub(super) fn rename(&self, from: Place<'_>, to: Place<'_>) -> io::Result<()> {
        self.expect_writable(to.0, to.1)?;
        self.open(from.0, from.1)?;
        let (path, last) = segments(from.1)?;
        let directory = walk(self.container(from.0)?, &path, Missing::Stays)?;
        self.put(directory.as_fd(), last, to)?;
        Ok(fs::fsync(&directory)?)
    }

    /// A new file beside the containers.
    pub(super) fn stage(&self) -> io::Result<Staged> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        self.expect_room_for_change()?;
        let root = self.root()?;
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{STAGED}{process}-{count}-{since}");
        let file = File::from(fs::openat(&root, &name, NEW, Bits::from_raw_mode(0o666))?);
        Ok(Staged { shelf: self.clone(), root, name, file, is_placed: false })
    }

    /// Moves a file to where an object is to be.
    fn put(&self, from: BorrowedFd<'_>, name: &str, (container, object): Place<'_>) -> io::Result<()> {
        let (path, last) = segments(object)?;
        let mut attempt = 0;
        loop {
            let moved = walk(self.container(container)?, &path, Missing::IsMade).and_then(|directory| {
                fs::renameat(from, name, &directory, last)?;
                Ok(fs::fsync(&directory)?)
            });
            attempt += 1;
            match moved {
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS_MAX => {}
                moved => break moved.map_err(|error| blamed(error, "object", object)),
            }
        }?;
        self.freed();
        Ok(())
    }

    fn freed(&self) {
        if let Some(quota) = &self.quota {
            quota.taken_away();
        }
    }
}

// === impl Staged ===

impl Staged {
    /// Makes it an object, which is on the disk then.
    pub(super) fn place(mut self, container: &str, object: &str) -> io::Result<()> {
        self.file.sync_all()?;
        self.shelf.put(self.root.as_fd(), &self.name, (container, object))?;
        self.is_placed = true;
        Ok(())
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(quota) = &self.shelf.quota {
            quota.take(bytes.len() as u64)?;
        }
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_placed {
            // It is nobody's; what cannot be removed now is in nobody's way.
            let _ = fs::unlinkat(&self.root, &self.name, AtFlags::empty());
            self.shelf.freed();
        }
    }
}

/// What becomes of a directory on the way that is not there.
#[derive(Clone, Copy)]
enum Missing {
    Stays,
    IsMade,
}

fn walk(from: OwnedFd, path: &[&str], missing: Missing) -> io::Result<OwnedFd> {
    path.iter().try_fold(from, |directory, segment| {
        if let Missing::IsMade = missing {
            match fs::mkdirat(&directory, *segment, Bits::from_raw_mode(0o777)) {
                Ok(()) => fs::fsync(&directory)?,
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(fs::openat(&directory, *segment, DIRECTORY, Bits::empty())?)
    })
}

/// What is in a directory: names, and what is a directory itself.
fn entries(directory: BorrowedFd<'_>) -> io::Result<Vec<(String, Option<OwnedFd>)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_str().map_err(io::Error::other)?.to_owned();
        if name == "." || name == ".." {
            continue;
        }
        let inner = match entry.file_type() {
            FileType::Directory | FileType::Unknown => fs::openat(directory, &name, DIRECTORY, Bits::empty()).ok(),
            _ => None,
        };
        found.push((name, inner));
    }
    Ok(found)
}

fn empty(directory: BorrowedFd<'_>) -> io::Result<()> {
    for (name, inner) in entries(directory)? {
        let flags = match inner {
            Some(inner) => {
                empty(inner.as_fd())?;
                AtFlags::REMOVEDIR
            }
            None => AtFlags::empty(),
        };
        match fs::unlinkat(directory, &name, flags) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(fs::fsync(directory)?)
}

fn collect(directory: BorrowedFd<'_>, above: &str, names: &mut Vec<String>) -> io::Result<()> {
    for (name, inner) in entries(directory)? {
        let name = format!("{above}{name}");
        match inner {
            Some(inner) => collect(inner.as_fd(), &format!("{name}/"), names)?,
            None if names.len() == NAMES_MAX => {
                return Err(io::Error::other(format!("the container has more than {NAMES_MAX} objects")));
            }
            None => names.push(name),
        }
    }
    Ok(())
}

fn container_name(name: &str) -> io::Result<&str> {
    if is_file_name(name) && !name.starts_with(STAGED) {
        return Ok(name);
    }
    Err(io::Error::other(format!("{name:?} cannot be the name of a container: a container is a directory of a volume")))
}

/// The directories on the way to an object, and its own name.
fn segments(object: &str) -> io::Result<(Vec<&str>, &str)> {
    let mut path: Vec<&str> = object.split('/').collect();
    if path.iter().all(|segment| is_file_name(segment))
        && let Some(last) = path.pop()
    {
        return Ok((path, last));
    }
    Err(io::Error::other(format!("{object:?} cannot be the name of an object: an object is a file of a volume")))
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && !name.contains(['/', '\0'])
}

/// In the words of who knows the thing by its name.
fn blamed(error: io::Error, what: &str, name: &str) -> io::Error {
    use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound};
    let why = match error.kind() {
        // A link where a directory or a file should be is none of ours.
        NotFound | NotADirectory if what == "container" => "does not exist",
        NotFound => "does not exist",
        AlreadyExists => "exists already",
        IsADirectory | NotADirectory => "cannot be: an object and the beginning of another's name are the same",
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => "is a link",
        kind => return io::Error::new(kind, format!("{what} {name}: {error}")),
    };
    io::Error::new(error.kind(), format!("{what} {name} {why}"))
}

/// Whether something was found, where not finding it is no failure.
pub(super) fn is_there<T>(found: io::Result<T>) -> io::Result<bool> {
    match found {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

fn created_at(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    Ok(seconds(metadata.created().or_else(|_| metadata.modified())?))
}

/// When a file got what is in it: an object is never changed, only replaced.
pub(super) fn changed_at(file: &File) -> io::Result<u64> {
    Ok(seconds(file.metadata()?.modified()?))
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn shelf(quota: Option<u64>) -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().expect("a folder");
        let quota = quota.map(|bytes| Quota::new(folder.path().to_owned(), bytes));
        let mount = Mount { host: Folder::at(folder.path()), guest: "/data".into(), mode: Mode::ReadWrite, quota };
        let shelf = Shelf::new(&mount);
        shelf.create("box").expect("it is made");
        (folder, shelf)
    }

    fn write(shelf: &Shelf, object: &str, text: &str) -> io::Result<()> {
        let mut staged = shelf.stage()?;
        staged.write_all(text.as_bytes())?;
        staged.place("box", object)
    }

    fn read(shelf: &Shelf, object: &str) -> Result<String, String> {
        let mut text = String::new();
        let file = shelf.open("box", object).map_err(|error| error.to_string());
        file?.read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[test]
    fn an_object_is_a_file_of_the_volume() {
        let (folder, shelf) = shelf(None);
        write(&shelf, "a/b.txt", "one").expect("written");
        write(&shelf, "c", "two").expect("written");
        assert_eq!(std::fs::read_to_string(folder.path().join("box/a/b.txt")).expect("there"), "one");
        assert_eq!(shelf.objects("box").expect("listed"), ["a/b.txt", "c"]);
        shelf.copy(("box", "c"), ("box", "a/d")).expect("copied");
        shelf.rename(("box", "a/b.txt"), ("box", "c")).expect("moved");
        assert_eq!(shelf.objects("box").expect("listed"), ["a/d", "c"]);
        assert_eq!((read(&shelf, "c"), read(&shelf, "a/d")), (Ok("one".into()), Ok("two".into())));
        shelf.remove_object("box", "a/d").expect("deleted");
        shelf.remove_object("box", "a/d").expect("deleted again");
        write(&shelf, "a", "the directory is out of the way").expect("written");
        shelf.remove("box").expect("removed");
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0);
    }

    #[test]
    fn what_is_not_finished_is_nowhere() {
        let (folder, shelf) = shelf(None);
        let mut staged = shelf.stage().expect("begun");
        staged.write_all(b"half").expect("written");
        drop(staged);
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 1);
    }

    #[test]
    fn nothing_leads_out_of_the_volume() {
        let (folder, shelf) = shelf(None);
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("secret"), "s").expect("written");
        std::os::unix::fs::symlink(outside.path(), folder.path().join("box/link")).expect("linked");
        std::os::unix::fs::symlink(outside.path(), folder.path().join("away")).expect("linked");
        assert!(read(&shelf, "link/secret").is_err() && write(&shelf, "link/new", "n").is_err());
        assert!(shelf.objects("away").is_err());
        for name in ["..", "../box", "", "a//b", "/a", "a/", "a/./b", "a\0b"] {
            assert!(read(&shelf, name).is_err_and(|why| why.contains("cannot be the name")), "{name:?}");
        }
        shelf.clear("box").expect("cleared");
        assert!(outside.path().join("secret").exists());
    }

    #[test]
    fn refusals_say_what_and_why() {
        let (_folder, shelf) = shelf(Some(10));
        let check = |done: io::Result<()>, expect: &str| {
            assert_eq!(done.expect_err("refused").to_string(), expect);
        };
        check(shelf.create("box"), "container box exists already");
        check(shelf.clear("none"), "container none does not exist");
        check(shelf.open("box", "none").map(drop), "object none does not exist");
        check(write(&shelf, "large", "eleven bytes"), "No space left on device (os error 28)");
        assert_eq!(shelf.objects("box").expect("listed"), Vec::<String>::new());
        write(&shelf, "small", "few").expect("there is room");
        assert!(is_there(shelf.open("box", "small")).expect("asked"));
        let closed = Shelf { mode: Mode::ReadOnly, ..shelf };
        check(closed.create("other"), "the volume is mounted read-only");
    }
}
