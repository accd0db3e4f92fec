//! A page on its way: many objects are looked at in several steps, between which others have their turn.

use api::{Key, Object};
use state::Snapshot;

use super::{Continue, Page};
use crate::query::ListOptions;
use crate::selection::Selection;

/// A page, as far as it is gathered.
pub(crate) struct Gathering<'a> {
    world: &'a Snapshot,
    selection: &'a Selection,
    limit: usize,
    /// Where the page before ended.
    start: (&'a str, &'a str),
    /// The object that was looked at last.
    seen: Option<Key>,
    objects: Vec<Object>,
    left: usize,
}

/// Few enough to take a fraction of a millisecond, though each lies somewhere else in memory.
const OBJECTS_PER_STEP: usize = 512;

// === impl Gathering ===

impl<'a> Gathering<'a> {
    pub(crate) fn new(
        world: &'a Snapshot,
        selection: &'a Selection,
        options: &ListOptions,
        token: Option<&'a Continue>,
    ) -> Self {
        // Reflectors list at revision 0 and want everything, whatever limit they send.
        let is_whole = options.limit == 0 || (options.revision() == Ok(Some(api::Revision::ZERO)) && token.is_none());
        Self {
            world,
            selection,
            limit: if is_whole { usize::MAX } else { options.limit },
            start: token.map_or(("", ""), Continue::place),
            seen: None,
            objects: Vec::new(),
            left: 0,
        }
    }

    /// Looks at some more objects; whether there are others still.
    pub(crate) fn step(&mut self) -> bool {
        let start = self.seen.as_ref().map_or(self.start, |seen| (seen.namespace(), seen.name()));
        let mut last = None;
        for (at, object) in self.selection.stretch(self.world, start).take(OBJECTS_PER_STEP).enumerate() {
            last = (at + 1 == OBJECTS_PER_STEP).then(|| object.key().clone());
            match self.selection.matches(object) {
                true if self.objects.len() < self.limit => self.objects.push(object.clone()),
                true => self.left += 1,
                false => {}
            }
        }
        self.seen = last;
        self.seen.is_some()
    }

    /// The page, once all is gathered.
    pub(crate) fn page(self) -> Page {
        let Self { world, selection, objects, left, .. } = self;
        let last = objects.last().filter(|_| left > 0);
        let continuation = last.map(|last| Continue::after(world.revision(), last).encode());
        let remaining = continuation.as_ref().filter(|_| !selection.is_narrow()).map(|_| left);
        Page { objects, revision: world.revision(), continuation, remaining }
    }
}
