//! The data directory: what is where in it, and who holds it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::FlockOperation;

/// A data directory that this process alone uses until it ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Held, not read: the lock ends with it.
    _lock: File,
}

/// The file that is locked by whoever has the directory.
const LOCK: &str = "lock";
/// The file that says how all others are laid out and what is in them, where they do not say that themselves.
const LAYOUT: &str = "layout";
/// The one that this version writes. Where nothing is said it is the first; a newer one is refused.
const LAYOUT_NOW: u32 = 1;
/// The file that is there while the directory is being filled.
const FILLING: &str = "restoring";

/// Where data is kept when nobody says: `$XDG_DATA_HOME/coracle`, or `/var/lib/coracle` for root.
pub(crate) fn default_path() -> anyhow::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/coracle".into());
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let share = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    Ok(share.context("neither XDG_DATA_HOME nor HOME is set; say where to keep data with --data-dir")?.join("coracle"))
}

/// The path given, or the default one.
pub(crate) fn path(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(given) => Ok(given.to_owned()),
        None => default_path(),
    }
}

impl DataDir {
    /// Makes the directory if need be and takes it for this process.
    pub(crate) fn take(path: PathBuf) -> anyhow::Result<Self> {
        let data = Self::lock(path)?;
        data.agree_on_layout()?;
        if data.join(FILLING).exists() {
            let path = data.path.display();
            bail!("a restore to {path} was broken off; remove what is in it, and restore again");
        }
        Ok(data)
    }

    /// Takes a directory in which there is nothing yet, to fill it. Until it is [filled](Self::filled) nobody takes it for data.
    pub(crate) fn take_empty(path: PathBuf) -> anyhow::Result<Self> {
        if !is_empty(&path)? {
            bail!("{} is not empty; restore to a directory of its own, with --data-dir", path.display());
        }
        let data = Self::lock(path)?;
        write(&data.join(FILLING), "")?;
        data.agree_on_layout()?;
        Ok(data)
    }

    /// Everything is there.
    pub(crate) fn filled(&self) -> anyhow::Result<()> {
        let filling = self.join(FILLING);
        // The names of files as well, in whichever folder.
        rustix::fs::syncfs(File::open(&self.path)?)
            .with_context(|| format!("cannot write to {}", self.path.display()))?;
        fs::remove_file(&filling).with_context(|| format!("cannot remove {}", filling.display()))?;
        File::open(&self.path)?.sync_all().with_context(|| format!("cannot write to {}", self.path.display()))
    }

    /// Nothing is there again: what was to [fill](Self::filled) it could not.
    pub(crate) fn emptied(&self) -> anyhow::Result<()> {
        let removed = || -> std::io::Result<()> {
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                match entry.file_name().to_str() {
                    Some(LOCK | LAYOUT | FILLING) => {}
                    _ if entry.file_type()?.is_dir() => fs::remove_dir_all(entry.path())?,
                    _ => fs::remove_file(entry.path())?,
                }
            }
            // The last of it: until then this is nobody's data.
            fs::remove_file(self.join(FILLING))
        };
        removed().with_context(|| format!("cannot remove what is in {}", self.path.display()))
    }

    /// Refuses what a newer version has laid out, before anything of it is read; says how it is where nobody has yet.
    fn agree_on_layout(&self) -> anyhow::Result<()> {
        let (file, path) = (self.join(LAYOUT), self.path.display());
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return write(&file, &format!("{LAYOUT_NOW}\n")),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        match text.trim().parse::<u32>() {
            Ok(LAYOUT_NOW) => Ok(()),
            Ok(layout) if layout > LAYOUT_NOW => bail!(
                "{path} was written by a newer version: its layout is {layout}, and this version knows {LAYOUT_NOW}; start the version that \
                 wrote it, or a later one, or give this one another --data-dir"
            ),
            _ => bail!("{} does not say the number of a layout", file.display()),
        }
    }

    fn lock(path: PathBuf) -> anyhow::Result<Self> {
        let built = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        built.with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot use the data directory {}", path.display()))?;
        let lock = File::create(path.join(LOCK)).with_context(|| format!("cannot write to {}", path.display()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("another coracle runs on {}; stop it first, or give this one its own --data-dir", path.display())
            }
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// A file or directory in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether nothing is there, or nothing but what whoever looked before has left.
pub(crate) fn is_empty(path: &Path) -> anyhow::Result<bool> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    for entry in entries {
        let name = entry?.file_name();
        if name != LOCK && name != LAYOUT {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a file whole or not at all, readable by its owner alone.
pub(crate) fn write(path: &Path, contents: &str) -> anyhow::Result<()> {
    let written = || -> std::io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(contents.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let held = DataDir::take(dir.path().join("data")).expect("free");
        let refused = DataDir::take(dir.path().join("data")).expect_err("held");
        assert!(refused.to_string().starts_with("another coracle runs on "), "{refused}");
        drop(held);
        DataDir::take(dir.path().join("data")).expect("free again");
    }

    #[test]
    fn what_a_newer_version_has_laid_out_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, layout) = (dir.path().join("data"), dir.path().join("data/layout"));
        drop(DataDir::take(path.clone()).expect("a new one"));
        assert_eq!(fs::read_to_string(&layout).expect("written"), "1\n");
        assert!(is_empty(&path).expect("readable"), "nothing but what whoever looked has left");
        // As it was before anybody said.
        fs::remove_file(&layout).expect("removed");
        drop(DataDir::take(path.clone()).expect("the first"));
        fs::write(&layout, "2\n").expect("written");
        let refused = DataDir::take(path.clone()).expect_err("a newer one").to_string();
        assert!(refused.contains("its layout is 2, and this version knows 1; start the version"), "{refused}");
        fs::write(&layout, "x").expect("written");
        assert!(DataDir::take(path).is_err());
    }

    #[test]
    fn a_directory_that_is_being_filled_is_nobodys_data() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("data");
        let filling = DataDir::take_empty(path.clone()).expect("empty");
        drop(filling);
        let refused = DataDir::take(path.clone()).expect_err("half full");
        assert!(refused.to_string().contains("was broken off"), "{refused}");
        assert!(DataDir::take_empty(path.clone()).is_err(), "nor is it empty");
        fs::remove_file(path.join(FILLING)).expect("removed");
        let given_up = DataDir::take_empty(path.clone()).expect("empty again");
        fs::create_dir_all(given_up.join("deep/er")).expect("made");
        fs::write(given_up.join("file"), "half").expect("written");
        given_up.emptied().expect("emptied");
        drop(given_up);
        assert!(is_empty(&path).expect("readable"));
        DataDir::take_empty(path.clone()).expect("empty again").filled().expect("filled");
        DataDir::take(path).expect("data");
    }
}
