//! What bytes decode to, remembered while somebody asks for it.
//!
//! A typed pod is six times as large as its bytes, and of ten thousand pods hardly one is looked at in a quiet minute. Whoever keeps
//! objects for long calls [`Memo::rest`] now and then: what was not asked for since the last time is let go, and made again by the
//! next who asks.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Typed = Arc<dyn Any + Send + Sync>;

/// One value of whatever type was asked for first.
#[derive(Default)]
pub(super) struct Memo {
    value: Mutex<Option<Typed>>,
    /// Whether anybody asked since the last rest.
    was_asked: AtomicBool,
}

// === impl Memo ===

impl Memo {
    pub(super) fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let known = self.value().clone()?.downcast().ok()?;
        self.was_asked.store(true, Ordering::Relaxed);
        Some(known)
    }

    /// Remembers it, unless something is remembered.
    pub(super) fn set<T: Send + Sync + 'static>(&self, typed: Arc<T>) {
        self.value().get_or_insert(typed);
        self.was_asked.store(true, Ordering::Relaxed);
    }

    /// Lets go of what nobody asked for since the last call; whether there was such a thing.
    pub(super) fn rest(&self) -> bool {
        if self.was_asked.swap(false, Ordering::Relaxed) {
            return false;
        }
        let forgotten = self.value().take();
        forgotten.is_some()
    }

    /// Lets go of it, whoever asked.
    pub(super) fn let_go(&self) {
        self.value().take();
    }

    fn value(&self) -> MutexGuard<'_, Option<Typed>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_for_is_let_go() {
        let memo = Memo::default();
        memo.set(Arc::new(7_u32));
        memo.set(Arc::new(8_u32));
        assert!(!memo.rest(), "it was just made");
        assert_eq!(memo.get::<u32>().as_deref(), Some(&7), "the first stays");
        assert_eq!(memo.get::<String>(), None);
        assert!(!memo.rest(), "it was asked for");
        assert!(memo.rest());
        assert!(!memo.rest(), "nothing is left");
        assert_eq!(memo.get::<u32>(), None);
        memo.set(Arc::new(9_u32));
        memo.let_go();
        assert_eq!(memo.get::<u32>(), None);
    }
}
