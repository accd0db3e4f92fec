//! The file that a cluster is brought back from: every object at one revision, whatever files make a server of it, and what is in
//! volumes, where that is wanted.
//!
//! It is not [`state::Snapshot`], which is the world in memory, nor a snapshot of a volume; people ask for it by `coracle snapshot`,
//! and here it is called a backup. It stands for itself: nothing of the cluster is needed to open it but its [`Key`], which all
//! servers share, and which is not the key of anybody's disk. So whichever server writes it, whichever disk is lost and however
//! often the keys of disks change, it opens.
//!
//! ```text
//! "coracle snapshot\n" │ format u8 │ length u32, contents as JSON │ chunk… │ 0 u32 │ tally │ SHA-256 of all of this [u8; 32]
//! chunk   length u32, sealed and deflated: a piece of the records, at most 1 MiB of them
//! record  mark u8 │ length u32, what it says │ a file's content, or a volume's pieces, behind it
//! piece   length u32, bytes; after the last one 0 if that is all of the volume, and u32::MAX if it was broken off
//! tally   length u32, as JSON what came of the volumes; not in format 1, which has no volumes either
//! ```
//! How long a volume is, nobody knows before its end: it is read while it is written. Where all of it was wanted and cannot be had,
//! the file ends in place of a chunk with `u32::MAX │ length u32, why`. Format 1 is written where there are no volumes, so that the
//! version before reads it.
//!
//! What anybody may read is what is in it; the rest is sealed as the disk of a server is ([`seal`](crate::seal)). A chunk opens only
//! at its place in its own file, and the last only as the last: a file that was cut, put together or changed in a bit is refused.
//! The sum at the end tells as much to those who have no key.

mod frames;
mod key;
mod read;
mod write;

use std::io;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::codec::Malformed;

pub use frames::check;
pub use key::{BadKey, Key};
pub use read::{Copied, Item, Reader};
pub use write::Writer;

/// What a file of this sort begins with.
const MAGIC: &[u8] = b"coracle snapshot\n";
/// What is written without volumes, and with them; a newer one is refused.
const FORMAT_PLAIN: u8 = 1;
const FORMAT_VOLUMES: u8 = 2;
/// Records in one chunk: enough that seals and lengths do not show, few enough to hold several.
const CHUNK_BYTES: usize = 1 << 20;
/// A chunk as it lies in the file: what cannot be deflated grows a little, and a seal is around it.
const FRAME_BYTES_MAX: usize = CHUNK_BYTES + (64 << 10);
/// What tells what is in a file is a line or two.
const CONTENTS_BYTES_MAX: usize = 64 << 10;
/// So many volumes that are not there are told by name, which is within [`CONTENTS_BYTES_MAX`] however long names are.
const LEFT_NAMES_MAX: usize = 100;
/// In place of a length: what was begun is not gone on with.
const BROKEN_OFF: u32 = u32::MAX;

/// What records say.
mod mark {
    pub(super) const END: u8 = 0;
    pub(super) const OBJECT: u8 = 1;
    pub(super) const FILE: u8 = 2;
    pub(super) const VOLUME: u8 = 3;
}

/// What is in a backup, for everybody to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// When it was taken, as RFC 3339 has it.
    pub taken: String,
    /// The revision that all objects are as of.
    pub revision: u64,
    /// How many objects there are.
    pub objects: u64,
    /// The cluster: the fingerprint of its authority.
    pub cluster: String,
    /// Whether the images of the cluster's registry are there too.
    pub images: bool,
    /// How many those are, where that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_count: Option<u64>,
    /// How many are not, because their content was to be had nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_lost: Option<u64>,
    /// How many volumes the cluster had, if what is in them was wanted; the [`Tally`] says what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<u64>,
}

/// What came of the volumes, for everybody to read: known when all of them have been written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// How many are there, whole.
    pub volumes: u64,
    /// How long they are together, as they were written.
    pub bytes: u64,
    /// How many are not.
    pub left: u64,
    /// Which those are: the first hundred.
    pub left_names: Vec<String>,
}

/// What a file begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    #[serde(flatten)]
    contents: Contents,
    /// Which key opens it.
    key: u32,
}

/// Why a backup cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It begins with something else.
    #[error("not a snapshot of a cluster")]
    Foreign,
    /// Another version wrote it.
    #[error("written by a newer version: format {0} is not known to this one, which has {FORMAT_VOLUMES}")]
    Newer(u8),
    /// There is less of it than was written.
    #[error("cut off: its end is missing")]
    Truncated,
    /// Whoever wrote it could not go on.
    #[error("given up by the server that wrote it: {0}")]
    GivenUp(String),
    /// It is not what was written.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// The key is another one.
    #[error("sealed with key {wanted:08x}, and the one given is {given:08x}")]
    OtherKey {
        /// The one that opens it.
        wanted: u32,
        /// The one at hand.
        given: u32,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Passes bytes on and adds them up.
struct Summed<T> {
    inner: T,
    sum: Context,
}

// === impl BackupError ===

impl BackupError {
    /// A read that found the end too early.
    fn reading(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Io(error) }
    }
}

impl From<Malformed> for BackupError {
    fn from(error: Malformed) -> Self {
        Self::Damaged(error.what)
    }
}

// === impl Summed ===

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        Self { inner, sum: Context::new(&SHA256) }
    }
}

impl<T: io::Read> Summed<T> {
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.inner.read_exact(bytes).map_err(BackupError::reading)?;
        self.sum.update(bytes);
        Ok(())
    }

    fn number(&mut self) -> Result<u32, BackupError> {
        let mut bytes = [0; 4];
        self.take(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

impl<T: io::Write> Summed<T> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)?;
        self.sum.update(bytes);
        Ok(())
    }
}

/// What ties a chunk to its place: the file by its head, which one it is there, and whether it is the last.
fn place(head: &[u8], number: u64, is_last: bool) -> Vec<u8> {
    let mut place = Vec::from(*b"backup");
    place.extend_from_slice(head);
    place.extend_from_slice(&number.to_le_bytes());
    place.push(is_last.into());
    place
}

#[cfg(test)]
mod tests;
