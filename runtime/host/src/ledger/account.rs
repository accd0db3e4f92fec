//! One instance's part of a ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Ledger;

/// What one instance has booked, given back when it goes.
pub(crate) struct Account {
    ledger: Ledger,
    memory_bytes: u64,
    /// The part of it that the host holds for the instance.
    held_bytes: u64,
    refused: Arc<AtomicBool>,
}

/// More memory was asked for than there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of memory{}", .limit_bytes.map(|bytes| format!(": the limit is {bytes} bytes")).unwrap_or_default())]
pub(crate) struct OutOfMemory {
    limit_bytes: Option<u64>,
}

/// A table's element is a pointer.
const TABLE_ELEMENT_BYTES: u64 = 8;

// === impl Account ===

impl Account {
    pub(crate) fn open(ledger: Ledger) -> Self {
        ledger.shared.instances.fetch_add(1, Ordering::Relaxed);
        Self { ledger, memory_bytes: 0, held_bytes: 0, refused: Arc::new(AtomicBool::new(false)) }
    }

    /// Becomes true when the limit refused this instance memory.
    pub(crate) fn refusal(&self) -> Arc<AtomicBool> {
        self.refused.clone()
    }

    /// What is beyond the limit ends the instance, as it would end a process: a guest that was only refused could ask for ever.
    fn grow(&mut self, bytes: u64) -> Result<(), OutOfMemory> {
        if self.ledger.book_memory(bytes) {
            self.memory_bytes += bytes;
            return Ok(());
        }
        self.refused.store(true, Ordering::Relaxed);
        Err(OutOfMemory { limit_bytes: self.ledger.limits().memory_bytes })
    }

    /// Books what the host holds for the instance, which is now so much.
    pub(crate) fn hold(&mut self, bytes: u64) -> Result<(), OutOfMemory> {
        if let Some(less) = self.held_bytes.checked_sub(bytes) {
            self.ledger.return_memory(less);
            self.memory_bytes -= less;
        } else {
            self.grow(bytes - self.held_bytes)?;
        }
        self.held_bytes = bytes;
        Ok(())
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.ledger.return_memory(self.memory_bytes);
        self.ledger.shared.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

// A failed growth gives nothing back: wasmtime also reports failures that were never granted, and a guest could lower
// its account with them. What was granted in vain stays booked until the instance goes.
impl wasmtime::ResourceLimiter for Account {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(desired.saturating_sub(current) as u64)?;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(desired.saturating_sub(current) as u64 * TABLE_ELEMENT_BYTES)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Limits;
    use wasmtime::ResourceLimiter;

    #[test]
    fn the_limit_holds_for_all_instances_together() {
        let ledger = Ledger::new(Limits { memory_bytes: Some(100), ..Limits::default() });
        let mut first = Account::open(ledger.clone());
        let mut second = Account::open(ledger.clone());
        assert!(first.memory_growing(0, 60, None).expect("never an error"));
        assert!(second.memory_growing(0, 60, None).is_err(), "the instance ends");
        assert!(second.refused.load(Ordering::Relaxed) && !first.refused.load(Ordering::Relaxed));
        drop(first);
        assert!(second.memory_growing(0, 60, None).expect("never an error"));
        let usage = ledger.usage();
        assert_eq!((usage.memory_bytes, usage.memory_bytes_peak, usage.memory_refusals), (60, 60, 1));
        drop(second);
        assert_eq!(ledger.usage().memory_bytes, 0);
        assert_eq!(ledger.usage().instances, 0);
    }

    #[test]
    fn what_the_host_holds_counts_as_long_as_it_does() {
        let ledger = Ledger::new(Limits { memory_bytes: Some(100), ..Limits::default() });
        let mut account = Account::open(ledger.clone());
        assert!(account.memory_growing(0, 50, None).expect("never an error"));
        assert_eq!(account.hold(40), Ok(()));
        assert!(account.hold(60).is_err());
        assert_eq!(ledger.usage().memory_bytes, 90, "what was refused is not booked");
        assert_eq!(account.hold(10), Ok(()));
        assert_eq!(ledger.usage().memory_bytes, 60);
        drop(account);
        assert_eq!(ledger.usage().memory_bytes, 0);
    }

    #[test]
    fn the_limit_of_the_whole_holds_for_its_parts() {
        let whole = Ledger::new(Limits { memory_bytes: Some(100), ..Limits::default() });
        let parts = [80, 80].map(|bytes| whole.part(Limits { memory_bytes: Some(bytes), ..Limits::default() }));
        let mut accounts = parts.clone().map(Account::open);
        assert!(accounts[0].memory_growing(0, 70, None).is_ok());
        assert!(accounts[1].memory_growing(0, 40, None).is_err());
        assert_eq!((whole.usage().memory_bytes, parts[1].usage().memory_bytes), (70, 0));
        whole.limit(Limits::default());
        assert!(accounts[1].memory_growing(0, 40, None).is_ok());
        assert!(accounts[1].memory_growing(40, 81, None).is_err());
        drop(accounts);
        assert_eq!(whole.usage().memory_bytes, 0);
    }

    #[test]
    fn a_failed_growth_lowers_no_account() {
        let ledger = Ledger::default();
        let mut account = Account::open(ledger.clone());
        assert!(account.memory_growing(0, 10, None).expect("never an error"));
        account.memory_grow_failed(wasmtime::format_err!("no")).expect("never an error");
        assert_eq!(ledger.usage().memory_bytes, 10);
    }
}
