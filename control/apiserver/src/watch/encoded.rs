//! The lines of recent events, encoded once for all who are told them alike.
//!
//! A ring with a slot for each of the last lines. Readers take no lock: whoever finds a slot empty, or with another line in it,
//! encodes the event and leaves the line there. Two may do so at once; both lines are the same. What is kept is bounded in
//! number and in bytes: watchers that keep up hear of an event within a moment of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::{Names, Revision, StatusError};
use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::Told;
use crate::negotiate::Form;
use crate::query::Include;

/// Watchers are at most so many lines apart before they encode for themselves; a slot is one pointer.
const SLOTS: usize = 1024;
/// What the kept lines may hold together; then all are let go of, as if nobody had encoded yet.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// The lines of recent events.
pub(crate) struct Encoded {
    slots: Box<[ArcSwapOption<Line>]>,
    kept_bytes: AtomicUsize,
}

/// Which line: of which event, told how, in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Telling {
    /// When the event was.
    pub(crate) revision: Revision,
    /// What it is to those who are told.
    pub(crate) told: Told,
    /// The form of the object.
    pub(crate) form: Form,
    /// What a table's row carries.
    pub(crate) include: Include,
    /// In which version of its kind.
    pub(crate) names: &'static Names,
}

struct Line {
    telling: Telling,
    bytes: Bytes,
}

// === impl Encoded ===

impl Encoded {
    /// Nothing encoded yet.
    pub(crate) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| ArcSwapOption::empty()).collect(), kept_bytes: AtomicUsize::new(0) }
    }

    /// The line that tells of an event so; `encode` makes it if nobody has.
    pub(crate) fn line(
        &self,
        telling: Telling,
        encode: impl FnOnce() -> Result<Vec<u8>, StatusError>,
    ) -> Result<Bytes, StatusError> {
        let slot = &self.slots[telling.slot()];
        if let Some(known) = &*slot.load()
            && known.telling == telling
        {
            return Ok(known.bytes.clone());
        }
        let bytes = Bytes::from(encode()?);
        if self.kept_bytes.fetch_add(bytes.len(), Ordering::Relaxed) > KEPT_BYTES_MAX {
            self.kept_bytes.store(bytes.len(), Ordering::Relaxed);
            self.slots.iter().for_each(|slot| slot.store(None));
        }
        let replaced = slot.swap(Some(Arc::new(Line { telling, bytes: bytes.clone() })));
        let less = replaced.map_or(0, |line| line.bytes.len());
        // Two who begin anew at once may count a line less: the sum is a bound for memory, not an account.
        let _ =
            self.kept_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_sub(less)));
        Ok(bytes)
    }
}

// === impl Telling ===

impl Telling {
    /// Tellings of one event lie beside each other: those of two forms do not take turns in one slot.
    fn slot(self) -> usize {
        let form = match self.form {
            Form::Json | Form::Discovery(_) => 0,
            Form::Partial => 1,
            Form::Table(_) => 2,
        };
        (self.revision.0 as usize).wrapping_mul(3).wrapping_add(form) % SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telling(revision: u64, form: Form) -> Telling {
        let names = api::catalog::by_kind(api::kinds::POD).expect("in the catalog").names();
        Telling { revision: Revision(revision), told: Told::Added, form, include: Include::Metadata, names }
    }

    fn line(encoded: &Encoded, telling: Telling, length: usize) -> (Bytes, bool) {
        let mut is_fresh = false;
        let bytes = encoded.line(telling, || {
            is_fresh = true;
            Ok(vec![b'x'; length])
        });
        (bytes.expect("encodable"), is_fresh)
    }

    #[test]
    fn an_event_is_encoded_once_for_each_form() {
        let encoded = Encoded::new();
        for form in [Form::Json, Form::Partial, Form::Table("v1")] {
            let (first, is_fresh) = line(&encoded, telling(1, form), 10);
            assert!(is_fresh);
            let (again, is_fresh) = line(&encoded, telling(1, form), 10);
            assert!(!is_fresh && first.as_ptr() == again.as_ptr(), "the same bytes");
        }
        let left = Telling { told: Told::Deleted, ..telling(1, Form::Json) };
        assert!(line(&encoded, left, 10).1, "to those who no longer select it the object was deleted");
        assert!(line(&encoded, telling(1 + SLOTS as u64, Form::Json), 10).1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let encoded = Encoded::new();
        for revision in 0..100 {
            line(&encoded, telling(revision, Form::Json), 1 << 20);
            let kept: usize =
                encoded.slots.iter().filter_map(|slot| slot.load().as_ref().map(|line| line.bytes.len())).sum();
            assert!(kept <= KEPT_BYTES_MAX + (1 << 20), "{kept} bytes after {revision}");
        }
    }
}
