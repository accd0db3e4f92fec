//! The database: one table of what was written when, and one line about where it stands.
//!
//! `versions` maps each revision to what it wrote: an object, or the fact that one is gone, and the revision this replaced.
//! Revisions ascend, so the table grows at its end. A version leaves when the event that replaced it is forgotten. Reading the
//! table from front to back gives the world, and its last part again as events.
//!
//! The database verifies what it reads only where it has crashed, and the seal of an object says nothing of its revision. So the line
//! about where it stands has a [sum](Sums) of all rows, and a checksum of its own: what is loaded is what was written, or nothing.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{Key, Object};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use state::{Change, Event, Revision, Snapshot};

use super::Standing;
use crate::OpenError;
use crate::codec::{self, FORMAT, Malformed, Reader};
use crate::consensus::StoredMembership;
use crate::disk::{self, Disk};
use crate::fault::{Bug, planted};
use crate::proposals::Sessions;
use crate::room;
use crate::seal::Sealer;

const VERSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("versions");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const STANDING: &str = "standing";
/// A line of its own, because images from before there was more than one member do not have it.
const SESSIONS: &str = "sessions";

/// The format of the line about where it stands, since it has sums.
const SUMMED: u8 = 2;

mod sums;

use sums::Rows;
pub(super) use sums::Sums;

/// Events given back to watches after a restart: enough for those who reconnect at once, few enough to read in milliseconds.
const EVENTS_RESTORED_MAX: u64 = 2_048;

/// Rows that are sealed anew in one transaction: the database holds that many twice until it is committed.
const RESEALED_ROWS_MAX: usize = 4_096;

/// What follows the key in a row.
mod mark {
    pub(super) const GONE: u8 = 0;
    /// As objects were written before there were seals.
    pub(super) const PLAIN: u8 = 1;
    pub(super) const SEALED: u8 = 2;
}

/// The open database.
pub(super) struct Tables {
    database: Database,
    sealer: Sealer,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    cache_bytes: usize,
}

/// What an image holds: the world, and what led to it.
#[derive(Debug)]
pub(crate) struct Past {
    /// The world at the image's revision.
    pub(crate) world: Snapshot,
    /// Every event after this revision is known.
    pub(crate) base: Revision,
    /// The events from `base` to now.
    pub(crate) events: Vec<Arc<Event>>,
}

/// The database does not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum TablesError {
    /// It does not work.
    #[error("{0}")]
    Database(Box<redb::Error>),
    /// It holds what nobody wrote.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// One version, as stored.
struct Version<'a> {
    /// The revision it replaced; zero if there was nothing.
    replaced: Revision,
    content: Content<'a>,
}

enum Content<'a> {
    Object(&'a Object),
    Gone(&'a Key),
}

/// One version, as read: the object is still bytes, because most that are read at a start are never looked at.
struct Row {
    replaced: Revision,
    key: Key,
    object: Option<Body>,
}

enum Body {
    Plain(Vec<u8>),
    Sealed(Vec<u8>),
}

// === impl Tables ===

impl Tables {
    pub(super) fn open(disk: &dyn Disk, path: &Path, cache_bytes: usize, sealer: Sealer) -> Result<Self, OpenError> {
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        let failed = |error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.into() },
            DatabaseError::Storage(redb::StorageError::Io(source)) => OpenError::Io { path: path.into(), source },
            other => OpenError::Damaged { path: path.into(), reason: other.to_string() },
        };
        let io = |source| OpenError::Io { path: path.into(), source };
        if !disk.exists(path).map_err(io)? {
            // A crash may leave half of a database, and half of one is none: it gets its name when it is whole.
            let unfinished = path.with_extension("new");
            disk.create(&unfinished).map_err(io)?;
            drop(disk.database(&builder, &unfinished).map_err(failed)?);
            disk.rename(&unfinished, path).map_err(io)?;
            disk.sync_directory(disk::directory(path)).map_err(io)?;
        }
        let database = disk.database(&builder, path).map_err(failed)?;
        Ok(Self { database, sealer, disk: disk.share(), path: path.into(), cache_bytes })
    }

    /// Opens it anew: a database that could not write once does nothing any more.
    pub(super) fn reopener(&self) -> impl Fn() -> Result<Self, OpenError> + use<> {
        let (disk, path) = (self.disk.clone(), self.path.clone());
        let (cache_bytes, sealer) = (self.cache_bytes, self.sealer.clone());
        move || Self::open(&*disk, &path, cache_bytes, sealer.clone())
    }

    /// Opens an image, and reads where it stands and what it holds.
    pub(super) fn load(
        disk: &dyn Disk,
        path: &Path,
        cache_bytes: usize,
        sealer: Sealer,
    ) -> Result<(Self, Standing, Past), OpenError> {
        // The library takes for granted that a page is what it was.
        let loaded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let tables = Self::open(disk, path, cache_bytes, sealer)?;
            let (standing, past) = tables.read().map_err(|error| error.at(path))?;
            Ok((tables, standing, past))
        }));
        loaded
            .unwrap_or_else(|_| Err(OpenError::Damaged { path: path.into(), reason: "its pages make no sense".into() }))
    }

    fn read(&self) -> Result<(Standing, Past), TablesError> {
        let empty = || Past { world: Snapshot::default(), base: Revision::ZERO, events: Vec::new() };
        let read = self.database.begin_read()?;
        let table = match read.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) if read.list_tables()?.next().is_none() => {
                return Ok((Standing::default(), empty()));
            }
            table => table?,
        };
        let line = table.get(STANDING)?.ok_or(Malformed { what: "image: it does not say where it stands" })?;
        let sessions = table.get(SESSIONS)?;
        let sessions_bytes = sessions.as_ref().map_or(&[][..], redb::AccessGuard::value);
        let (standing, sums) = decode_standing(line.value(), sessions_bytes)?;
        let (mut rows, mut found, mut unread) = (BTreeMap::new(), Sums::default(), None);
        for entry in read.open_table(VERSIONS)?.iter()? {
            let (revision, bytes) = entry?;
            found.add(revision.value(), bytes.value());
            match Row::decode(bytes.value()) {
                Ok(row) => drop(rows.insert(Revision(revision.value()), row)),
                Err(malformed) => drop(unread.get_or_insert(malformed)),
            }
        }
        if sums.is_some_and(|sums| sums != found) && !planted(Bug::SumsIgnored) {
            return Err(Malformed { what: "image: its rows are not those that were written" }.into());
        }
        // Only now: a row that is not what was written may say that it is anything.
        if let Some(malformed) = unread {
            return Err(malformed.into());
        }
        let sessions = if sessions_bytes.is_empty() { Sessions::default() } else { decode_sessions(sessions_bytes)? };
        let standing = Standing { sessions: Arc::new(sessions), ..standing };
        let past = past(&standing, &rows, &self.sealer)?;
        Ok((standing, past))
    }

    /// Adds changes, forgets what lies behind the new floor, and says where that leads, all or nothing.
    pub(super) fn write(
        &self,
        changes: &[Arc<Event>],
        standing: &Standing,
        floor: Revision,
    ) -> Result<(), TablesError> {
        self.transact(|write| {
            let mut versions = Rows::open(write)?;
            let mut bytes = Vec::new();
            let left_out = usize::from(planted(Bug::ImageAhead));
            for event in &changes[..changes.len().saturating_sub(left_out)] {
                Version::of(event).encode(&mut bytes, &self.sealer);
                versions.insert(event.revision.0, &bytes)?;
            }
            forget(&mut versions, floor, standing.floor)?;
            let sums = versions.close();
            put_standing(write, standing, sums)
        })
    }

    /// Holds `world` and nothing else.
    pub(super) fn replace(&self, world: &Snapshot, standing: &Standing) -> Result<(), TablesError> {
        self.transact(|write| {
            write.delete_table(VERSIONS)?;
            let mut versions = Rows::anew(write)?;
            let objects: BTreeMap<_, _> = world.objects().map(|object| (object.revision(), object)).collect();
            let mut bytes = Vec::new();
            for (revision, object) in objects {
                Version { replaced: Revision::ZERO, content: Content::Object(object) }.encode(&mut bytes, &self.sealer);
                versions.insert(revision.0, &bytes)?;
            }
            let sums = versions.close();
            put_standing(write, standing, sums)
        })
    }

    /// Seals everything with the newest key that is not sealed with it yet.
    pub(super) fn reseal(&self) -> Result<(), TablesError> {
        let mut from = 0;
        while let Some(next) = self.reseal_from(from)? {
            from = next;
        }
        Ok(())
    }

    /// Does so for as many rows as one transaction takes; returns where to go on.
    fn reseal_from(&self, from: u64) -> Result<Option<u64>, TablesError> {
        let mut next = None;
        self.transact(|write| {
            let mut versions = Rows::open(write)?;
            let mut anew = Vec::new();
            for entry in versions.table.range(from..)? {
                let (revision, bytes) = entry?;
                if anew.len() == RESEALED_ROWS_MAX {
                    next = Some(revision.value());
                    break;
                }
                let row = Row::decode(bytes.value())?;
                anew.extend(row.resealed(&self.sealer)?.map(|bytes| (revision.value(), bytes)));
            }
            for (revision, bytes) in anew {
                versions.insert(revision, &bytes)?;
            }
            let sums = versions.close();
            put_sums(write, sums)
        })?;
        Ok(next)
    }

    fn transact(&self, work: impl FnOnce(&WriteTransaction) -> Result<(), TablesError>) -> Result<(), TablesError> {
        let mut write = self.database.begin_write()?;
        // The next start must not walk the whole file after a crash.
        write.set_quick_repair(true);
        work(&write)?;
        write.commit()?;
        Ok(())
    }
}

/// Drops what only events up to `new` needed: the versions they replaced, and the marks of what is gone.
fn forget(versions: &mut Rows<'_>, old: Revision, new: Revision) -> Result<(), TablesError> {
    let mut obsolete = Vec::new();
    for entry in versions.table.range(old.0 + 1..=new.0.max(old.0))? {
        let (revision, bytes) = entry?;
        let row = Row::decode(bytes.value())?;
        if row.replaced != Revision::ZERO {
            obsolete.push(if planted(Bug::ForgottenRow) { revision.value() } else { row.replaced.0 });
        }
        if row.object.is_none() {
            obsolete.push(revision.value());
        }
    }
    obsolete.sort_unstable();
    for revision in obsolete {
        versions.remove(revision)?;
    }
    Ok(())
}

/// The world that the rows add up to, and as much of the way there as a restart gives back.
fn past(standing: &Standing, rows: &BTreeMap<Revision, Row>, sealer: &Sealer) -> Result<Past, TablesError> {
    let base = standing.floor.max(Revision(standing.revision.0.saturating_sub(EVENTS_RESTORED_MAX)));
    let latest: HashMap<&Key, Revision> = rows.iter().map(|(revision, row)| (&row.key, *revision)).collect();
    let mut objects: HashMap<Revision, Object> = HashMap::new();
    let mut read = |revision: Revision| -> Result<Object, Malformed> {
        if let Some(known) = objects.get(&revision) {
            return Ok(known.clone());
        }
        let row = rows.get(&revision).ok_or(Malformed { what: "past: a version is missing" })?;
        let bytes = row.open(sealer)?.ok_or(Malformed { what: "past: an object is missing" })?;
        let object = Object::parse(row.key.kind(), bytes).map_err(|_| Malformed { what: "object" })?.at(revision);
        objects.insert(revision, object.clone());
        Ok(object)
    };
    let mut events = Vec::new();
    for (revision, row) in rows.range(base.next()..) {
        let before = (row.replaced != Revision::ZERO).then(|| read(row.replaced)).transpose()?;
        let change = match (before, &row.object) {
            (None, Some(_)) => Change::Added(read(*revision)?),
            (Some(before), Some(_)) => Change::Modified { before, after: read(*revision)? },
            (Some(before), None) => Change::Deleted { last: before.at(*revision), before },
            (None, None) => return Err(Malformed { what: "past: what was never there is gone" }.into()),
        };
        events.push(Arc::new(Event { revision: *revision, change }));
    }
    let mut living = Vec::new();
    for revision in latest.into_values().filter(|revision| rows[revision].object.is_some()) {
        living.push(read(revision)?);
    }
    Ok(Past { world: Snapshot::load(standing.revision, living), base, events })
}

fn put_standing(write: &WriteTransaction, standing: &Standing, sums: Sums) -> Result<(), TablesError> {
    let mut sessions = vec![FORMAT];
    codec::put_sessions(&mut sessions, &standing.sessions);
    let bytes = encode_standing(standing, sums, &sessions);
    let mut meta = write.open_table(META)?;
    meta.insert(STANDING, bytes.as_slice())?;
    meta.insert(SESSIONS, sessions.as_slice())?;
    Ok(())
}

/// The rows have changed, and nothing else.
fn put_sums(write: &WriteTransaction, sums: Sums) -> Result<(), TablesError> {
    let mut meta = write.open_table(META)?;
    let bytes = {
        let Some(line) = meta.get(STANDING)? else { return Ok(()) };
        let sessions = meta.get(SESSIONS)?;
        let sessions = sessions.as_ref().map_or(&[][..], redb::AccessGuard::value);
        let (standing, _) = decode_standing(line.value(), sessions)?;
        encode_standing(&standing, sums, sessions)
    };
    meta.insert(STANDING, bytes.as_slice())?;
    Ok(())
}

/// Where the image stands; `sessions` lie elsewhere and are only vouched for.
pub(super) fn encode_standing(standing: &Standing, sums: Sums, sessions: &[u8]) -> Vec<u8> {
    let mut bytes = vec![SUMMED];
    codec::identified(&mut bytes, standing.applied);
    codec::identified(&mut bytes, *standing.membership.log_id());
    codec::member_list(&mut bytes, standing.membership.membership());
    bytes.extend_from_slice(&standing.revision.0.to_le_bytes());
    bytes.extend_from_slice(&standing.floor.0.to_le_bytes());
    sums.put(&mut bytes);
    let checksum = checksum(&bytes, sessions);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

pub(super) fn checksum(line: &[u8], sessions: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(line);
    hasher.update(sessions);
    hasher.finalize()
}

/// Reads a line, and what its rows should add up to: those from before there were sums do not say.
pub(super) fn decode_standing(bytes: &[u8], sessions: &[u8]) -> Result<(Standing, Option<Sums>), Malformed> {
    let format = bytes.first().copied().unwrap_or_default();
    if format >= SUMMED && !is_vouched(bytes, sessions) {
        return Err(Malformed { what: "standing: its checksum is another" });
    }
    let is_summed = format == SUMMED;
    let mut reader = if is_summed { Reader::inside(&bytes[1..bytes.len() - 4]) } else { Reader::new(bytes)? };
    let applied = codec::id(&mut reader)?;
    let membership = StoredMembership::new(codec::id(&mut reader)?, codec::members(&mut reader)?);
    let (revision, floor) = (Revision(reader.u64()?), Revision(reader.u64()?));
    let sums = if is_summed { Some(Sums::read(&mut reader)?) } else { None };
    reader.end((Standing { applied, membership, revision, floor, sessions: Arc::default() }, sums))
}

/// Whether a line of any format since there are sums is what was written: whatever it says, it ends with that checksum.
fn is_vouched(bytes: &[u8], sessions: &[u8]) -> bool {
    let parts = bytes.split_last_chunk();
    parts.is_some_and(|(line, sum)| checksum(line, sessions) == u32::from_le_bytes(*sum))
}

fn decode_sessions(bytes: &[u8]) -> Result<Sessions, Malformed> {
    let mut reader = Reader::new(bytes)?;
    let sessions = codec::sessions(&mut reader)?;
    reader.end(sessions)
}

/// The row that an event makes.
#[cfg(test)]
pub(super) fn row(event: &Event, sealer: &Sealer) -> Vec<u8> {
    let mut bytes = Vec::new();
    Version::of(event).encode(&mut bytes, sealer);
    bytes
}

// === impl Version ===

impl<'a> Version<'a> {
    fn of(event: &'a Event) -> Self {
        let replaced = event.before().map_or(Revision::ZERO, Object::revision);
        let content = match event.after() {
            Some(after) => Content::Object(after),
            None => Content::Gone(event.key()),
        };
        Self { replaced, content }
    }

    fn encode(&self, out: &mut Vec<u8>, sealer: &Sealer) {
        match self.content {
            Content::Gone(key) => {
                head(out, self.replaced, key);
                out.push(mark::GONE);
            }
            Content::Object(object) => sealed(out, self.replaced, object.key(), object.body(), sealer),
        }
    }
}

/// Begins a row anew.
fn head(out: &mut Vec<u8>, replaced: Revision, key: &Key) {
    out.clear();
    out.push(FORMAT);
    out.extend_from_slice(&replaced.0.to_le_bytes());
    codec::put_key(out, key);
}

/// A row with an object.
fn sealed(out: &mut Vec<u8>, replaced: Revision, key: &Key, body: &[u8], sealer: &Sealer) {
    head(out, replaced, key);
    out.push(mark::SEALED);
    sealer.seal(&context(key), out, |out| out.extend_from_slice(body));
}

/// What ties a sealed object to its key.
fn context(key: &Key) -> Vec<u8> {
    let mut context = Vec::from(*b"image");
    codec::put_key(&mut context, key);
    context
}

// === impl Row ===

impl Row {
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let (replaced, key) = (Revision(reader.u64()?), codec::key(&mut reader)?);
        let object = match reader.byte()? {
            mark::GONE => reader.end(None)?,
            mark::PLAIN => {
                let body = reader.bytes()?.to_vec();
                reader.end(Some(Body::Plain(body)))?
            }
            mark::SEALED => Some(Body::Sealed(reader.rest().to_vec())),
            _ => return Err(Malformed { what: "row" }),
        };
        Ok(Self { replaced, key, object })
    }

    /// The object's bytes, if this is not the mark of one that is gone.
    fn open(&self, sealer: &Sealer) -> Result<Option<Vec<u8>>, Malformed> {
        match &self.object {
            None => Ok(None),
            Some(Body::Plain(body)) => Ok(Some(body.clone())),
            Some(Body::Sealed(body)) => sealer.open(&context(&self.key), body).map(Some),
        }
    }

    /// The row under the newest key, unless it is so already.
    fn resealed(&self, sealer: &Sealer) -> Result<Option<Vec<u8>>, Malformed> {
        if let Some(Body::Sealed(body)) = &self.object
            && sealer.is_newest(body)
        {
            return Ok(None);
        }
        Ok(self.open(sealer)?.map(|body| {
            let mut out = Vec::new();
            sealed(&mut out, self.replaced, &self.key, &body, sealer);
            out
        }))
    }
}

// === impl TablesError ===

impl TablesError {
    /// Whether there was no room on the disk: what was to be written is as it was, and may be written later.
    pub(super) fn is_for_lack_of_room(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(&**error, redb::Error::Io(source) if room::is_lacking(source)))
    }

    /// What it means for whoever wants to open the image.
    pub(super) fn at(self, path: &Path) -> OpenError {
        match self {
            Self::Database(error) => match *error {
                redb::Error::Io(source) => OpenError::Io { path: path.into(), source },
                other => OpenError::Damaged { path: path.into(), reason: other.to_string() },
            },
            Self::Malformed(error) => OpenError::of_content(path.into(), error),
        }
    }
}

macro_rules! from_database {
    ($($error:ty),*) => {$(
        impl From<$error> for TablesError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )*};
}

from_database!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError);

impl From<TablesError> for io::Error {
    fn from(error: TablesError) -> Self {
        Self::other(error)
    }
}
