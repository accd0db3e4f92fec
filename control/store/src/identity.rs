//! Who this member is: a random number, made with the data directory and never used for another.
//!
//! Raft trusts that a member remembers what it promised, so a member that lost its disk must not come back under its old
//! number. Keeping the number beside the data makes that so. A checksum sees to it that it is the same number.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::{self, Disk};
use crate::seal::random;
use crate::{MemberId, OpenError};

pub(crate) const FILE: &str = "member.json";

/// The layout of the data directory. A newer one is refused.
const LAYOUT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    layout: u32,
    member: MemberId,
    /// Of the number. Absent where it was written before there was one.
    #[serde(default)]
    checksum: Option<u32>,
}

/// The number of the member that lives in `directory`; a new one if nobody does yet.
pub(crate) fn establish(disk: &dyn Disk, directory: &Path) -> Result<MemberId, OpenError> {
    if let Some(member) = read(disk, directory)? {
        return Ok(member);
    }
    let member = MemberId::from_le_bytes(random());
    assume(disk, directory, member).map_err(|source| OpenError::Io { path: directory.join(FILE), source })?;
    Ok(member)
}

/// The number of the member that lives in `directory`, if that can be told.
pub(crate) fn known(disk: &dyn Disk, directory: &Path) -> Option<MemberId> {
    read(disk, directory).ok().flatten()
}

fn read(disk: &dyn Disk, directory: &Path) -> Result<Option<MemberId>, OpenError> {
    let path = directory.join(FILE);
    let text = match disk::read(disk, &path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Io { path, source }),
    };
    let identity = serde_json::from_slice::<Identity>(&text);
    if let Some(reason) = newer(&text, LAYOUT)
        && !identity.as_ref().is_ok_and(|identity| identity.checksum == Some(checksum(identity.member)))
    {
        return Err(OpenError::Newer { path, reason });
    }
    let identity = identity.map_err(|error| OpenError::Damaged { path: path.clone(), reason: error.to_string() })?;
    if identity.layout != LAYOUT {
        let reason = format!("there is no layout {}", identity.layout);
        return Err(OpenError::Damaged { path, reason });
    }
    if identity.checksum.is_some_and(|written| written != checksum(identity.member)) {
        return Err(OpenError::Damaged { path, reason: "the number in it is not the one that was written".into() });
    }
    Ok(Some(identity.member))
}

/// What is newer about a file that says its layout, where this version knows up to `known`. Whatever else it says is not looked at:
/// it may say it in other words.
///
/// It does say it in other words, or with a checksum of the layout too: one that says all else in the words of this version, with the
/// checksum of this version, is damaged, in the layout itself.
pub(crate) fn newer(text: &[u8], known: u32) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        layout: u32,
    }
    let Head { layout } = serde_json::from_slice(text).ok()?;
    (layout > known).then(|| format!("its layout is {layout}, and this version knows {known}"))
}

/// Has this member live in `directory`.
pub(crate) fn assume(disk: &dyn Disk, directory: &Path, member: MemberId) -> io::Result<()> {
    let identity = Identity { layout: LAYOUT, member, checksum: Some(checksum(member)) };
    let written = serde_json::to_vec(&identity)?;
    disk::write(disk, &directory.join(FILE), &directory.join("member.new"), &written)
}

fn checksum(member: MemberId) -> u32 {
    crc32fast::hash(&member.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::Real;

    #[test]
    fn a_member_keeps_its_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let number = establish(&Real, directory.path()).expect("a new number");
        assert_eq!(establish(&Real, directory.path()).expect("the same"), number);
        let other = tempfile::tempdir().expect("a directory");
        assert_ne!(establish(&Real, other.path()).expect("another"), number);
    }

    #[test]
    fn a_number_from_before_there_were_checksums_is_read_and_a_flipped_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        fs::write(&path, r#"{"layout":1,"member":7}"#).expect("written");
        assert_eq!(establish(&Real, directory.path()).expect("an old one"), 7);
        fs::remove_file(&path).expect("removed");
        let number = establish(&Real, directory.path()).expect("a new one");
        let written = fs::read(&path).expect("it is there");
        for bit in 0..written.len() * 8 {
            let mut flipped = written.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).expect("written");
            assert!(matches!(establish(&Real, directory.path()), Err(OpenError::Damaged { .. })), "bit {bit}");
        }
        fs::write(&path, written).expect("written");
        assert_eq!(establish(&Real, directory.path()).expect("as it was"), number);
    }

    #[test]
    fn a_directory_from_the_future_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        let text = r#"{"layout":2,"member":"7","other":true}"#;
        fs::write(&path, text).expect("written");
        let refused = establish(&Real, directory.path()).expect_err("a newer one");
        assert!(matches!(refused, OpenError::Newer { .. }), "{refused}");
        let words = "its layout is 2, and this version knows 1; start the version that wrote it, or a later one";
        assert!(refused.to_string().ends_with(words), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("there"), text);
    }

    #[test]
    fn the_file_is_the_one_on_disk_everywhere() {
        let identity = Identity { layout: LAYOUT, member: 7, checksum: Some(checksum(7)) };
        let text = serde_json::to_string(&identity).expect("JSON");
        assert_eq!(text, r#"{"layout":1,"member":7,"checksum":1877464688}"#);
    }
}
