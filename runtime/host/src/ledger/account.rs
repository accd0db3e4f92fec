//! One instance's part of a ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Ledger;

/// What one instance has booked, given back when it goes.
pub(crate) struct Account {
    ledger: Ledger,
    memory_bytes: u64,
    refused: Arc<AtomicBool>,
}

/// A table's element is a pointer.
const TABLE_ELEMENT_BYTES: u64 = 8;

// === impl Account ===

impl Account {
    pub(crate) fn open(ledger: Ledger) -> Self {
        ledger.shared.instances.fetch_add(1, Ordering::Relaxed);
        Self { ledger, memory_bytes: 0, refused: Arc::new(AtomicBool::new(false)) }
    }

    /// Becomes true when the limit refused this instance memory.
    pub(crate) fn refusal(&self) -> Arc<AtomicBool> {
        self.refused.clone()
    }

    fn grow(&mut self, bytes: u64) -> bool {
        let granted = self.ledger.book_memory(bytes);
        if granted {
            self.memory_bytes += bytes;
        } else {
            self.refused.store(true, Ordering::Relaxed);
        }
        granted
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
        Ok(self.grow(desired.saturating_sub(current) as u64))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current) as u64 * TABLE_ELEMENT_BYTES))
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
        assert!(!second.memory_growing(0, 60, None).expect("never an error"));
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
    fn a_failed_growth_lowers_no_account() {
        let ledger = Ledger::default();
        let mut account = Account::open(ledger.clone());
        assert!(account.memory_growing(0, 10, None).expect("never an error"));
        account.memory_grow_failed(wasmtime::format_err!("no")).expect("never an error");
        assert_eq!(ledger.usage().memory_bytes, 10);
    }
}
