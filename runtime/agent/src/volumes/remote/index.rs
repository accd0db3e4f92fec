//! What mirror and store last agreed about, kept beside the mirror; and how a file is told from what it was.
//!
//! A file is as it was if its length, times and inode are: a guest may set its time of change, but not when that was set. One
//! that was changed within the moment in which it was looked at may have been changed after: it is read again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

pub(super) use crate::volumes::archive::hash;

use crate::beneath::{Links, Root};

/// The files that both sides agree about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Index {
    pub(super) by_name: BTreeMap<String, Agreed>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Agreed {
    /// The version in the store.
    pub(super) etag: String,
    /// The SHA-256 of both.
    pub(super) hash: String,
    /// The file here.
    pub(super) stamp: Stamp,
}

/// A file as it was found, without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    bytes: u64,
    inode: u64,
    modified_ns: i64,
    changed_ns: i64,
    /// When it was looked at.
    found_ns: i64,
}

/// The clock of a file system goes in steps of less than this.
const STEP_NS: i64 = 100_000_000;

const FILE: &str = "index.json";
const FILE_NEXT: &str = "index.json.next";

// === impl Index ===

impl Index {
    /// As it was left; empty where there is none.
    pub(super) fn load(directory: &Path) -> io::Result<Self> {
        match std::fs::read(directory.join(FILE)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// There whole or not at all, whatever happens to the machine; and not before the files that it is about.
    pub(super) fn save(&self, directory: &Path) -> io::Result<()> {
        let next = directory.join(FILE_NEXT);
        let file = File::create(&next)?;
        serde_json::to_writer(io::BufWriter::new(&file), self).map_err(io::Error::other)?;
        rustix::fs::syncfs(&file)?;
        std::fs::rename(next, directory.join(FILE))?;
        File::open(directory)?.sync_all()
    }

    /// When it was last written.
    pub(super) fn saved_at(directory: &Path) -> Option<SystemTime> {
        std::fs::metadata(directory.join(FILE)).ok()?.modified().ok()
    }

    pub(super) fn etags(&self) -> BTreeMap<String, String> {
        self.by_name.iter().map(|(name, agreed)| (name.clone(), agreed.etag.clone())).collect()
    }
}

// === impl Agreed ===

impl Agreed {
    /// Whether the file is as agreed; learns how it looks where only that is other.
    pub(super) fn is_same(&mut self, files: &Root, name: &Path, now: Stamp) -> io::Result<bool> {
        if self.stamp.is_as(now) && self.stamp.is_certain() {
            return Ok(true);
        }
        let is_same = hash(&mut files.file(name, Links::None)?)? == self.hash;
        if is_same {
            self.stamp = now;
        }
        Ok(is_same)
    }
}

// === impl Stamp ===

impl Stamp {
    pub(super) fn of(found: &Stat) -> Self {
        let at = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            bytes: u64::try_from(found.st_size).unwrap_or(0),
            inode: found.st_ino,
            modified_ns: at(found.st_mtime, found.st_mtime_nsec as i64),
            changed_ns: at(found.st_ctime, found.st_ctime_nsec as i64),
            found_ns: now_ns(),
        }
    }

    fn is_as(self, other: Self) -> bool {
        Self { found_ns: other.found_ns, ..self } == other
    }

    fn is_certain(self) -> bool {
        self.changed_ns.saturating_add(STEP_NS) < self.found_ns
    }

    /// How long ago the file was changed.
    pub(super) fn age_ns(self) -> i64 {
        self.found_ns.saturating_sub(self.changed_ns)
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_agreed_is_found_again() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Index::load(directory.path()).expect("none"), Index::default());
        let file = directory.path().join("f");
        std::fs::write(&file, "one").expect("written");
        let stamp = Stamp::of(&rustix::fs::stat(&file).expect("there"));
        let agreed = Agreed { etag: "\"1\"".into(), hash: hash(&mut &b"one"[..]).expect("hashed"), stamp };
        let index = Index { by_name: [("f".to_owned(), agreed)].into() };
        index.save(directory.path()).expect("saved");
        assert_eq!(Index::load(directory.path()).expect("found"), index);
    }

    #[test]
    fn the_file_is_the_one_on_disk_everywhere() {
        let stamp = Stamp { bytes: 3, inode: 7, modified_ns: 1, changed_ns: 2, found_ns: 4 };
        let index = Index { by_name: [("f".to_owned(), Agreed { etag: "e".into(), hash: "h".into(), stamp })].into() };
        let text = r#"{"f":{"etag":"e","hash":"h","stamp":{"bytes":3,"inode":7,"modified_ns":1,"changed_ns":2,"found_ns":4}}}"#;
        assert_eq!(serde_json::to_string(&index).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<Index>(text).expect("read"), index);
    }

    #[test]
    fn a_file_that_was_written_to_within_the_moment_is_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, name) = (directory.path().join("f"), Path::new("f"));
        std::fs::write(&file, "one").expect("written");
        let root = Root::open(directory.path()).expect("a directory");
        let look = || Stamp::of(&root.stat(name).expect("there"));
        let mut agreed = Agreed { etag: String::new(), hash: hash(&mut &b"one"[..]).expect("hashed"), stamp: look() };
        assert!(agreed.is_same(&root, name, look()).expect("read"));
        // The same length, and perhaps the same step of the clock.
        std::fs::write(&file, "two").expect("written");
        assert!(!agreed.is_same(&root, name, look()).expect("read"));
        std::fs::write(&file, "one").expect("written");
        assert!(agreed.is_same(&root, name, look()).expect("read"), "what is in it counts");
    }
}
