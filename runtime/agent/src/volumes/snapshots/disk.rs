//! What is done on the disk for snapshots: all of it, or nothing that anybody finds.
//!
//! What is being made has a name that nothing else has, and gets its own when all of it is safe on the disk. What a node that was
//! killed left behind under such a name is removed when it starts.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::snapshots::{Handle, Origin};
use sha2::{Digest, Sha256};

use crate::beneath::Root;
use crate::volumes::archive::{self, Room};
use crate::volumes::claims;

/// Where archives and volumes of a node lie.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) archives: PathBuf,
    pub(super) volumes: PathBuf,
    /// Whether the node ends: what is half done is given up.
    pub(super) ends: Arc<AtomicBool>,
}

/// Reads or writes until the node ends.
struct Until<'a, T>(T, &'a AtomicBool);

/// Adds up what is read.
struct Hashed<T>(T, Sha256);

/// The end of names of what is not whole.
pub(super) const NEXT: &str = ".next";

// === impl Places ===

impl Places {
    /// Removes what an earlier life of the node had not finished.
    pub(super) fn sweep(&self) -> io::Result<()> {
        for directory in [&self.archives, &self.volumes] {
            let entries = match std::fs::read_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let is_ours =
                    entry.file_name().to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(NEXT));
                if !is_ours {
                    continue;
                }
                if entry.file_type()?.is_dir() {
                    std::fs::remove_dir_all(entry.path())?;
                } else {
                    std::fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Makes an archive of a volume: its SHA-256, and how many bytes a volume made from it has to hold.
    pub(super) fn take(&self, name: &str, volume: &Path) -> io::Result<(String, u64)> {
        std::fs::create_dir_all(&self.archives)?;
        let (next, path) = (self.archives.join(format!(".{name}{NEXT}")), self.archive(name));
        let made = self.take_into(&next, volume).and_then(|made| std::fs::rename(&next, &path).map(|()| made));
        if made.is_err() {
            gone(std::fs::remove_file(&next))?;
        }
        File::open(&self.archives)?.sync_all()?;
        made
    }

    fn take_into(&self, next: &Path, volume: &Path) -> io::Result<(String, u64)> {
        let root = self.volume(volume)?;
        let file = File::create(next)?;
        let bytes = archive::pack(&root, Until(BufWriter::new(&file), &self.ends))?;
        file.sync_all()?;
        Ok((archive::hash(&mut Until(File::open(next)?, &self.ends))?, bytes))
    }

    /// Looks at an archive that is there already: how many bytes a volume made from it has to hold, and since when it is.
    pub(super) fn find(&self, handle: &Handle) -> io::Result<(u64, std::time::SystemTime)> {
        let file = self.checked(handle)?;
        let modified = file.metadata()?.modified()?;
        Ok((archive::measure(Until(file, &self.ends))?, modified))
    }

    /// Removes an archive.
    pub(super) fn forget(&self, name: &str) -> io::Result<()> {
        gone(std::fs::remove_file(self.archive(name)))
    }

    /// Makes a volume: all of it, or nothing.
    pub(super) fn fill(&self, directory: &Path, origin: &Origin, room: Room) -> io::Result<()> {
        self.make(directory, |root| self.fill_into(root, origin, room))
    }

    /// Makes a volume of an archive that comes from elsewhere and is to have this SHA-256: all of it, or nothing.
    ///
    /// It has the room that it takes: what is packed while guests write may be more than they ever had at one moment.
    pub(super) fn receive(&self, directory: &Path, from: impl Read, hash: &str) -> io::Result<()> {
        self.make(directory, |root| {
            let mut hashed = Hashed(Until(from, &self.ends), Sha256::new());
            archive::unpack(&mut hashed, root, Room { bytes_max: u64::MAX, entries_max: u64::MAX })?;
            io::copy(&mut hashed, &mut io::sink())?;
            let found = hex::encode(hashed.1.finalize());
            if found == hash {
                return Ok(());
            }
            let message = format!("what came is not what was kept: its SHA-256 is {found}");
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        })
    }

    fn make(&self, directory: &Path, fill: impl FnOnce(&Root) -> io::Result<()>) -> io::Result<()> {
        let (next, to) = (self.next(directory), self.volumes.join(directory));
        gone(std::fs::remove_dir_all(&next))?;
        // It has its name only when all is there: then that was not told yet.
        if to.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(&next)?;
        let filled = Root::open(&next).and_then(|root| fill(&root)).and_then(|()| {
            rustix::fs::syncfs(File::open(&next)?)?;
            std::fs::rename(&next, &to)
        });
        if filled.is_err() {
            gone(std::fs::remove_dir_all(&next))?;
        }
        File::open(&self.volumes)?.sync_all()?;
        filled
    }

    fn fill_into(&self, root: &Root, origin: &Origin, room: Room) -> io::Result<()> {
        match origin {
            Origin::Archive(handle) => archive::unpack(Until(self.checked(handle)?, &self.ends), root, room),
            Origin::Volume(name) => {
                let none =
                    || io::Error::new(io::ErrorKind::InvalidInput, format!("\"{name}\" is no volume of this node"));
                archive::copy(&self.volume(&claims::directory(name).ok_or_else(none)?)?, root, room)
            }
            Origin::Backup(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "what a backup held is brought")),
        }
    }

    /// Removes a volume that nobody is to have.
    pub(super) fn abandon(&self, directory: &Path) -> io::Result<()> {
        gone(std::fs::remove_dir_all(self.next(directory)))?;
        gone(std::fs::remove_dir_all(self.volumes.join(directory)))
    }

    fn next(&self, directory: &Path) -> PathBuf {
        self.volumes.join(format!(".{}{NEXT}", directory.display()))
    }

    fn archive(&self, name: &str) -> PathBuf {
        self.archives.join(format!("{name}.tar.gz"))
    }

    /// The files of a volume. One that no pod has used yet has none.
    pub(super) fn volume(&self, directory: &Path) -> io::Result<Root> {
        let path = self.volumes.join(directory);
        std::fs::create_dir_all(&path)?;
        Root::open(&path)
    }

    /// An archive that is what its handle says.
    fn checked(&self, handle: &Handle) -> io::Result<File> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("the archive {}: {error}", handle.name));
        let open = || File::open(self.archive(&handle.name)).map_err(named);
        let found = archive::hash(&mut Until(open()?, &self.ends))?;
        if found == handle.hash {
            return open();
        }
        let message = format!("the archive {} is not what it was: its SHA-256 is {found}", handle.name);
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

// === impl Hashed ===

impl<T: Read> Read for Hashed<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.update(&buffer[..count]);
        Ok(count)
    }
}

// === impl Until ===

impl<T> Until<'_, T> {
    fn check(&self) -> io::Result<()> {
        if self.1.load(Ordering::Relaxed) { Err(io::Error::other("the node ends")) } else { Ok(()) }
    }
}

impl<T: Read> Read for Until<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.0.read(buffer)
    }
}

impl<T: Write> Write for Until<'_, T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn places(folder: &Path) -> Places {
        let places = Places { archives: folder.join("a"), volumes: folder.join("v"), ends: Arc::default() };
        std::fs::create_dir_all(places.volumes.join("old")).expect("made");
        std::fs::write(places.volumes.join("old/file"), "one").expect("written");
        places
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn handle(hash: &str) -> Origin {
        Origin::Archive(Handle { node: "n1".into(), name: "kept".into(), hash: hash.into() })
    }

    #[test]
    fn a_volume_is_made_of_what_was_kept_and_not_of_anything_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = places(folder.path());
        let (hash, bytes) = places.take("kept", Path::new("old")).expect("taken");
        assert_eq!((bytes, names(&places.archives)), (3, vec!["kept.tar.gz".to_owned()]));
        std::fs::write(places.volumes.join("old/file"), "two").expect("written");
        let fill = |to: &str, origin: &Origin, room: u64| {
            let filled = places.fill(Path::new(to), origin, Room::of(room)).map_err(|error| error.to_string());
            filled.and_then(|()| {
                std::fs::read_to_string(places.volumes.join(to).join("file")).map_err(|it| it.to_string())
            })
        };
        assert_eq!(fill("new", &handle(&hash), 3), Ok("one".into()));
        assert_eq!(fill("copy", &Origin::Volume("old".into()), 3), Ok("two".into()));
        let refused = |origin: &Origin, room: u64| fill("bad", origin, room).expect_err("refused");
        assert_eq!(refused(&handle(&hash), 2), "it holds more than the 2 bytes that the volume has");
        assert_eq!(refused(&Origin::Volume("old".into()), 2), "it holds more than the 2 bytes that the volume has");
        assert!(refused(&handle(HASH), 3).contains("is not what it was"));
        assert!(refused(&Origin::Volume("../a".into()), 3).contains("is no volume of this node"));
        assert_eq!(names(&places.volumes), ["copy", "new", "old"]);
        places.forget("kept").expect("removed");
        places.forget("kept").expect("is no more");
        assert!(refused(&handle(&hash), 3).contains("the archive kept: "));
    }

    #[test]
    fn what_is_brought_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = places(folder.path());
        let (hash, _) = places.take("kept", Path::new("old")).expect("taken");
        let packed = std::fs::read(places.archives.join("kept.tar.gz")).expect("an archive");
        let mut broken = packed.clone();
        broken[packed.len() / 2] ^= 1;
        let mut longer = packed.clone();
        longer.push(0);
        for (bytes, hash) in
            [(&packed[..packed.len() - 1], &*hash), (&broken, &hash), (&longer, &hash), (&packed, HASH)]
        {
            assert!(places.receive(Path::new("new"), bytes, hash).is_err());
            assert_eq!(names(&places.volumes), ["old"]);
        }
        // As a node that was killed leaves it.
        std::fs::create_dir_all(places.volumes.join(".new.next/half")).expect("made");
        places.receive(Path::new("new"), packed.as_slice(), &hash).expect("brought");
        assert_eq!(names(&places.volumes.join("new")), ["file"]);
        assert_eq!(names(&places.volumes), ["new", "old"]);
    }

    /// As after `kill -9`: what was not whole is gone, what was whole and not told is kept as it is.
    #[test]
    fn what_was_half_done_is_done_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = places(folder.path());
        let (hash, _) = places.take("kept", Path::new("old")).expect("taken");
        std::fs::write(places.archives.join(".other.next"), "half").expect("written");
        std::fs::create_dir_all(places.volumes.join(".new.next/deep")).expect("made");
        places.sweep().expect("swept");
        assert_eq!((names(&places.archives), names(&places.volumes)), (vec!["kept.tar.gz".into()], vec!["old".into()]));
        places.fill(Path::new("new"), &handle(&hash), Room::of(9)).expect("filled");
        std::fs::write(places.volumes.join("new/file"), "mine").expect("written");
        places.fill(Path::new("new"), &handle(&hash), Room::of(9)).expect("it is there");
        assert_eq!(std::fs::read_to_string(places.volumes.join("new/file")).expect("read"), "mine");
    }

    #[test]
    fn a_node_that_ends_leaves_nothing_half_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = places(folder.path());
        let (hash, _) = places.take("kept", Path::new("old")).expect("taken");
        places.ends.store(true, Ordering::Relaxed);
        assert!(places.take("more", Path::new("old")).is_err());
        assert!(places.fill(Path::new("new"), &handle(&hash), Room::of(9)).is_err());
        assert_eq!((names(&places.archives), names(&places.volumes)), (vec!["kept.tar.gz".into()], vec!["old".into()]));
    }
}
