//! The key file: what everything on disk is sealed with.
//!
//! Made at the first start, readable by its owner alone. It lies beside the data unless it is put elsewhere, and the data is
//! worth nothing without it: a copy of a data directory that is to be read again needs the file too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::OpenError;

/// The layout of the file. A newer one is refused.
const LAYOUT: u32 = 1;

/// The keys of a store, the one that seals first.
#[derive(Debug)]
pub(crate) struct Keys {
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
}

// === impl Keys ===

impl Keys {
    /// The keys in the file; a new one in a new file if there is none.
    pub(crate) fn establish(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.into(), source };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let keys = Self { path: path.into(), secrets: vec![Secret::fresh()] };
                keys.save().map_err(io)?;
                return Ok(keys);
            }
            Err(source) => return Err(io(source)),
        };
        let secrets = read(&text).map_err(|reason| OpenError::Damaged { path: path.into(), reason })?;
        Ok(Self { path: path.into(), secrets })
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
        let keys = self
            .secrets
            .iter()
            .map(|secret| WrittenKey { id: secret.id, secret: BASE64_STANDARD.encode(secret.bytes) });
        let written = serde_json::to_vec_pretty(&Written { layout: LAYOUT, keys: keys.collect() })?;
        let unfinished = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&written)?;
        file.sync_all()?;
        fs::rename(unfinished, &self.path)?;
        File::open(self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
            .sync_all()
    }
}

#[cfg(test)]
impl Keys {
    /// One key that is in no file.
    pub(crate) fn alone() -> Self {
        Self { path: PathBuf::new(), secrets: vec![Secret::fresh()] }
    }
}

fn read(text: &str) -> Result<Vec<Secret>, String> {
    let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if written.layout != LAYOUT {
        return Err(format!("layout {} is not known to this version, which has {LAYOUT}", written.layout));
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
        Ok(Self { id: written.id, bytes })
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
    SystemRandom::new().fill(&mut bytes).expect("a system that has no randomness cannot keep secrets");
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.json");
        let mut keys = Keys::establish(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let first = keys.newest().clone();
        let second = keys.add().expect("written");
        let again = Keys::establish(&path).expect("kept");
        assert_eq!(again.all(), [second.clone(), first.clone()]);
        assert_eq!(keys.retire().expect("written"), [first.id]);
        assert_eq!(Keys::establish(&path).expect("kept").all(), [second]);
    }

    #[test]
    fn a_file_that_is_not_one_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.json");
        for text in [
            "",
            "{}",
            r#"{"layout":2,"keys":[]}"#,
            r#"{"layout":1,"keys":[]}"#,
            r#"{"layout":1,"keys":[{"id":1,"secret":"YQ=="}]}"#,
        ] {
            fs::write(&path, text).expect("written");
            assert!(matches!(Keys::establish(&path), Err(OpenError::Damaged { .. })), "{text}");
        }
    }
}
