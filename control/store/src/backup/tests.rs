use std::io;

use api::{Object, Revision, kinds};
use proptest::prelude::*;

use super::*;

/// What was put in, or came out.
#[derive(Debug, Default, PartialEq)]
struct Stuff {
    objects: Vec<(Revision, Object)>,
    files: Vec<(String, Vec<u8>)>,
    /// Where this is something, volumes were wanted; one without content was broken off.
    volumes: Option<Vec<(String, Option<Vec<u8>>)>>,
}

/// What was there of a volume, and no more.
struct BrokenOff<'a>(&'a [u8]);

fn object(name: &str, filling: &str, revision: u64) -> Object {
    let value = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n", "uid": "u"},
        "data": {"filling": filling}});
    Object::from_value(kinds::SECRET, &value).expect("a secret").at(Revision(revision))
}

fn contents(objects: usize) -> Contents {
    let (taken, cluster) = ("2026-11-22T09:30:00Z".to_owned(), "c1".to_owned());
    Contents {
        taken,
        revision: 9,
        objects: objects as u64,
        cluster,
        images: true,
        image_count: None,
        images_lost: None,
        volumes: None,
    }
}

impl io::Read for BrokenOff<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the node is gone")),
            count => Ok(count),
        }
    }
}

fn written(key: &Key, stuff: &Stuff) -> Vec<u8> {
    let volumes = stuff.volumes.as_ref().map(|volumes| volumes.len() as u64);
    let contents = Contents { volumes, ..contents(stuff.objects.len()) };
    let mut writer = Writer::begin(Vec::new(), key, &contents).expect("begun");
    for (path, content) in &stuff.files {
        writer.file(path, content.len() as u64, content.as_slice()).expect("written");
    }
    stuff.objects.iter().for_each(|(_, object)| writer.object(object).expect("written"));
    for (name, content) in stuff.volumes.iter().flatten() {
        match content {
            Some(content) => writer.volume(name, content.as_slice()).expect("written").expect("whole"),
            None => {
                let broken = writer.volume(name, BrokenOff(&vec![3; 1_100_000])).expect("written");
                assert_eq!(broken.expect_err("broken off").to_string(), "the node is gone");
                writer.left(name.clone());
            }
        }
    }
    writer.finish().expect("finished")
}

fn read(key: &Key, bytes: &[u8]) -> Result<Stuff, BackupError> {
    let mut reader = Reader::open(bytes, key)?;
    let mut stuff = Stuff { volumes: reader.contents().volumes.map(|_| Vec::new()), ..Stuff::default() };
    while let Some(item) = reader.item()? {
        match item {
            Item::Object(object) => stuff.objects.push((object.revision(), object)),
            Item::File { path, length } => {
                let mut content = Vec::new();
                reader.copy(&mut content)?;
                assert_eq!(content.len() as u64, length);
                stuff.files.push((path, content));
            }
            Item::Volume { name } => {
                let mut content = Vec::new();
                let content = (reader.copy(&mut content)? == Copied::Whole).then_some(content);
                stuff.volumes.get_or_insert_default().push((name, content));
            }
        }
    }
    Ok(stuff)
}

/// A few things of each sort; one object and one file are longer than a chunk.
fn stuff() -> impl Strategy<Value = Stuff> {
    let object = ("[a-z]{1,8}", prop_oneof![4 => 0..200_usize, 1 => Just(1_500_000_usize)], 1..1_000_u64);
    let object =
        object.prop_map(|(name, length, at)| (Revision(at), super::tests::object(&name, &"ä".repeat(length), at)));
    let content = prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..200), 1 => Just(vec![7; 2_200_000])];
    let file = ("[a-z]{1,8}(/[a-z.]{3}x)?", content);
    let content = prop_oneof![3 => prop::collection::vec(any::<u8>(), 0..200), 1 => Just(vec![9; 2_200_000])];
    let volumes = prop::collection::vec(("[a-z]{1,8}", prop::option::weighted(0.8, content)), 0..4);
    (prop::collection::vec(object, 0..12), prop::collection::vec(file, 0..4), prop::option::of(volumes))
        .prop_map(|(objects, files, volumes)| Stuff { objects, files, volumes })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_was_written_is_read(stuff in stuff()) {
        let key = Key::fresh();
        let bytes = written(&key, &stuff);
        let (_, tally) = check(bytes.as_slice()).expect("whole");
        let volumes = || stuff.volumes.iter().flatten();
        let left: Vec<String> = volumes().filter(|it| it.1.is_none()).map(|it| it.0.clone()).collect();
        let there: Vec<&Vec<u8>> = volumes().filter_map(|it| it.1.as_ref()).collect();
        prop_assert_eq!((tally.volumes, tally.left), (there.len() as u64, left.len() as u64));
        prop_assert_eq!((tally.bytes, tally.left_names), (there.iter().map(|it| it.len() as u64).sum(), left));
        prop_assert_eq!(read(&key, &bytes).expect("read"), stuff);
    }
}

/// A file of several chunks, small enough that every byte of it can be broken.
fn of_several_chunks(key: &Key) -> Vec<u8> {
    let files = vec![("registry/blobs/a".to_owned(), vec![0; 3 * CHUNK_BYTES])];
    written(key, &Stuff { objects: vec![(Revision(3), object("canary", "canary-7f3a91c2", 3))], files, volumes: None })
}

/// One with volumes, of which one is not there.
fn with_volumes(key: &Key) -> Vec<u8> {
    let volumes = vec![("pvc-a".to_owned(), Some(vec![7; 3000])), ("pvc-b".to_owned(), None)];
    written(key, &Stuff { volumes: Some(volumes), ..Stuff::default() })
}

#[test]
fn a_file_that_was_changed_or_cut_anywhere_is_refused() {
    let key = Key::fresh();
    changed_or_cut(&key, &of_several_chunks(&key));
    changed_or_cut(&key, &with_volumes(&key));
}

fn changed_or_cut(key: &Key, whole: &[u8]) {
    assert!(read(key, whole).is_ok());
    // What is deflated well is short: the lengths of chunks, seals and all else have their turn.
    let stride = whole.len().div_ceil(100);
    for at in (0..whole.len()).filter(|at| *at < 240 || *at + 60 > whole.len() || at % stride == 0) {
        let mut broken = whole.to_owned();
        broken[at] ^= 1 << (at % 8);
        assert!(check(broken.as_slice()).is_err(), "without a key, byte {at} of {}", whole.len());
        assert!(read(key, &broken).is_err(), "byte {at} of {}", whole.len());
        assert!(check(&whole[..at]).is_err() && read(key, &whole[..at]).is_err(), "cut at {at}");
    }
    let mut longer = whole.to_owned();
    longer.push(0);
    assert!(check(longer.as_slice()).is_err());
}

/// Who can compute the sum at the end but has no key changes nothing either.
#[test]
fn a_chunk_opens_only_at_its_place() {
    let key = Key::fresh();
    let whole = of_several_chunks(&key);
    let starts = starts(&whole);
    assert!(starts.len() >= 4, "{starts:?}");
    // The last chunk left away; two of them exchanged.
    let shorter = [&whole[..starts[starts.len() - 2]], &whole[whole.len() - 36..]].concat();
    let (a, b, c) = (starts[1], starts[2], starts[3]);
    let exchanged = [&whole[..a], &whole[b..c], &whole[a..b], &whole[c..]].concat();
    let mut of_another = whole.clone();
    let at = of_another.windows(4).position(|window| window == b"2026").expect("a date");
    of_another[at + 3] = b'5';
    for (changed, how) in [(shorter, "shorter"), (exchanged, "exchanged"), (of_another, "of another day")] {
        let changed = resummed(changed);
        assert!(check(changed.as_slice()).is_ok(), "{how}: the sum is right");
        assert!(read(&key, &changed).is_err(), "{how}");
    }
}

fn resummed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let sum = ring::digest::digest(&SHA256, &bytes[..end]);
    bytes[end..].copy_from_slice(sum.as_ref());
    bytes
}

/// Anybody may read which volumes are not there, and nobody without the key says otherwise.
#[test]
fn what_is_told_of_volumes_is_sealed_too() {
    let key = Key::fresh();
    let whole = with_volumes(&key);
    let (contents, tally) = check(whole.as_slice()).expect("whole");
    let left_names = vec!["pvc-b".to_owned()];
    assert_eq!((contents.volumes, tally), (Some(2), Tally { volumes: 1, bytes: 3000, left: 1, left_names }));
    let mut other = whole;
    let at = other.windows(5).rposition(|window| window == b"pvc-b").expect("a name");
    other[at + 4] = b'c';
    let other = resummed(other);
    assert_eq!(check(other.as_slice()).expect("the sum is right").1.left_names, ["pvc-c"]);
    assert!(matches!(read(&key, &other), Err(BackupError::Damaged(_))));
}

#[test]
fn a_file_that_was_given_up_says_why() {
    let key = Key::fresh();
    let wanted = Contents { volumes: Some(1), ..contents(0) };
    let mut writer = Writer::begin(Vec::new(), &key, &wanted).expect("begun");
    writer.file("registry/blobs/a", 3 << 20, io::repeat(0)).expect("written");
    writer.volume("pvc-a", BrokenOff(&[1; 10])).expect("written").expect_err("broken off");
    let bytes = writer.give_up("shop/data: node n1 is not connected").expect("ended");
    for refused in [check(bytes.as_slice()).map(drop), read(&key, &bytes).map(drop)] {
        let why = refused.expect_err("refused").to_string();
        assert_eq!(why, "given up by the server that wrote it: shop/data: node n1 is not connected");
    }
}

/// Where each chunk begins, and where the mark of the end does.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let mut at = MAGIC.len() + 1;
    at += 4 + number(at);
    let mut starts = vec![at];
    while number(at) != 0 {
        at += 4 + number(at);
        starts.push(at);
    }
    starts
}

#[test]
fn without_the_key_it_tells_what_is_in_it_and_no_secret() {
    let key = Key::fresh();
    let whole = of_several_chunks(&key);
    assert_eq!(check(whole.as_slice()).expect("whole"), (contents(1), Tally::default()));
    assert!(!whole.windows(6).any(|window| window == b"canary"));
    let other = Key::fresh();
    assert!(matches!(read(&other, &whole), Err(BackupError::OtherKey { wanted, .. }) if wanted == key.id()));
    assert!(matches!(check(&b"PK\x03\x04"[..]), Err(BackupError::Foreign)));
    let mut newer = whole;
    newer[MAGIC.len()] = FORMAT_VOLUMES + 1;
    assert!(matches!(check(newer.as_slice()), Err(BackupError::Newer(3))));
}

#[test]
fn a_path_that_leads_elsewhere_is_refused() {
    let key = Key::fresh();
    for path in ["/etc/passwd", "../x", "a/../../x", "", "a//b", "."] {
        let bytes = written(&key, &Stuff { files: vec![(path.to_owned(), vec![1])], ..Stuff::default() });
        assert!(matches!(read(&key, &bytes), Err(BackupError::Damaged(_))), "{path:?}");
    }
}

/// What is without volumes is read by the version before, too.
#[test]
fn the_newer_format_is_written_only_where_it_is_needed() {
    let key = Key::fresh();
    assert_eq!((of_several_chunks(&key)[MAGIC.len()], with_volumes(&key)[MAGIC.len()]), (1, 2));
}

/// A file from the day that the format was made, which every later version reads.
#[test]
fn the_file_of_format_1_is_read() {
    let key: Key = "coracle-snapshot-key-AAAABwEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB".parse().expect("a key");
    let bytes = golden(include_str!("golden.txt"));
    let stuff = Stuff {
        objects: vec![(Revision(3), object("one", "ü", 3)), (Revision(9), object("two", "", 9))],
        files: vec![("pki/ca.crt".to_owned(), b"-----BEGIN".to_vec())],
        volumes: None,
    };
    assert_eq!(check(bytes.as_slice()).expect("whole").0, contents(2));
    let found = read(&key, &bytes).expect("read");
    assert_eq!(found.files, stuff.files);
    // The order of members is not part of what they say.
    let says = |stuff: &Stuff| -> Vec<_> {
        stuff.objects.iter().map(|(at, object)| (*at, object.to_value().expect("JSON"))).collect()
    };
    assert_eq!(says(&found), says(&stuff));
}

/// The same for what has volumes.
#[test]
fn the_file_of_format_2_is_read() {
    let key: Key = "coracle-snapshot-key-AAAABwEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB".parse().expect("a key");
    let bytes = golden(include_str!("golden-2.txt"));
    let volumes = vec![
        ("pvc-1".to_owned(), Some(b"packed".to_vec())),
        ("pvc-2".to_owned(), None),
        ("pvc-3".to_owned(), Some(Vec::new())),
    ];
    let files = vec![("pki/ca.crt".to_owned(), b"-----BEGIN".to_vec())];
    let (found, tally) = check(bytes.as_slice()).expect("whole");
    assert_eq!(found, Contents { image_count: Some(4), volumes: Some(3), ..contents(0) });
    assert_eq!(tally, Tally { volumes: 2, bytes: 6, left: 1, left_names: vec!["shop/data".to_owned()] });
    assert_eq!(read(&key, &bytes).expect("read"), Stuff { objects: Vec::new(), files, volumes: Some(volumes) });
}

fn golden(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}
