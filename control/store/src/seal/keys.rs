//! The key file: what everything on disk is sealed with.
//!
//! Made at the first start, readable by its owner alone. It lies beside the data unless it is put elsewhere, and the data is
//! worth nothing without it: a copy of a data directory that is to be read again needs the file too.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::disk::{self, Disk};
use crate::identity::newer;
use crate::{OpenError, runtime};

/// The layout of the file. A newer one is refused.
const LAYOUT: u32 = 1;

/// The keys of a store, the one that seals first.
#[derive(Debug)]
pub(crate) struct Keys {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    secrets: Vec<Secret>,
}

/// One key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    /// Which one it is: a random number, so that two files never mean different keys by one number.
    pub(crate) id: u32,
    pub(crate) bytes: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    layout: u32,
    keys: Vec<WrittenKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    id: u32,
    secret: String,
    /// Of the number and the key. Absent where it was written before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<u32>,
}

// === impl Keys ===

impl Keys {
    /// The keys in the file; a new one in a new file if there is none.
    pub(crate) fn establish(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.into(), source };
        let text = match disk::read(&**disk, path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let keys = Self { disk: disk.clone(), path: path.into(), secrets: vec![Secret::fresh()] };
                keys.save().map_err(io)?;
                return Ok(keys);
            }
            Err(source) => return Err(io(source)),
        };
        if let Some(reason) = newer(&text, LAYOUT)
            && !is_vouched(&text)
        {
            return Err(OpenError::Newer { path: path.into(), reason });
        }
        let secrets = read(&text).map_err(|reason| OpenError::Damaged { path: path.into(), reason })?;
        Ok(Self { disk: disk.clone(), path: path.into(), secrets })
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Secret] {
        &self.secrets
    }

    /// The one that seals.
    pub(crate) fn newest(&self) -> &Secret {
        self.secrets.first().expect("a key file without a key is refused, and the last key is never removed")
    }

    /// Has a new key seal from now on. It is in the file when this returns.
    pub(crate) fn add(&mut self) -> io::Result<Secret> {
        let secret = Secret::fresh();
        self.secrets.insert(0, secret.clone());
        match self.save() {
            Ok(()) => Ok(secret),
            Err(error) => {
                self.secrets.remove(0);
                Err(error)
            }
        }
    }

    /// Keeps the newest key only; returns which are gone.
    pub(crate) fn retire(&mut self) -> io::Result<Vec<u32>> {
        let old = self.secrets.split_off(1);
        match self.save() {
            Ok(()) => Ok(old.into_iter().map(|secret| secret.id).collect()),
            Err(error) => {
                self.secrets.extend(old);
                Err(error)
            }
        }
    }

    /// Writes the file whole or not at all.
    fn save(&self) -> io::Result<()> {
        let keys = self.secrets.iter().map(|secret| WrittenKey {
            id: secret.id,
            secret: BASE64_STANDARD.encode(secret.bytes),
            checksum: Some(secret.checksum()),
        });
        let written = serde_json::to_vec_pretty(&Written { layout: LAYOUT, keys: keys.collect() })?;
        disk::write(&*self.disk, &self.path, &self.path.with_extension("new"), &written)
    }
}

#[cfg(test)]
impl Keys {
    /// One key that is in no file.
    pub(crate) fn alone() -> Self {
        Self { disk: Arc::new(disk::Real), path: PathBuf::new(), secrets: vec![Secret::fresh()] }
    }
}

/// Whether all but the layout is what this version writes.
fn is_vouched(text: &[u8]) -> bool {
    let written = serde_json::from_slice::<Written>(text);
    let is_key = |key: WrittenKey| key.checksum.is_some() && Secret::read(key).is_ok();
    written.is_ok_and(|written| written.keys.into_iter().all(is_key))
}

fn read(text: &[u8]) -> Result<Vec<Secret>, String> {
    let written: Written = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if written.layout != LAYOUT {
        return Err(format!("there is no layout {}", written.layout));
    }
    if written.keys.is_empty() {
        return Err("it has no key".into());
    }
    written.keys.into_iter().map(Secret::read).collect()
}

// === impl Secret ===

impl Secret {
    /// A new one.
    pub(crate) fn fresh() -> Self {
        Self { id: u32::from_le_bytes(random()), bytes: random() }
    }

    fn read(written: WrittenKey) -> Result<Self, String> {
        let bytes = BASE64_STANDARD.decode(&written.secret).ok().and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.ok_or_else(|| format!("key {} is not 32 bytes in base64", written.id))?;
        let secret = Self { id: written.id, bytes };
        if written.checksum.is_some_and(|checksum| checksum != secret.checksum()) {
            return Err(format!("key {} is not what was written", written.id));
        }
        Ok(secret)
    }

    fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.id.to_le_bytes());
        hasher.update(&self.bytes);
        hasher.finalize()
    }
}

/// Only the number: the rest is nobody's business.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {}", self.id)
    }
}

/// Bytes that nobody foresees.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    runtime::fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn establish(path: &Path) -> Result<Keys, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(disk::Real);
        Keys::establish(&disk, path)
    }

    #[test]
    fn the_file_is_the_one_on_disk_everywhere() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.json");
        let secrets = vec![Secret { id: 7, bytes: [1; 32] }];
        let keys = Keys { disk: Arc::new(disk::Real), path: path.clone(), secrets };
        keys.save().expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), GOLDEN);
        assert_eq!(establish(&path).expect("read").all(), keys.all());
    }

    const GOLDEN: &str = r#"{
  "layout": 1,
  "keys": [
    {
      "id": 7,
      "secret": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
      "checksum": 1295866845
    }
  ]
}"#;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.json");
        let mut keys = establish(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let first = keys.newest().clone();
        let second = keys.add().expect("written");
        let again = establish(&path).expect("kept");
        assert_eq!(again.all(), [second.clone(), first.clone()]);
        assert_eq!(keys.retire().expect("written"), [first.id]);
        assert_eq!(establish(&path).expect("kept").all(), [second]);
    }

    #[test]
    fn a_file_that_is_not_one_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.json");
        for text in [
            "",
            "{}",
            r#"{"layout":0,"keys":[]}"#,
            r#"{"layout":1,"keys":[]}"#,
            r#"{"layout":1,"keys":[{"id":1,"secret":"YQ=="}]}"#,
            r#"{"layout":1,"keys":[{"id":1,"secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","checksum":7}]}"#,
        ] {
            fs::write(&path, text).expect("written");
            assert!(matches!(establish(&path), Err(OpenError::Damaged { .. })), "{text}");
        }
        fs::remove_file(&path).expect("removed");
        let _ = establish(&path).expect("a new file");
        let written = fs::read(&path).expect("it is there");
        for bit in 0..written.len() * 8 {
            let mut flipped = written.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).expect("written");
            let text = String::from_utf8_lossy(&flipped);
            // White space may be other white space.
            let is_the_same = establish(&path).is_ok_and(|keys| keys.all() == read(&written).expect("keys"));
            assert!(is_the_same || matches!(establish(&path), Err(OpenError::Damaged { .. })), "bit {bit}: {text}");
        }
        let newer = r#"{"layout":2,"vault":"elsewhere"}"#;
        fs::write(&path, newer).expect("written");
        assert!(matches!(establish(&path), Err(OpenError::Newer { .. })));
        assert_eq!(fs::read_to_string(&path).expect("there"), newer, "a new key in its place opens nothing");
        let old = r#"{"layout":1,"keys":[{"id":1,"secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}"#;
        fs::write(&path, old).expect("written");
        assert_eq!(establish(&path).expect("one from before there were checksums").newest().id, 1);
    }
}
