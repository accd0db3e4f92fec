//! Who this member is: a random number, made with the data directory and never used for another.
//!
//! Raft trusts that a member remembers what it promised, so a member that lost its disk must not come back under its old
//! number. Keeping the number beside the data makes that so.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{MemberId, OpenError};

const FILE: &str = "member.json";

/// The layout of the data directory. A newer one is refused.
const LAYOUT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    layout: u32,
    member: MemberId,
}

/// The number of the member that lives in `directory`; a new one if nobody does yet.
pub(crate) fn establish(directory: &Path) -> Result<MemberId, OpenError> {
    let path = directory.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return create(directory).map_err(|source| OpenError::Io { path, source });
        }
        Err(source) => return Err(OpenError::Io { path, source }),
    };
    let identity: Identity = serde_json::from_str(&text)
        .map_err(|error| OpenError::Damaged { path: path.clone(), reason: error.to_string() })?;
    if identity.layout != LAYOUT {
        let reason = format!("layout {} is not known to this version, which has {LAYOUT}", identity.layout);
        return Err(OpenError::Damaged { path, reason });
    }
    Ok(identity.member)
}

fn create(directory: &Path) -> io::Result<MemberId> {
    let mut random = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let identity = Identity { layout: LAYOUT, member: MemberId::from_le_bytes(random) };
    let unfinished = directory.join("member.new");
    let mut file = File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(&identity)?)?;
    file.sync_all()?;
    fs::rename(unfinished, directory.join(FILE))?;
    File::open(directory)?.sync_all()?;
    Ok(identity.member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_keeps_its_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let number = establish(directory.path()).expect("a new number");
        assert_eq!(establish(directory.path()).expect("the same"), number);
        let other = tempfile::tempdir().expect("a directory");
        assert_ne!(establish(other.path()).expect("another"), number);
    }

    #[test]
    fn a_directory_from_the_future_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(FILE), r#"{"layout":2,"member":7}"#).expect("written");
        assert!(matches!(establish(directory.path()), Err(OpenError::Damaged { .. })));
    }
}
