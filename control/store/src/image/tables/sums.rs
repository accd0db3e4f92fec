//! What all rows add up to.

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::{META, SESSIONS, STANDING, TablesError, VERSIONS, decode_standing};
use crate::codec::{Malformed, Reader};

/// How many rows there are, and the sum of their checksums: it does not matter in which order they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::image) struct Sums {
    pub(in crate::image) rows: u64,
    pub(in crate::image) total: u64,
}

/// The rows, while they change.
pub(super) struct Rows<'t> {
    pub(super) table: Table<'t, u64, &'static [u8]>,
    sums: Sums,
}

// === impl Sums ===

impl Sums {
    pub(super) fn add(&mut self, revision: u64, row: &[u8]) {
        self.rows += 1;
        self.total = self.total.wrapping_add(checksum(revision, row));
    }

    fn take(&mut self, revision: u64, row: &[u8]) {
        self.rows -= 1;
        self.total = self.total.wrapping_sub(checksum(revision, row));
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.total.to_le_bytes());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { rows: reader.u64()?, total: reader.u64()? })
    }
}

fn checksum(revision: u64, row: &[u8]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&revision.to_le_bytes());
    hasher.update(row);
    hasher.finalize().into()
}

// === impl Rows ===

impl<'t> Rows<'t> {
    /// The rows there are.
    pub(super) fn open(write: &'t WriteTransaction) -> Result<Self, TablesError> {
        let mut sums = None;
        {
            let meta = write.open_table(META)?;
            if let Some(line) = meta.get(STANDING)? {
                let sessions = meta.get(SESSIONS)?;
                let sessions = sessions.as_ref().map_or(&[][..], redb::AccessGuard::value);
                (_, sums) = decode_standing(line.value(), sessions)?;
            }
        }
        let table = write.open_table(VERSIONS)?;
        let sums = match sums {
            Some(sums) => sums,
            // From before there were sums, or new: added up once.
            None => {
                let mut sums = Sums::default();
                for entry in table.iter()? {
                    let (revision, row) = entry?;
                    sums.add(revision.value(), row.value());
                }
                sums
            }
        };
        debug_assert_eq!(table.len().ok(), Some(sums.rows), "the sums are those of the rows");
        Ok(Self { table, sums })
    }

    /// None yet.
    pub(super) fn anew(write: &'t WriteTransaction) -> Result<Self, TablesError> {
        Ok(Self { table: write.open_table(VERSIONS)?, sums: Sums::default() })
    }

    pub(super) fn insert(&mut self, revision: u64, row: &[u8]) -> Result<(), TablesError> {
        if let Some(before) = self.table.insert(revision, row)? {
            self.sums.take(revision, before.value());
        }
        self.sums.add(revision, row);
        Ok(())
    }

    pub(super) fn remove(&mut self, revision: u64) -> Result<(), TablesError> {
        if let Some(before) = self.table.remove(revision)? {
            self.sums.take(revision, before.value());
        }
        Ok(())
    }

    pub(super) fn close(self) -> Sums {
        self.sums
    }
}
