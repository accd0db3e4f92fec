//! Entries on the node's disk, sealed: what is put there is there after a power cut, and is of use to nobody who has the file alone.
//!
//! ```text
//! kept/key      32 random bytes, readable by their owner alone
//! kept/world    magic │ salt [u8; 16] │ record…
//! record        length u32 │ ciphertext │ tag [u8; 16]
//! ```
//! A record is some entries that were put or removed together. It is sealed with AES-256 in Galois counter mode under a key that
//! is derived (HKDF with SHA-256) from the node's key and the file's salt, and its nonce is its place in the file: none comes twice,
//! and none opens anywhere else. The file is written anew, with another salt, whenever it is opened and when most of it is out of
//! date; what is read of it is the longest beginning that is as it was written. The number in its magic is that of the format: a file
//! of a newer one is refused and left as it is.
//!
//! The key lies beside what it seals. It keeps the entries from whoever comes by the file (a backup, an image of the disk without
//! the key), and any change of them from being believed; it keeps nothing from somebody who can read the whole directory.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};

/// The entries of a node.
pub(crate) struct Vault {
    directory: PathBuf,
    secret: [u8; KEY_BYTES],
    entries: BTreeMap<String, Vec<u8>>,
    writing: Option<Writing>,
}

/// A file that is appended to.
struct Writing {
    file: File,
    key: LessSafeKey,
    /// Records so far.
    count: u64,
    bytes: usize,
}

/// What of a file was not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Whole,
    /// Its end, from this record on: as after a power cut.
    CutOff(u64),
    /// All of it.
    Damaged,
}

/// A change of one entry: what it is now, or nothing.
pub(crate) type Change = (String, Option<Vec<u8>>);

/// What a file begins with, with the number of its format.
const MAGIC: &[u8] = b"coracle kept 1\n";
/// As the file of any format begins, and the newest that is known here.
const NAME: &[u8] = b"coracle kept ";
const FORMAT: u64 = 1;
const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
/// A file is written anew when it is larger than twice what is in it and this: small ones need not be.
const SLACK_BYTES: usize = 1 << 20;

// === impl Vault ===

impl Vault {
    /// Opens the vault of a directory, making it where there is none; and tells what was found there.
    pub(crate) fn open(directory: impl Into<PathBuf>) -> io::Result<(Self, Found)> {
        let directory = directory.into();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let secret = secret(&directory.join("key"))?;
        let (entries, found) = match fs::read(directory.join("world")) {
            Ok(bytes) => {
                if let Some(format) = newer(&bytes) {
                    return Err(io::Error::other(format!(
                        "the file world in it was written by a newer version: its format is {format}, and this version knows {FORMAT}; \
                         start the version that wrote it or a later one, or remove the file, and the node forgets what it was last told"
                    )));
                }
                read(&bytes, &secret)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), Found::Whole),
            Err(error) => return Err(error),
        };
        Ok((Self { directory, secret, entries, writing: None }, found))
    }

    /// What is there.
    pub(crate) fn entries(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.entries
    }

    /// Changes entries, all or none of them; they are on the disk when this returns.
    pub(crate) fn change(&mut self, changes: Vec<Change>) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let record = record(&changes);
        for (name, content) in changes {
            match content {
                Some(content) => drop(self.entries.insert(name, content)),
                None => drop(self.entries.remove(&name)),
            }
        }
        let live: usize = self.entries.iter().map(|(name, content)| name.len() + content.len()).sum();
        let written = match &mut self.writing {
            Some(writing) if writing.bytes <= 2 * live + SLACK_BYTES => writing.append(record),
            _ => self.rewrite(),
        };
        // What failed half way is not appended to.
        written.inspect_err(|_| self.writing = None)
    }

    /// Writes everything into a file of its own, which then takes the place of the one there was.
    fn rewrite(&mut self) -> io::Result<()> {
        let salt = random::<SALT_BYTES>()?;
        let fresh = self.directory.join("world.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&[MAGIC, &salt].concat())?;
        let all: Vec<Change> =
            self.entries.iter().map(|(name, content)| (name.clone(), Some(content.clone()))).collect();
        let mut writing = Writing { file, key: derived(&self.secret, &salt), count: 0, bytes: 0 };
        writing.append(record(&all))?;
        fs::rename(&fresh, self.directory.join("world"))?;
        File::open(&self.directory)?.sync_all()?;
        self.writing = Some(writing);
        Ok(())
    }
}

// === impl Writing ===

impl Writing {
    fn append(&mut self, mut record: Vec<u8>) -> io::Result<()> {
        let sealed = self.key.seal_in_place_append_tag(nonce(self.count), Aad::empty(), &mut record);
        sealed.map_err(|_| io::Error::other("a record is too large to be sealed"))?;
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        self.file.write_all(&[&length.to_le_bytes()[..], &record].concat())?;
        self.file.sync_data()?;
        self.count += 1;
        self.bytes += record.len();
        Ok(())
    }
}

/// The format of a file, if it is one that only newer versions read.
fn newer(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(NAME)?;
    let number = rest.split(|byte| *byte == b'\n').next()?;
    let format = std::str::from_utf8(number).ok()?.parse().ok()?;
    (format > FORMAT).then_some(format)
}

/// The longest beginning of a file that is as it was written.
fn read(bytes: &[u8], secret: &[u8; KEY_BYTES]) -> (BTreeMap<String, Vec<u8>>, Found) {
    let mut entries = BTreeMap::new();
    let Some((salt, mut rest)) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_at_checked(SALT_BYTES)) else {
        return (entries, Found::Damaged);
    };
    let key = derived(secret, salt);
    let mut count = 0;
    while !rest.is_empty() {
        let Some((changes, further)) = opened(rest, &key, count) else {
            return (entries, if count == 0 { Found::Damaged } else { Found::CutOff(count) });
        };
        for (name, content) in changes {
            match content {
                Some(content) => drop(entries.insert(name, content)),
                None => drop(entries.remove(&name)),
            }
        }
        (rest, count) = (further, count + 1);
    }
    (entries, Found::Whole)
}

/// The first record of what is left, and what is behind it.
fn opened<'a>(rest: &'a [u8], key: &LessSafeKey, count: u64) -> Option<(Vec<Change>, &'a [u8])> {
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sealed, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let mut sealed = sealed.to_vec();
    let record = key.open_in_place(nonce(count), Aad::empty(), &mut sealed).ok()?;
    Some((changes(record)?, rest))
}

fn record(changes: &[Change]) -> Vec<u8> {
    let mut record = Vec::new();
    let mut put = |bytes: &[u8]| {
        record.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        record.extend_from_slice(bytes);
    };
    for (name, content) in changes {
        put(name.as_bytes());
        put(&[u8::from(content.is_some())]);
        put(content.as_deref().unwrap_or_default());
    }
    record
}

fn changes(mut record: &[u8]) -> Option<Vec<Change>> {
    let mut take = || -> Option<Vec<u8>> {
        let (length, rest) = record.split_first_chunk::<8>()?;
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        record = rest;
        Some(bytes.to_vec())
    };
    let mut changes = Vec::new();
    while let Some(name) = take() {
        let (is_there, content) = (take()? == [1], take()?);
        changes.push((String::from_utf8(name).ok()?, is_there.then_some(content)));
    }
    Some(changes)
}

/// The node's key, made where there is none.
fn secret(file: &Path) -> io::Result<[u8; KEY_BYTES]> {
    match fs::read(file) {
        Ok(bytes) => bytes.try_into().map_err(|_| io::Error::other(format!("{} is not a key", file.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = random::<KEY_BYTES>()?;
            let fresh = file.with_extension("new");
            let mut opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            opened.write_all(&secret)?;
            opened.sync_all()?;
            fs::rename(&fresh, file)?;
            Ok(secret)
        }
        Err(error) => Err(error),
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no chance"))?;
    Ok(bytes)
}

fn derived(secret: &[u8; KEY_BYTES], salt: &[u8]) -> LessSafeKey {
    let material = Salt::new(HKDF_SHA256, salt).extract(secret);
    let key = material.expand(&[b"coracle kept"], &AES_256_GCM).expect("one key is less than HKDF can give");
    LessSafeKey::new(UnboundKey::from(key))
}

fn nonce(count: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&count.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes in words: `a=1` puts, `-a` removes.
    fn change(vault: &mut Vault, words: &str) {
        let changes = words.split_whitespace().map(|word| match word.split_once('=') {
            Some((name, content)) => (name.to_owned(), Some(content.as_bytes().to_vec())),
            None => (word.trim_start_matches('-').to_owned(), None),
        });
        vault.change(changes.collect()).expect("written");
    }

    fn told(vault: &Vault) -> String {
        let entries = vault.entries().iter();
        entries
            .map(|(name, content)| format!("{name}={}", String::from_utf8_lossy(content)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// A vault in which these changes were made one after the other, and its file.
    fn written(steps: &[&str]) -> (tempfile::TempDir, Vec<u8>) {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut vault, found) = Vault::open(directory.path()).expect("a vault");
        assert_eq!(found, Found::Whole);
        for step in steps {
            change(&mut vault, step);
        }
        let bytes = fs::read(directory.path().join("world")).expect("a file");
        (directory, bytes)
    }

    #[test]
    fn what_was_put_is_there_and_cannot_be_read_off_the_disk() {
        let (directory, bytes) = written(&["a=canary b=2", "-b c=3", "a=canaries"]);
        let (mut vault, found) = Vault::open(directory.path()).expect("a vault");
        assert_eq!((told(&vault).as_str(), found), ("a=canaries c=3", Found::Whole));
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
        // Opened again it goes on, in another file.
        change(&mut vault, "d=4");
        let (vault, found) = Vault::open(directory.path()).expect("a vault");
        assert_eq!((told(&vault).as_str(), found), ("a=canaries c=3 d=4", Found::Whole));
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_what_it_was_before() {
        let (directory, bytes) = written(&["a=1", "b=2", "-a"]);
        for length in 0..bytes.len() {
            fs::write(directory.path().join("world"), &bytes[..length]).expect("written");
            let (vault, _) = Vault::open(directory.path()).expect("a vault");
            assert!(["", "a=1", "a=1 b=2"].contains(&told(&vault).as_str()), "{length}: {}", told(&vault));
        }
    }

    #[test]
    fn what_was_changed_is_not_believed() {
        let (directory, bytes) = written(&["a=1", "b=2"]);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            fs::write(directory.path().join("world"), &other).expect("written");
            let (vault, found) = Vault::open(directory.path()).expect("a vault");
            assert!(["", "a=1"].contains(&told(&vault).as_str()) && found != Found::Whole, "{at}: {}", told(&vault));
        }
        fs::write(directory.path().join("world"), &bytes).expect("written");
        fs::remove_file(directory.path().join("key")).expect("removed");
        let (vault, found) = Vault::open(directory.path()).expect("a vault");
        assert_eq!((told(&vault).as_str(), found), ("", Found::Damaged), "another key opens nothing");
    }

    /// A file from the day that the format was made, which every later version reads.
    #[test]
    fn the_file_of_format_1_is_read_and_written_as_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("key"), [1; KEY_BYTES]).expect("written");
        let changes = vec![("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), None)];
        let path = directory.path().join("world");
        let file = File::create(&path).expect("a file");
        (&file).write_all(&[MAGIC, &[2; SALT_BYTES]].concat()).expect("written");
        let key = derived(&[1; KEY_BYTES], &[2; SALT_BYTES]);
        let mut writing = Writing { file, key, count: 0, bytes: 0 };
        writing.append(record(&changes)).expect("written");
        let hex: String = fs::read(&path).expect("a file").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        let (vault, found) = Vault::open(directory.path()).expect("a vault");
        assert_eq!((told(&vault).as_str(), found), ("a=1", Found::Whole));
    }

    const GOLDEN: &str = "636f7261636c65206b65707420310a0202020202020202020202020202020245000000e5fb7948cf777cec442ac9be49faaa9565d50c254656a39bd04029016c6551d9de808505dbdd37ad08f58f4f05afa024a2d646a680fe9ec9927ffd0ca5b5c3a8cd7e6b2261";

    #[test]
    fn the_file_of_a_newer_version_is_refused_and_left_as_it_is() {
        let (directory, mut bytes) = written(&["a=1"]);
        bytes[MAGIC.len() - 2] = b'2';
        let path = directory.path().join("world");
        fs::write(&path, &bytes).expect("written");
        let refused = Vault::open(directory.path()).err().expect("newer").to_string();
        assert!(refused.contains("its format is 2, and this version knows 1; start"), "{refused}");
        assert_eq!(fs::read(&path).expect("a file"), bytes);
    }

    #[test]
    fn a_file_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut vault, _) = Vault::open(directory.path()).expect("a vault");
        let large = vec![7; SLACK_BYTES / 4];
        for _ in 0..40 {
            vault.change(vec![("a".into(), Some(large.clone()))]).expect("written");
        }
        let size = fs::metadata(directory.path().join("world")).expect("a file").len();
        assert!(size < 2 * SLACK_BYTES as u64, "{size}");
    }
}
