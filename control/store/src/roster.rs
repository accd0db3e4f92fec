//! Whom this member knows: what it goes by when its other files are of no use.
//!
//! The others, as far as they are committed, in a small file of their own. Only a member that knows of others can be filled by them,
//! and only one that knows of none founds a cluster: a directory that was emptied half-way founds no second one.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::{self, Disk};
use crate::identity::newer;
use crate::transport::Peer;
use crate::{Cluster, MemberId, OpenError};

const FILE: &str = "members.json";

/// The layout of the file. A newer one is refused.
const LAYOUT: u32 = 1;

/// Whom a member knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roster {
    /// Whose it is.
    pub(crate) member: MemberId,
    /// Who is to take its place, should it not be whole again before the others have agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) successor: Option<MemberId>,
    /// They have: nobody comes back under its number.
    #[serde(default)]
    pub(crate) is_replaced: bool,
    /// The others.
    pub(crate) others: Vec<Other>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Other {
    member: MemberId,
    address: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    layout: u32,
    roster: Roster,
    checksum: u32,
}

// === impl Roster ===

impl Roster {
    /// The others of this cluster. None if this one is not of it.
    pub(crate) fn of(member: MemberId, cluster: &Cluster) -> Option<Self> {
        cluster.get(member)?;
        let peers = cluster.members.iter().map(|standing| &standing.peer).filter(|peer| peer.member != member);
        let others = peers.map(|peer| Other { member: peer.member, address: peer.address.clone() }).collect();
        Some(Self { member, successor: None, is_replaced: false, others })
    }

    /// Those who can be asked.
    pub(crate) fn others(&self) -> Vec<Peer> {
        self.others.iter().map(|other| Peer { member: other.member, address: other.address.clone() }).collect()
    }

    /// The same, once it is decided who takes whose place.
    pub(crate) fn succeeded(&self, old: MemberId, new: MemberId) -> Self {
        Self { member: old, successor: Some(new), is_replaced: false, others: self.others.clone() }
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// What was written in `directory`, if anything was.
    pub(crate) fn read(disk: &dyn Disk, directory: &Path) -> Result<Option<Self>, OpenError> {
        let path = directory.join(FILE);
        let damaged = |reason: String| OpenError::Damaged { path: path.clone(), reason };
        let text = match disk::read(disk, &path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Io { path, source }),
        };
        let written = serde_json::from_slice::<Written>(&text);
        let is_vouched = |written: &Written| written.roster.checksum().is_ok_and(|found| found == written.checksum);
        if let Some(reason) = newer(&text, LAYOUT)
            && !written.as_ref().is_ok_and(is_vouched)
        {
            return Err(OpenError::Newer { path, reason });
        }
        let written = written.map_err(|error| damaged(error.to_string()))?;
        match written.layout {
            LAYOUT if is_vouched(&written) => Ok(Some(written.roster)),
            LAYOUT => Err(damaged("the members in it are not those that were written".into())),
            layout => Err(damaged(format!("there is no layout {layout}"))),
        }
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, disk: &dyn Disk, directory: &Path) -> io::Result<()> {
        let written = Written { layout: LAYOUT, roster: self.clone(), checksum: self.checksum()? };
        let text = serde_json::to_vec(&written)?;
        disk::write(disk, &directory.join(FILE), &directory.join("members.new"), &text)
    }

    fn checksum(&self) -> io::Result<u32> {
        Ok(crc32fast::hash(&serde_json::to_vec(self)?))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::Real;

    #[test]
    fn what_was_written_is_read_and_no_bit_of_it_is_another() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Roster::read(&Real, directory.path()).expect("nothing"), None);
        let others = vec![Other { member: 8, address: "b:1".into() }];
        for successor in [None, Some(9)] {
            let roster = Roster { member: 7, successor, is_replaced: successor.is_some(), others: others.clone() };
            roster.write(&Real, directory.path()).expect("written");
            assert_eq!(Roster::read(&Real, directory.path()).expect("it is read"), Some(roster));
        }
        let path = directory.path().join(FILE);
        let written = fs::read(&path).expect("it is there");
        for bit in 0..written.len() * 8 {
            let mut flipped = written.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).expect("written");
            let read = Roster::read(&Real, directory.path());
            assert!(matches!(read, Err(OpenError::Damaged { .. })), "bit {bit}");
        }
        let newer = r#"{"layout":2,"roster":"elsewhere"}"#;
        fs::write(&path, newer).expect("written");
        assert!(matches!(Roster::read(&Real, directory.path()), Err(OpenError::Newer { .. })));
    }
}
