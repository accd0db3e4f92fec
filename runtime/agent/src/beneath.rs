//! Reaching what lies in a directory that guests write to, and nothing else.
//!
//! A guest may put a link where a directory was at any moment, also between a look and what is done after it. So nothing below such
//! a directory is reached by a path that was looked at before: each name is resolved in one step by the kernel, which is told not to
//! leave the directory (`openat2(2)` with `RESOLVE_BENEATH`), and what was opened is what is then worked with. A kernel that does not
//! know that (before Linux 5.6) follows no links below it at all.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// The directory.
pub(crate) struct Root(OwnedFd);

/// Which links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Those that stay within the directory.
    Within,
    /// None.
    None,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::RDONLY);
/// Whatever it is, it is not waited for.
const FILE: OFlags = OFlags::CLOEXEC.union(OFlags::RDONLY).union(OFlags::NONBLOCK);
/// The kernel gives up where directories move while it looks; it does so by chance, and not so often in a row.
const ATTEMPTS_MAX: usize = 64;

// === impl Root ===

impl Root {
    /// The directory at a path that no guest has a hand in.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(fs::openat(fs::CWD, path, DIRECTORY, Mode::empty())?))
    }

    /// A directory below, or this one, which has the empty name.
    pub(crate) fn directory(&self, name: &Path, links: Links) -> io::Result<OwnedFd> {
        self.resolve(name, DIRECTORY, links)
    }

    /// A directory or a file below, to be read.
    pub(crate) fn any(&self, name: &Path, links: Links) -> io::Result<File> {
        Ok(self.resolve(name, FILE, links)?.into())
    }

    /// A file below, to be read.
    pub(crate) fn file(&self, name: &Path, links: Links) -> io::Result<File> {
        let file = self.any(name, links)?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"))
        }
    }

    /// What a name is; a link is a link.
    pub(crate) fn stat(&self, name: &Path) -> io::Result<Stat> {
        let (parent, last) = self.parent(name)?;
        Ok(fs::statat(parent, last, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// What is in a directory.
    pub(crate) fn list(&self, name: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::new(self.directory(name, Links::None)?)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Makes a file where nothing is.
    pub(crate) fn create(&self, name: &Path) -> io::Result<File> {
        let (parent, last) = self.parent(name)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(fs::openat(parent, last, flags, Mode::from_raw_mode(0o644))?.into())
    }

    /// Where a link leads, which nobody follows.
    pub(crate) fn read_link(&self, name: &Path) -> io::Result<OsString> {
        let (parent, last) = self.parent(name)?;
        Ok(OsString::from_vec(fs::readlinkat(parent, last, Vec::new())?.into_bytes()))
    }

    /// A new link that leads there.
    pub(crate) fn link(&self, there: &OsStr, name: &Path) -> io::Result<()> {
        let (parent, last) = self.parent(name)?;
        Ok(fs::symlinkat(there, parent, last)?)
    }

    /// A new name beside the one that a file has.
    pub(crate) fn name_also(&self, file: &Path, name: &Path) -> io::Result<()> {
        let ((old_parent, old), (new_parent, new)) = (self.parent(file)?, self.parent(name)?);
        Ok(fs::linkat(old_parent, old, new_parent, new, AtFlags::empty())?)
    }

    /// Makes the directory and all on the way to it that are not there.
    pub(crate) fn make(&self, name: &Path) -> io::Result<()> {
        let mut made = self.0.try_clone()?;
        for step in steps(name)? {
            match fs::mkdirat(&made, step, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            made = fs::openat(&made, step, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(())
    }

    /// Gives this name to what lies at a path that no guest has a hand in.
    pub(crate) fn take(&self, from: &Path, name: &Path) -> io::Result<()> {
        let (parent, last) = self.parent(name)?;
        Ok(fs::renameat(fs::CWD, from, parent, last)?)
    }

    /// Gives what has one name another.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((old_parent, old), (new_parent, new)) = (self.parent(from)?, self.parent(to)?);
        Ok(fs::renameat(old_parent, old, new_parent, new)?)
    }

    pub(crate) fn remove_file(&self, name: &Path) -> io::Result<()> {
        let (parent, last) = self.parent(name)?;
        Ok(fs::unlinkat(parent, last, AtFlags::empty())?)
    }

    /// Removes a directory with nothing in it.
    pub(crate) fn remove_directory(&self, name: &Path) -> io::Result<()> {
        let (parent, last) = self.parent(name)?;
        Ok(fs::unlinkat(parent, last, AtFlags::REMOVEDIR)?)
    }

    /// The directory that something is in, and what it is called there.
    fn parent<'a>(&self, name: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let last = name.file_name().ok_or(Errno::INVAL)?;
        Ok((self.directory(name.parent().unwrap_or(Path::new("")), Links::None)?, last))
    }

    fn resolve(&self, name: &Path, flags: OFlags, links: Links) -> io::Result<OwnedFd> {
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let how = if links == Links::None { within | ResolveFlags::NO_SYMLINKS } else { within };
        let asked = if name.as_os_str().is_empty() { Path::new(".") } else { name };
        for _ in 0..ATTEMPTS_MAX {
            match fs::openat2(&self.0, asked, flags, Mode::empty(), how) {
                Err(Errno::AGAIN) => {}
                // What filters calls may say so of those that it does not know.
                Err(Errno::NOSYS | Errno::PERM) => return walk(self.0.as_fd(), name, flags),
                resolved => return Ok(resolved?),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

/// The same without the kernel's help, and without any links.
fn walk(root: impl AsFd, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut at = fs::openat(root, ".", DIRECTORY, Mode::empty())?;
    let steps = steps(name)?;
    let Some((last, way)) = steps.split_last() else { return Ok(at) };
    for step in way {
        at = fs::openat(&at, *step, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(fs::openat(at, *last, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

/// The steps of a way down.
fn steps(name: &Path) -> io::Result<Vec<&OsStr>> {
    let step = |component| match component {
        Component::Normal(step) => Some(Ok(step)),
        Component::CurDir => None,
        _ => Some(Err(Errno::XDEV.into())),
    };
    name.components().filter_map(step).collect()
}

/// What kind of thing was found.
pub(crate) fn kind(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    /// What a file is read to hold, or that it is not reached, by both ways.
    fn check(name: &str, links: Links, expected: Option<&str>) {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("volume");
        std::fs::create_dir_all(root.join("a/b")).expect("made");
        std::fs::write(folder.path().join("secret"), "secret").expect("written");
        std::fs::write(root.join("a/b/file"), "text").expect("written");
        symlink("../secret", root.join("out")).expect("linked");
        symlink("../..", root.join("a/up")).expect("linked");
        symlink("a", root.join("in")).expect("linked");
        symlink("/etc/passwd", root.join("far")).expect("linked");
        let root = Root::open(&root).expect("a directory");
        let read = |file: io::Result<File>| {
            let mut text = String::new();
            file.and_then(|mut file| file.read_to_string(&mut text)).ok().map(|_| text)
        };
        assert_eq!(read(root.file(Path::new(name), links)).as_deref(), expected, "{name}");
        if links == Links::None {
            let walked = walk(&root.0, Path::new(name), FILE).map(File::from);
            assert_eq!(read(walked).as_deref(), expected, "{name}, step by step");
        }
    }

    #[test]
    fn nothing_outside_is_reached() {
        for links in [Links::Within, Links::None] {
            check("a/b/file", links, Some("text"));
            for name in ["out", "a/up/secret", "far", "../secret", "a/../../secret", "/etc/passwd"] {
                check(name, links, None);
            }
        }
        check("in/b/file", Links::Within, Some("text"));
        check("in/b/file", Links::None, None);
    }

    #[test]
    fn nothing_outside_is_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (volume, outside) = (folder.path().join("volume"), folder.path().join("outside"));
        for directory in [&volume, &outside] {
            std::fs::create_dir_all(directory).expect("made");
        }
        std::fs::write(outside.join("kept"), "kept").expect("written");
        std::fs::write(folder.path().join("new"), "new").expect("written");
        symlink("../outside", volume.join("link")).expect("linked");
        let root = Root::open(&volume).expect("a directory");
        let inner = |name: &str| Path::new("link").join(name);
        assert!(root.make(&inner("made")).is_err());
        assert!(root.take(&folder.path().join("new"), &inner("kept")).is_err());
        assert!(root.remove_file(&inner("kept")).is_err());
        assert!(root.create(&inner("made")).is_err() && root.create(Path::new("link")).is_err());
        assert!(root.link(OsStr::new("x"), &inner("made")).is_err());
        assert!(root.name_also(&inner("kept"), Path::new("mine")).is_err());
        assert!(root.read_link(&inner("kept")).is_err());
        assert!(root.stat(&inner("kept")).is_err() && root.list(Path::new("link")).is_err());
        assert_eq!(std::fs::read_to_string(outside.join("kept")).expect("there"), "kept");
        assert_eq!(std::fs::read_dir(&outside).expect("a directory").count(), 1);
        assert_eq!(root.read_link(Path::new("link")).expect("a link"), "../outside");
        root.make(Path::new("a/b")).expect("made");
        root.take(&folder.path().join("new"), Path::new("a/b/new")).expect("moved");
        root.rename(Path::new("a/b/new"), Path::new("a/new")).expect("moved");
        assert_eq!(root.list(Path::new("a")).expect("listed").len(), 2);
        root.remove_directory(Path::new("a/b")).expect("removed");
        root.remove_file(Path::new("a/new")).expect("removed");
        assert_eq!(kind(&root.stat(Path::new("link")).expect("there")), FileType::Symlink);
    }
}
