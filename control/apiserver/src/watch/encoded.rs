//! The lines of recent events, encoded once.
//!
//! A ring with a slot for each of the last revisions. Readers take no lock: whoever finds a slot empty, or with another revision
//! in it, encodes the event and leaves the line there. Two may do so at once; both lines are the same.

use std::sync::Arc;

use api::Revision;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use state::Event;

use super::{line, plainly};

/// Watchers are at most so many events apart before they encode for themselves; a slot is one pointer.
const SLOTS: usize = 1024;

/// The lines of recent events.
pub(crate) struct Encoded {
    slots: Box<[ArcSwapOption<Line>]>,
}

struct Line {
    revision: Revision,
    bytes: Bytes,
}

// === impl Encoded ===

impl Encoded {
    /// Nothing encoded yet.
    pub(crate) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| ArcSwapOption::empty()).collect() }
    }

    /// The line that tells of an event to those who see all of it.
    pub(crate) fn line(&self, event: &Event) -> Bytes {
        let slot = &self.slots[(event.revision.0 % SLOTS as u64) as usize];
        if let Some(known) = &*slot.load()
            && known.revision == event.revision
        {
            return known.bytes.clone();
        }
        let bytes = Bytes::from(line(plainly(event).word(), &event.latest().to_json()));
        slot.store(Some(Arc::new(Line { revision: event.revision, bytes: bytes.clone() })));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Object, kinds};
    use serde_json::json;
    use state::Change;

    #[test]
    fn an_event_is_encoded_once() {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}});
        let object = Object::from_value(kinds::CONFIG_MAP, &value).expect("an object");
        let event =
            |revision| Event { revision: Revision(revision), change: Change::Added(object.at(Revision(revision))) };
        let encoded = Encoded::new();
        let first = encoded.line(&event(1));
        assert_eq!(first.as_ptr(), encoded.line(&event(1)).as_ptr(), "the same bytes");
        let later = encoded.line(&event(1 + SLOTS as u64));
        assert_ne!(first, later);
        assert_eq!(first, encoded.line(&event(1)));
    }
}
