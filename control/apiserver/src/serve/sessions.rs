//! Sessions that clients resume: good for as long as those are trusted who were when they began.
//!
//! Who resumes a session is not asked for his certificate again, so what is remembered of him ends with whoever vouched for it.

use std::sync::Arc;

use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use trust::Trust;

/// Remembers sessions, each under whom was trusted when it began.
#[derive(Debug)]
pub(super) struct Sessions {
    trust: Arc<Trust>,
    known: Arc<ServerSessionMemoryCache>,
}

/// As many as rustls itself remembers.
const SESSIONS_MAX: usize = 256;

// === impl Sessions ===

impl Sessions {
    pub(super) fn new(trust: Arc<Trust>) -> Self {
        Self { trust, known: ServerSessionMemoryCache::new(SESSIONS_MAX) }
    }

    fn of_now(&self, key: &[u8]) -> Vec<u8> {
        [&self.trust.epoch().to_be_bytes(), key].concat()
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.known.put(self.of_now(&key), value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.known.get(&self.of_now(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.known.take(&self.of_now(key))
    }

    fn can_cache(&self) -> bool {
        true
    }
}
