//! How much may be in a directory: a number that holds, whoever writes; and who keeps what is in it, if that is not the disk alone.
//!
//! What guests add is counted as they add it, before it is written; what they take away is not, because what a deleted file had can
//! only be known by looking. So the count is never too low, and whoever meets the limit has everything counted anew before he is
//! refused: seldom, if nothing was taken away since the last time. The length of files is what counts, those included that are
//! open and have no name any more; and there are no more files than what would fill the limit with small ones.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The limit of one directory; a clone is the same one.
#[derive(Clone)]
pub struct Quota(Arc<Inner>);

/// Keeps what guests write elsewhere than on the disk.
pub trait Keeper: Send + Sync {
    /// What a guest wrote is kept when this is over, or could not be. It is the file, or all of the directory where there is none.
    fn keep(&self, file: Option<Arc<File>>) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>>;
}

struct Inner {
    root: PathBuf,
    /// Who is told when a guest wants what it wrote to be safe.
    keeper: OnceLock<Arc<dyn Keeper>>,
    bytes_max: AtomicU64,
    /// What there is, or more.
    bytes: AtomicU64,
    /// Files and directories, or more.
    entries: AtomicU64,
    /// Files without a name that somebody writes to.
    nameless: Mutex<Vec<Weak<File>>>,
    /// Whether something was taken away since it was counted.
    is_stale: AtomicBool,
    /// When it was counted; whoever holds it counts.
    counted: Mutex<Option<Instant>>,
}

/// A file is not given less room than this, however little is in it; some are always there.
const ENTRY_BYTES: u64 = 1 << 10;
const ENTRIES_MIN: u64 = 1_000;

/// What others than guests take away is found after this long.
const COUNT_PERIOD: Duration = Duration::from_secs(1);

/// No space left on device.
const FULL: i32 = 28;

// === impl Quota ===

impl Quota {
    /// So many bytes for everything below `root`.
    pub fn new(root: PathBuf, bytes_max: u64) -> Self {
        Self(Arc::new(Inner {
            root,
            keeper: OnceLock::new(),
            bytes_max: AtomicU64::new(bytes_max),
            bytes: AtomicU64::new(u64::MAX),
            entries: AtomicU64::new(u64::MAX),
            nameless: Mutex::default(),
            is_stale: AtomicBool::new(true),
            counted: Mutex::new(None),
        }))
    }

    /// Has what is in the directory kept by somebody: once, before a guest sees it.
    pub fn kept_by(&self, keeper: Arc<dyn Keeper>) {
        // The first one stays, whoever asks again.
        let _ = self.0.keeper.set(keeper);
    }

    /// Waits until what a guest wrote is kept, where that takes more than the disk.
    pub(crate) async fn kept(&self, file: Option<Arc<File>>) -> io::Result<()> {
        match self.0.keeper.get() {
            Some(keeper) => keeper.keep(file).await,
            None => Ok(()),
        }
    }

    /// Changes the limit; what is there already stays.
    pub fn set(&self, bytes_max: u64) {
        self.0.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Takes room for so many bytes more, or says that there is none.
    pub(crate) fn take(&self, more: u64) -> io::Result<()> {
        let bytes_max = self.0.bytes_max.load(Ordering::Relaxed);
        self.take_of(&self.0.bytes, more, bytes_max)
    }

    /// Takes room for one more file or directory.
    pub(crate) fn take_entry(&self) -> io::Result<()> {
        let bytes_max = self.0.bytes_max.load(Ordering::Relaxed);
        self.take_of(&self.0.entries, 1, (bytes_max / ENTRY_BYTES).max(ENTRIES_MIN))
    }

    fn take_of(&self, counter: &AtomicU64, more: u64, most: u64) -> io::Result<()> {
        let try_take = || {
            let fits = |there: u64| there.checked_add(more).filter(|sum| *sum <= most);
            counter.try_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
        };
        if more == 0 || try_take() {
            return Ok(());
        }
        let mut counted = self.0.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = counted.is_none_or(|at| at.elapsed() >= COUNT_PERIOD);
        if self.0.is_stale.swap(false, Ordering::Relaxed) || is_old {
            let (bytes, entries) = count(&self.0.root);
            self.0.bytes.store(bytes.saturating_add(self.nameless_bytes()), Ordering::Relaxed);
            self.0.entries.store(entries, Ordering::Relaxed);
            *counted = Some(Instant::now());
        }
        // Another may have had it counted meanwhile.
        if try_take() { Ok(()) } else { Err(io::Error::from_raw_os_error(FULL)) }
    }

    /// Counts a file that no directory shows any more, as long as it is open.
    pub(crate) fn watch_nameless(&self, file: &Arc<File>) {
        let mut nameless = self.0.nameless.lock().unwrap_or_else(PoisonError::into_inner);
        nameless.retain(|known| known.strong_count() > 0);
        nameless.push(Arc::downgrade(file));
    }

    fn nameless_bytes(&self) -> u64 {
        let nameless = self.0.nameless.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashSet::new();
        let found = nameless.iter().filter_map(|file| file.upgrade()?.metadata().ok());
        found
            .filter(|found| found.nlink() == 0 && seen.insert((found.dev(), found.ino())))
            .map(|found| found.len())
            .sum()
    }

    /// Notes that something was taken away.
    pub(crate) fn taken_away(&self) {
        self.0.is_stale.store(true, Ordering::Relaxed);
    }
}

impl PartialEq for Quota {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Quota {}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quota({} of {})", self.0.bytes_max.load(Ordering::Relaxed), self.0.root.display())
    }
}

/// The length of all files below a directory, each once, and how many entries there are; what cannot be read counts nothing.
fn count(root: &Path) -> (u64, u64) {
    let (mut bytes, mut entries, mut seen, mut directories) = (0_u64, 0, HashSet::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            entries += 1;
            if found.is_dir() {
                directories.push(entry.path());
            } else if found.nlink() < 2 || seen.insert((found.dev(), found.ino())) {
                bytes = bytes.saturating_add(found.len());
            }
        }
    }
    (bytes, entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_counts_and_what_is_gone_does_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let quota = Quota::new(root.to_owned(), 100);
        std::fs::create_dir(root.join("d")).expect("made");
        std::fs::write(root.join("d/f"), [0; 60]).expect("written");
        std::fs::hard_link(root.join("d/f"), root.join("same")).expect("linked");
        assert!(quota.take(41).is_err(), "60 are there");
        assert!(quota.take(40).is_ok());
        assert!(quota.take(1).is_err());
        std::fs::remove_file(root.join("same")).expect("removed");
        std::fs::remove_file(root.join("d/f")).expect("removed");
        quota.taken_away();
        assert!(quota.take(100).is_ok());
        assert!(quota.take(1).is_err());
        quota.set(150);
        assert!(quota.take(50).is_ok());
        assert!(quota.take(1).is_err());
    }

    #[test]
    fn a_file_without_a_name_counts_while_it_is_open() {
        let directory = tempfile::tempdir().expect("a directory");
        let quota = Quota::new(directory.path().to_owned(), 100);
        let path = directory.path().join("f");
        let file = Arc::new(File::create(&path).expect("made"));
        file.set_len(80).expect("grown");
        std::fs::remove_file(&path).expect("removed");
        quota.watch_nameless(&file);
        quota.taken_away();
        assert!(quota.take(21).is_err());
        drop(file);
        quota.taken_away();
        assert!(quota.take(100).is_ok());
    }

    #[test]
    fn small_files_have_a_limit_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let quota = Quota::new(directory.path().to_owned(), 4 << 20);
        assert_eq!((0..10_000).filter(|_| quota.take_entry().is_ok()).count(), 4_096);
    }
}
