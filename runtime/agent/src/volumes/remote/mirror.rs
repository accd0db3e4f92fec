//! The mirror of one volume: its files, and what was last agreed about them with the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use rustix::fs::FileType;
use rustix::io::Errno;
use tokio::sync::Mutex as Turn;

use super::index::{Agreed, Index, Stamp};
use super::plan::{self, Bring, Local, Save};
use super::store::{Put, Store, Trouble, Version};
use crate::beneath::{Links, Root, kind};

/// A mirror; one hand at it at a time.
pub(super) struct Mirror {
    /// Without links on the way.
    directory: PathBuf,
    store: Mutex<Store>,
    turn: Turn<Index>,
}

/// What is to be uploaded of what was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Everything,
    /// Everything, with a word about what cannot be.
    Last,
    /// What nobody has written to for a moment, or has waited for long.
    Quiet,
    One(String),
}

/// What was found in the mirror.
#[derive(Debug, Default)]
struct Found {
    local: BTreeMap<String, Local>,
    stamps: BTreeMap<String, Stamp>,
    /// Names that cannot be objects.
    left_out: Vec<String>,
}

/// What became of one file, and what there is to tell about it.
struct Outcome {
    name: String,
    agreed: Option<Agreed>,
    notice: Option<String>,
    /// A copy of ours that was put beside it, and is stored.
    beside: Option<(String, Agreed)>,
}

pub(super) const FILES: &str = "files";
const INCOMING: &str = "incoming";

/// A file that was not written to for so long is uploaded; one that is written to all the time when it was agreed about so long ago.
const QUIET_NS: i64 = 1_000_000_000;
const WAITING_MAX: Duration = Duration::from_secs(30);
/// Transfers at a time.
const ABREAST: usize = 4;
/// An event names no more of what is left out.
const LEFT_OUT_NAMED_MAX: usize = 5;

/// Whether nobody has used a mirror for so long, and all of it is in the store.
pub(super) fn is_unused(directory: &Path, now: SystemTime, unused: Duration) -> bool {
    let is_old = Index::saved_at(directory).is_some_and(|at| now.duration_since(at).is_ok_and(|age| age >= unused));
    let all_stored = || {
        let mut index = Index::load(directory)?;
        let found = look(&Root::open(&directory.join(FILES))?, &mut index, &|_| true)?;
        io::Result::Ok(plan::saves(&index.etags(), &found.local).is_empty())
    };
    is_old && all_stored().unwrap_or(false)
}

// === impl Mirror ===

impl Mirror {
    /// As it was left, or a new one.
    pub(super) fn open(directory: PathBuf, store: Store) -> io::Result<Self> {
        let index = if directory.join(FILES).is_dir() { Index::load(&directory)? } else { Index::default() };
        std::fs::create_dir_all(directory.join(FILES))?;
        let directory = directory.canonicalize()?;
        Ok(Self { directory, store: Mutex::new(store), turn: Turn::new(index) })
    }

    /// What guests see.
    fn files(&self) -> PathBuf {
        self.directory.join(FILES)
    }

    /// The same, to be reached without leaving it.
    fn root(&self) -> Result<Root, Trouble> {
        Root::open(&self.files()).map_err(|error| Trouble::of_disk(&error))
    }

    /// From now on the store is asked so.
    pub(super) fn ask_as(&self, store: Store) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = store;
    }

    fn store(&self) -> Store {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brings the mirror to what is in the store, after uploading what was left when it may be written. Tells what others had stored
    /// meanwhile.
    pub(super) async fn bring(&self, writes: bool, bytes_max: u64) -> Result<Vec<String>, Trouble> {
        let mut index = self.turn.lock().await;
        let notices = if writes { self.save_in(&mut index, &What::Everything).await? } else { Vec::new() };
        let store = self.store();
        let mut remote = store.list().await?;
        for directory in plan::directories(remote.clone().keys()) {
            remote.remove(&directory);
        }
        let bytes = remote.values().map(|object| object.bytes).fold(0, u64::saturating_add);
        if bytes > bytes_max {
            let message = format!("the volume holds {bytes} bytes, which is more than its capacity of {bytes_max}");
            return Err(Trouble::new(message));
        }
        let found = self.look(&mut index, &store, &What::Everything).await?;
        let remote = remote.into_iter().map(|(name, object)| (name, object.etag)).collect();
        let brings = plan::brings(&index.etags(), &found.local, &remote);
        if brings.is_empty() {
            self.note(&index)?;
            return Ok(notices);
        }
        let (gets, removes): (Vec<_>, Vec<_>) = brings.into_iter().partition(|(_, bring)| *bring == Bring::Get);
        for (name, _) in removes {
            self.take_away(&name).map_err(|error| Trouble::of_disk(&error))?;
            index.by_name.remove(&name);
        }
        let gets = futures::stream::iter(gets).map(|(name, _)| self.bring_one(&store, name));
        let mut gets = gets.buffer_unordered(ABREAST);
        let mut trouble = None;
        while let Some(got) = gets.next().await {
            match got {
                Ok((name, Some(agreed))) => drop(index.by_name.insert(name, agreed)),
                Ok((name, None)) => drop(index.by_name.remove(&name)),
                Err(why) => trouble = Some(why),
            }
        }
        drop(gets);
        // What came is kept, even if not all did.
        self.note(&index)?;
        trouble.map_or(Ok(notices), Err)
    }

    /// Uploads what was changed. Tells what others had stored meanwhile.
    pub(super) async fn save(&self, what: What) -> Result<Vec<String>, Trouble> {
        let mut index = self.turn.lock().await;
        self.save_in(&mut index, &what).await
    }

    async fn save_in(&self, index: &mut Index, what: &What) -> Result<Vec<String>, Trouble> {
        let store = self.store();
        let found = self.look(index, &store, what).await?;
        let waited = Index::saved_at(&self.directory).and_then(|at| at.elapsed().ok()).unwrap_or_default();
        let is_quiet = |name: &String| found.stamps.get(name).is_none_or(|stamp| stamp.age_ns() >= QUIET_NS);
        let is_due = |name: &String| match what {
            What::Everything | What::Last => true,
            What::Quiet => waited >= WAITING_MAX || is_quiet(name),
            What::One(one) => one == name,
        };
        let mut notices = if *what == What::Last { left_out(&found.left_out) } else { Vec::new() };
        let (puts, deletes): (Vec<_>, Vec<_>) =
            plan::saves(&index.etags(), &found.local).into_iter().partition(|(_, save)| matches!(save, Save::Put(_)));
        let all = puts.len();
        let puts: Vec<_> = puts.into_iter().filter(|(name, _)| is_due(name)).collect();
        let are_all = puts.len() == all && !matches!(what, What::One(_));
        let was_something = !puts.is_empty() || (are_all && !deletes.is_empty());
        let mut carried_out = self.carry_out(index, &store, puts, &mut notices).await;
        // What was given another name is stored under that one before it goes under the old.
        if carried_out.is_ok() && are_all {
            carried_out = self.carry_out(index, &store, deletes, &mut notices).await;
        }
        if was_something {
            self.note(index)?;
        }
        carried_out.map(|()| notices)
    }

    async fn carry_out(
        &self,
        index: &mut Index,
        store: &Store,
        saves: Vec<(String, Save)>,
        notices: &mut Vec<String>,
    ) -> Result<(), Trouble> {
        let saving = futures::stream::iter(saves).map(|(name, save)| {
            let agreed = index.by_name.get(&name).cloned();
            self.save_one(store, name, save, agreed)
        });
        let outcomes: Vec<Result<Outcome, Trouble>> = saving.buffer_unordered(ABREAST).collect().await;
        let mut trouble = None;
        for outcome in outcomes {
            match outcome {
                Ok(Outcome { name, agreed, notice, beside }) => {
                    match agreed {
                        Some(agreed) => index.by_name.insert(name, agreed),
                        None => index.by_name.remove(&name),
                    };
                    index.by_name.extend(beside);
                    notices.extend(notice);
                }
                Err(why) => trouble = Some(why),
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    async fn save_one(
        &self,
        store: &Store,
        name: String,
        save: Save,
        agreed: Option<Agreed>,
    ) -> Result<Outcome, Trouble> {
        let saved = |agreed| Outcome { name: name.clone(), agreed, notice: None, beside: None };
        match save {
            Save::Put(over) => match self.put(store, &name, over.as_deref()).await? {
                Uploaded::Done(agreed) => Ok(saved(Some(agreed))),
                // Removed since: the next look sees to it.
                Uploaded::Gone => Ok(saved(agreed)),
                Uploaded::Stale => self.settle(store, name).await,
            },
            Save::Delete(etag) if store.delete(&name, &etag).await? => Ok(saved(None)),
            Save::Delete(_) => {
                let (name, agreed) = self.bring_one(store, name).await?;
                let notice = format!("{name} was changed in the store since it was read, and is not deleted");
                Ok(Outcome { name, agreed, notice: Some(notice), beside: None })
            }
        }
    }

    async fn put(&self, store: &Store, name: &str, over: Option<&str>) -> Result<Uploaded, Trouble> {
        let (root, path) = (self.root()?, Path::new(name));
        // Before it is read: what is written meanwhile is then seen to be other.
        let (Ok(found), Ok(file)) = (root.stat(path), root.file(path, Links::None)) else { return Ok(Uploaded::Gone) };
        let stamp = Stamp::of(&found);
        match store.put(name, file, over).await? {
            Put::Done(Version { etag, hash }) => Ok(Uploaded::Done(Agreed { etag, hash, stamp })),
            Put::Stale => Ok(Uploaded::Stale),
        }
    }

    /// The store has another version than was agreed. If it is ours after all, or gone, that is well; otherwise it gets the name.
    async fn settle(&self, store: &Store, name: String) -> Result<Outcome, Trouble> {
        let failed = |error: io::Error| Trouble::of_disk(&error);
        let (root, path) = (self.root()?, PathBuf::from(&name));
        let incoming = self.incoming(&name)?;
        let Some(theirs) = store.get(&name, &incoming).await? else {
            return match self.put(store, &name, None).await? {
                Uploaded::Done(agreed) => Ok(Outcome { name, agreed: Some(agreed), notice: None, beside: None }),
                _ => Err(Trouble::new(format!("{name} is changed in the store at this moment"))),
            };
        };
        let stamp = Stamp::of(&root.stat(&path).map_err(failed)?);
        let ours = super::index::hash(&mut root.file(&path, Links::None).map_err(failed)?).map_err(failed)?;
        if ours == theirs.hash {
            let agreed = Some(Agreed { etag: theirs.etag, hash: ours, stamp });
            return Ok(Outcome { name, agreed, notice: None, beside: None });
        }
        let aside = format!("{name}.conflict-{}", &ours[..8]);
        root.rename(&path, Path::new(&aside)).map_err(failed)?;
        let agreed = self.place(&name, &incoming, theirs)?;
        let notice = format!("{name} was changed in the store by somebody else; what was written here is in {aside}");
        let beside = match self.put(store, &aside, None).await {
            Ok(Uploaded::Done(agreed)) => Some((aside, agreed)),
            // It is a new file like any other, and uploaded later.
            _ => None,
        };
        Ok(Outcome { name, agreed: Some(agreed), notice: Some(notice), beside })
    }

    async fn bring_one(&self, store: &Store, name: String) -> Result<(String, Option<Agreed>), Trouble> {
        let incoming = self.incoming(&name)?;
        match store.get(&name, &incoming).await? {
            Some(version) => {
                let agreed = self.place(&name, &incoming, version)?;
                Ok((name, Some(agreed)))
            }
            // Gone since it was listed.
            None => {
                self.take_away(&name).map_err(|error| Trouble::of_disk(&error))?;
                Ok((name, None))
            }
        }
    }

    /// Puts what came into its place, whole.
    fn place(&self, name: &str, incoming: &Path, version: Version) -> Result<Agreed, Trouble> {
        let failed = |error: io::Error| Trouble::of_disk(&error);
        let (root, path) = (self.root()?, Path::new(name));
        if let Some(parent) = path.parent() {
            root.make(parent).map_err(failed)?;
        }
        if root.stat(path).is_ok_and(|found| kind(&found) == FileType::Directory) {
            // Only empty ones go.
            root.remove_directory(path).map_err(failed)?;
        }
        root.take(incoming, path).map_err(failed)?;
        let stamp = Stamp::of(&root.stat(path).map_err(failed)?);
        Ok(Agreed { etag: version.etag, hash: version.hash, stamp })
    }

    /// Where an object is put while it comes.
    fn incoming(&self, name: &str) -> Result<PathBuf, Trouble> {
        let directory = self.directory.join(INCOMING);
        std::fs::create_dir_all(&directory).map_err(|error| Trouble::of_disk(&error))?;
        let name = super::index::hash(&mut name.as_bytes()).map_err(|error| Trouble::of_disk(&error))?;
        Ok(directory.join(name))
    }

    /// Removes a file, and the directories that only it was in.
    fn take_away(&self, name: &str) -> io::Result<()> {
        let root = Root::open(&self.files())?;
        match root.remove_file(Path::new(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let parents = Path::new(name).ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        for parent in parents {
            if root.remove_directory(parent).is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn look(&self, index: &mut Index, store: &Store, what: &What) -> Result<Found, Trouble> {
        let (root, store, mut looking) = (self.root()?, store.clone(), index.clone());
        let one = if let What::One(name) = what { Some(name.clone()) } else { None };
        let looked = tokio::task::spawn_blocking(move || {
            let takes = |name: &str| store.takes(name);
            let found = match one {
                None => look(&root, &mut looking, &takes),
                Some(name) => {
                    let mut found = Found::default();
                    found.note(&root, name, &mut looking, &takes).map(|_| found)
                }
            };
            (looking, found)
        });
        let (known, found) = looked.await.map_err(|error| Trouble::new(error.to_string()))?;
        *index = known;
        found.map_err(|error| Trouble::of_disk(&error))
    }

    fn note(&self, index: &Index) -> Result<(), Trouble> {
        index.save(&self.directory).map_err(|error| Trouble::of_disk(&error))
    }
}

/// How an upload went.
enum Uploaded {
    Done(Agreed),
    Stale,
    Gone,
}

impl host::Keeper for Mirror {
    fn keep(&self, file: Option<Arc<File>>) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        Box::pin(async move {
            let named = file.and_then(|file| std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok());
            let name = named.as_ref().and_then(|path| path.strip_prefix(self.files()).ok()?.to_str());
            // A file that is shown elsewhere, or a directory, stands for all of it.
            let what = name.map_or(What::Everything, |name| What::One(name.to_owned()));
            match self.save(what).await {
                Ok(notices) if notices.is_empty() => Ok(()),
                Ok(notices) => {
                    tracing::warn!(directory = %self.directory.display(), notice = %notices.join("; "), "not kept as written");
                    Err(io::Error::from(rustix::io::Errno::IO))
                }
                Err(trouble) => {
                    tracing::warn!(directory = %self.directory.display(), %trouble, "not kept");
                    Err(io::Error::from(rustix::io::Errno::IO))
                }
            }
        })
    }
}

fn left_out(names: &[String]) -> Vec<String> {
    if names.is_empty() {
        return Vec::new();
    }
    let named: Vec<String> = names.iter().take(LEFT_OUT_NAMED_MAX).map(|name| format!("{name:?}")).collect();
    let more = if names.len() > LEFT_OUT_NAMED_MAX { " and others" } else { "" };
    vec![format!("no object can be called {}{more}: not stored", named.join(", "))]
}

/// Every file below a directory, told from what was agreed about it. Links and whatever else is no file are not looked at.
fn look(root: &Root, index: &mut Index, takes: &dyn Fn(&str) -> bool) -> io::Result<Found> {
    let mut found = Found::default();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let entries = match root.list(&directory) {
            // A guest took it away, or put something else in its place.
            Err(error) if !directory.as_os_str().is_empty() && is_gone(&error) => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = directory.join(entry);
            let Some(name) = path.to_str() else { continue };
            if found.note(root, name.to_owned(), index, takes)? == Some(FileType::Directory) {
                directories.push(path);
            }
        }
    }
    Ok(found)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || Errno::from_io_error(error) == Some(Errno::LOOP)
}

// === impl Found ===

impl Found {
    /// Notes what has this name, and tells what kind of thing that is, if it is there.
    fn note(
        &mut self,
        root: &Root,
        name: String,
        index: &mut Index,
        takes: &dyn Fn(&str) -> bool,
    ) -> io::Result<Option<FileType>> {
        let path = Path::new(&name);
        // It may be gone since its directory was read.
        let Ok(found) = root.stat(path) else { return Ok(None) };
        let kind = kind(&found);
        if kind != FileType::RegularFile {
            return Ok(Some(kind));
        }
        if !takes(&name) {
            self.left_out.push(name);
            return Ok(Some(kind));
        }
        let stamp = Stamp::of(&found);
        let is_same = match index.by_name.get_mut(&name).map(|agreed| agreed.is_same(root, path, stamp)) {
            Some(Err(error)) if is_gone(&error) => return Ok(None),
            is_same => is_same.transpose()? == Some(true),
        };
        self.local.insert(name.clone(), if is_same { Local::Same } else { Local::Changed });
        self.stamps.insert(name, stamp);
        Ok(Some(kind))
    }
}
