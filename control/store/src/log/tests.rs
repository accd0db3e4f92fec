//! The log under crashes: files as a crash could leave them, and what is read from them.

use std::fs;
use std::path::PathBuf;

use api::{Object, kinds};
use openraft::EntryPayload;
use openraft::storage::RaftLogStorageExt;
use state::Txn;
use tempfile::TempDir;

use super::recovery::recover;
use super::*;
use crate::consensus::{Command, LeaderId};
use crate::disk::Real;

/// What a crash did to the bytes from some place on.
#[derive(Clone, Copy, Debug)]
enum Crash {
    /// The file ends there.
    Truncated,
    /// They never arrived.
    Zeroed,
    /// One page is garbage, what follows arrived.
    Torn,
}

/// A log that is written to one entry at a time.
struct Written {
    directory: TempDir,
    /// After each entry: the last segment and where its records ended.
    ends: Vec<(u64, u64)>,
}

const LIMITS: LogLimits =
    LogLimits { segment_bytes: 2 << 10, memory_bytes_max: 600, kept_bytes: 1 << 20, kept_entries: 1_000 };

/// One key for all that is written and read in this process.
fn sealer() -> Sealer {
    static KEYS: std::sync::LazyLock<Sealer> = std::sync::LazyLock::new(Sealer::alone);
    KEYS.clone()
}

fn real() -> Arc<dyn Disk> {
    Arc::new(Real)
}

fn id(term: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: 1 }, index }
}

/// Entries of different lengths; every fifth is blank.
fn entry(term: u64, index: u64) -> Entry {
    if index.is_multiple_of(5) {
        return Entry { log_id: id(term, index), payload: EntryPayload::Blank };
    }
    let value = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{index}"), "namespace": "n"},
        "data": {"filling": "x".repeat(index as usize * 7 % 90)}});
    let object = Object::from_value(kinds::CONFIG_MAP, &value).expect("a config map");
    Entry {
        log_id: id(term, index),
        payload: EntryPayload::Normal(Command { txn: Arc::new(Txn::create(object)), proposal: None }),
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

fn written(entries: u64) -> Written {
    let directory = tempfile::tempdir().expect("a directory");
    let mut ends = Vec::new();
    let mut log = Log::open(&real(), directory.path(), LIMITS, sealer()).expect("a log");
    run(async {
        log.save_vote(&Vote::new_committed(1, 1)).await.expect("saved");
        for index in 0..entries {
            log.blocking_append([entry(1, index)]).await.expect("on disk");
            ends.push(end_of_entries(directory.path()));
        }
    });
    log.close();
    Written { directory, ends }
}

/// The last segment, and where its last entry ends: the mark that follows may be there already or not.
fn end_of_entries(directory: &Path) -> (u64, u64) {
    let names = Real.names(directory).expect("a directory");
    let digits = names.iter().filter_map(|name| name.strip_suffix(".log")).max().expect("a segment");
    let sequence = u64::from_str_radix(digits, 16).expect("a number");
    let file = Real.open(&segment::path(directory, sequence)).expect("a segment");
    let mut bytes = [0; segment::HEADER_BYTES];
    file.read_at(&mut bytes, 0).expect("a header");
    let (_, start) = segment::Header::decode(&bytes).expect("a header");
    let mut end = 0;
    let scanned = segment::scan(&*file, segment::HEADER_BYTES as u64, start, |offset, record| {
        if matches!(record::Record::decode(record)?, record::Record::Entry(_)) {
            end = offset + record.len() as u64 - 1;
        }
        Ok(())
    });
    scanned.expect("readable at any time");
    (sequence, end)
}

/// The entries that a log in this directory has.
fn entries(directory: &Path) -> Vec<Entry> {
    let log = Log::open(&real(), directory, LIMITS, sealer()).expect("it opens");
    let entries = log.read(.., usize::MAX).expect("readable");
    log.close();
    entries
}

fn copy(written: &Written) -> TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for file in fs::read_dir(written.directory.path()).expect("a directory") {
        let file = file.expect("a file");
        fs::copy(file.path(), copy.path().join(file.file_name())).expect("copied");
    }
    copy
}

fn last_segment(written: &Written) -> (PathBuf, u64) {
    let (sequence, _) = *written.ends.last().expect("entries");
    (segment::path(Path::new(""), sequence), sequence)
}

fn crash(bytes: &[u8], at: usize, crash: Crash) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match crash {
        Crash::Truncated => bytes.truncate(at),
        Crash::Zeroed => bytes[at..].fill(0),
        Crash::Torn => bytes[at] ^= 0xa5,
    }
    bytes
}

#[test]
fn a_crash_at_any_byte_leaves_every_acknowledged_entry_and_nothing_else() {
    let log = written(40);
    let (name, sequence) = last_segment(&log);
    let image = copy(&log);
    let bytes = fs::read(log.directory.path().join(&name)).expect("the last segment");
    let end = log.ends.last().expect("entries").1 as usize;
    // The whole of the last segment behind its header, byte by byte.
    for at in segment::HEADER_BYTES..=end {
        for kind in [Crash::Truncated, Crash::Zeroed, Crash::Torn] {
            let crashed = crash(&bytes, at, kind);
            // Where a zero lay there before, nothing is lost.
            let lost = (at..end).find(|place| crashed.get(*place) != bytes.get(*place)).unwrap_or(end);
            fs::write(image.path().join(&name), crashed).expect("written");
            let recovered = recover(&Real, image.path());
            if matches!(kind, Crash::Torn) && at < end {
                // The mark at the end says that all of this was on disk: that is no crash.
                assert!(matches!(recovered, Err(OpenError::Damaged { .. })), "at {at} of {end}");
                continue;
            }
            let (memory, tail) = recovered.expect("a crash is no damage");
            let whole =
                log.ends.iter().filter(|(segment, end)| *segment < sequence || *end <= lost as u64).count() as u64;
            assert_eq!(memory.last.map(|id| id.index + 1), Some(whole), "{kind:?} at {at} of {end}");
            assert!(tail.is_some_and(|tail| tail.end <= lost as u64), "{kind:?} at {at}");
        }
    }
}

#[test]
fn after_a_crash_the_log_goes_on_and_the_torn_past_never_returns() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = LogLimits { segment_bytes: 16 << 10, ..LIMITS };
    let mut log = Log::open(&real(), directory.path(), limits, sealer()).expect("a log");
    run(log.blocking_append((0..10).map(|index| entry(1, index)))).expect("on disk");
    log.close();
    let log = Written { ends: vec![end_of_entries(directory.path())], directory };
    let (name, _) = last_segment(&log);
    // As it was before the sync had come back: without the mark that says so.
    let end = log.ends[0].1 as usize;
    let bytes = crash(&fs::read(log.directory.path().join(&name)).expect("the segment"), end, Crash::Zeroed);
    for lost in 0..9 {
        let mut id_of_lost = Vec::new();
        crate::codec::put_id(&mut id_of_lost, id(1, lost));
        let at = bytes.windows(id_of_lost.len()).position(|window| window == id_of_lost).expect("it is there");
        // The entry is torn, the ones behind it arrived whole.
        let image = copy(&log);
        fs::write(image.path().join(&name), crash(&bytes, at, Crash::Torn)).expect("written");
        let mut log = Log::open(&real(), image.path(), LIMITS, sealer()).expect("it opens");
        // An entry of the same length in its place, as another leader would write it.
        run(log.blocking_append([entry(2, lost)])).expect("on disk");
        log.close();
        let expected: Vec<Entry> = (0..lost).map(|index| entry(1, index)).chain([entry(2, lost)]).collect();
        assert_eq!(entries(image.path()), expected, "entry {lost}");
    }
}

#[test]
fn damage_before_the_last_segment_is_told() {
    let log = written(40);
    for at in [8, segment::HEADER_BYTES + 3, 1_000] {
        let image = copy(&log);
        let first = segment::path(image.path(), 1);
        let bytes = fs::read(&first).expect("the first segment");
        fs::write(&first, crash(&bytes, at, Crash::Torn)).expect("written");
        assert!(
            matches!(Log::open(&real(), image.path(), LIMITS, sealer()), Err(OpenError::Damaged { .. })),
            "at {at}"
        );
    }
    let image = copy(&log);
    fs::remove_file(segment::path(image.path(), 2)).expect("removed");
    assert!(matches!(Log::open(&real(), image.path(), LIMITS, sealer()), Err(OpenError::Damaged { .. })));
}

#[test]
fn truncation_and_purge_survive_and_free_the_disk() {
    let log = written(40);
    let path = log.directory.path();
    let files = || fs::read_dir(path).expect("a directory").count();
    let before = files();
    let mut log = Log::open(&real(), path, LIMITS, sealer()).expect("it opens");
    run(async {
        log.truncate_after(Some(id(1, 29))).await.expect("truncated");
        log.blocking_append([entry(2, 30), entry(2, 31)]).await.expect("on disk");
        log.purge(id(1, 24)).await.expect("purged");
    });
    let expected: Vec<Entry> = (25..30).map(|index| entry(1, index)).chain([entry(2, 30), entry(2, 31)]).collect();
    assert_eq!(log.read(.., usize::MAX).expect("readable"), expected);
    log.close();
    assert!(files() < before, "segments that nobody needs are gone");
    assert_eq!(entries(path), expected);

    // Beyond its end, as when another member's snapshot replaced everything.
    let mut log = Log::open(&real(), path, LIMITS, sealer()).expect("it opens");
    run(async {
        log.purge(id(2, 100)).await.expect("purged");
        log.blocking_append([entry(2, 101)]).await.expect("on disk");
    });
    log.close();
    assert_eq!(entries(path), [entry(2, 101)]);
}

#[test]
fn old_entries_are_read_from_disk_and_answers_are_bounded() {
    let log = written(40);
    let log = Log::open(&real(), log.directory.path(), LIMITS, sealer()).expect("it opens");
    assert_eq!(log.read(3..7, usize::MAX).expect("readable"), (3..7).map(|index| entry(1, index)).collect::<Vec<_>>());
    assert_eq!(log.read(3..40, 1).expect("readable").len(), 1, "one, however large");
    assert!(log.read(3..40, 1_000).expect("readable").len() < 10);
    assert!(log.read(40.., usize::MAX).expect("readable").is_empty());
    log.close();
}

#[test]
fn an_entry_larger_than_a_segment_gets_one_of_its_size() {
    let directory = tempfile::tempdir().expect("a directory");
    let value = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"},
        "data": {"filling": "x".repeat(10_000)}});
    let object = Object::from_value(kinds::CONFIG_MAP, &value).expect("a config map");
    let payload = EntryPayload::Normal(Command { txn: Arc::new(Txn::create(object)), proposal: None });
    let large = Entry { log_id: id(1, 1), payload };
    let mut log = Log::open(&real(), directory.path(), LIMITS, sealer()).expect("a log");
    run(log.blocking_append([entry(1, 0), large.clone(), entry(1, 2)])).expect("on disk");
    log.close();
    assert_eq!(entries(directory.path()), [entry(1, 0), large, entry(1, 2)]);
}

#[test]
fn the_front_is_let_go_by_entries_and_by_bytes() {
    let written = written(40);
    let log = Log::open(&real(), written.directory.path(), LIMITS, sealer()).expect("it opens");
    let limits = |kept_entries, kept_bytes| LogLimits { kept_bytes, kept_entries, ..LIMITS };
    assert_eq!(log.surplus(limits(36, 1 << 20)), None, "a little more than is kept is not worth the trouble");
    assert_eq!(log.surplus(limits(10, 1 << 20)), Some(29));
    let upto = log.surplus(limits(40, 1_000)).expect("too many bytes");
    let left: u64 =
        log.read(upto + 1.., usize::MAX).expect("readable").iter().map(|entry| memory::weight(entry) as u64).sum();
    assert!(upto < 39 && left < 4_000);
    log.close();
}

/// What says that everything before it is on disk, as it lies there.
#[test]
fn the_mark_is_the_one_on_disk_everywhere() {
    let (mut bytes, mut chain) = (Vec::new(), record::Chain(7));
    let mark = record::Mark { sequence: 3, at: 0x0102 };
    chain.mark(&mut bytes, mark);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, MARK);
    assert!(mark.is(&bytes) && !record::Mark { at: 0x0103, ..mark }.is(&bytes));
}

const MARK: &str = "1600000003859e65060103000000000000000201000000000000c582d383";

/// A segment and each sort of record, as they lie there; what is sealed in an entry has its own in `seal`.
#[test]
fn a_segment_is_the_one_on_disk_everywhere() {
    let (header, mut chain) = segment::Header { sequence: 3, previous_end: 0x0102 }.encode();
    let mut bytes = header.to_vec();
    chain.vote(&mut bytes, &Vote::new_committed(1, 1));
    chain.entry(&mut bytes, &entry(1, 0), &sealer());
    chain.committed(&mut bytes, Some(id(1, 0)));
    chain.truncated(&mut bytes, None);
    chain.purged(&mut bytes, id(1, 0));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, SEGMENT);
}

const SEGMENT: &str = "434f52414c4f4701030000000000000002010000000000000bdbdd7113000000438e6d5b020101000000000000000100000000000000011b000000add6871d0101010000000000000001000000000000000000000000000000001b000000c8569e8e050101010000000000000001000000000000000000000000000000030000001932a4c00301001b000000716eadc0040101010000000000000001000000000000000000000000000000";

#[test]
fn what_a_newer_version_wrote_is_refused_and_left_as_it_is() {
    let log = written(10);
    let (name, _) = last_segment(&log);
    let path = log.directory.path().join(&name);
    let mut bytes = fs::read(&path).expect("the last segment");
    bytes[7] = 2;
    let sum = crc32fast::hash(&bytes[..segment::HEADER_BYTES - 4]);
    bytes[segment::HEADER_BYTES - 4..segment::HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, &bytes).expect("written");
    let refused = Log::open(&real(), log.directory.path(), LIMITS, sealer()).err().expect("newer");
    assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
    assert!(refused.to_string().contains("its format is 2, and this version knows 1; start"), "{refused}");

    // A record among those that this version knows: the checksums hold, so it is no torn end.
    let (header, mut chain) = segment::Header { sequence: 1, previous_end: 0 }.encode();
    let mut bytes = header.to_vec();
    chain.vote(&mut bytes, &Vote::new_committed(1, 1));
    let mut body = Vec::new();
    crate::codec::Stored::encode(&Vote::new(2, 1), &mut body);
    body[0] = 2;
    let record = [&[2][..], &body].concat();
    bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&chain.next(&record).to_le_bytes());
    bytes.extend_from_slice(&record);
    let directory = tempfile::tempdir().expect("a directory");
    let path = segment::path(directory.path(), 1);
    fs::write(&path, &bytes).expect("written");
    let refused = Log::open(&real(), directory.path(), LIMITS, sealer()).err().expect("newer");
    assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
    assert_eq!(fs::read(&path).expect("there"), bytes);
}
