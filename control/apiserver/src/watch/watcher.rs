//! One watch under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::{Object, Reason, Revision, StatusError};
use bytes::Bytes;
use futures::Stream;
use state::Event;
use store::{Store, Subscription, TooOld};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Encoded, line, plainly, seen};
use crate::negotiate::Form;
use crate::present::{Headings, Presenter};
use crate::selection::Selection;

/// Where a watch begins.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// With everything that is selected of these, at this revision; then the changes.
    Everything {
        /// The objects there are.
        objects: Vec<Object>,
        /// When they were so.
        revision: Revision,
        /// Whether a bookmark tells where the changes begin.
        end_bookmark: bool,
    },
    /// With the changes after this revision.
    After(Revision),
}

/// A watch under way.
pub(crate) struct Watcher {
    selection: Selection,
    presenter: Presenter,
    encoded: Arc<Encoded>,
    /// None once there is nothing more to tell.
    subscription: Option<Subscription>,
    ready: VecDeque<Bytes>,
    headings: Headings,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    closing: CancellationToken,
    revision_after: Revision,
    clock: crate::Clock,
}

/// As Kubernetes has it: idle watches learn once a minute how far they are.
const BOOKMARK_SECONDS: u64 = 60;

// === impl Watcher ===

impl Watcher {
    /// A watch that begins at `start` and ends after `length`, or when the server closes.
    #[allow(clippy::too_many_arguments, reason = "each is one fact of the watch, given once")]
    pub(crate) fn new(
        store: &Store,
        selection: Selection,
        presenter: Presenter,
        start: Start,
        bookmarks: bool,
        length: Duration,
        encoded: Arc<Encoded>,
        clock: crate::Clock,
        closing: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        let mut watcher = Self {
            selection,
            presenter,
            encoded,
            subscription: None,
            ready: VecDeque::new(),
            headings: Headings::Told,
            bookmarks,
            next_bookmark: now + Duration::from_secs(BOOKMARK_SECONDS),
            end: now + length,
            closing,
            revision_after: Revision::ZERO,
            clock,
        };
        watcher.begin(store, start);
        watcher
    }

    /// The lines, as they come.
    pub(crate) fn lines(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        futures::stream::unfold(self, |mut watcher| async {
            let line = watcher.next().await?;
            Some((Ok(line), watcher))
        })
    }

    fn begin(&mut self, store: &Store, start: Start) {
        let after = match start {
            Start::After(revision) => revision,
            Start::Everything { objects, revision, end_bookmark } => {
                for object in &objects {
                    self.tell("ADDED", object);
                }
                if end_bookmark {
                    self.bookmark(revision, true);
                }
                revision
            }
        };
        self.revision_after = after;
        match store.subscribe(Some(self.selection.kind.group_kind()), after) {
            Ok(subscription) => self.subscription = Some(subscription),
            Err(too_old) => self.too_old(too_old),
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            let subscription = self.subscription.as_mut()?;
            tokio::select! {
                // Changes first: a bookmark may only say what has been told.
                biased;
                events = subscription.next() => match events {
                    Ok(events) => events.iter().for_each(|event| self.hear(event)),
                    Err(too_old) => self.too_old(too_old),
                },
                () = self.closing.cancelled() => self.finish(),
                () = sleep_until(self.end) => self.finish(),
                () = sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark += Duration::from_secs(BOOKMARK_SECONDS);
                    self.catch_up();
                }
            }
        }
    }

    fn hear(&mut self, event: &Event) {
        let Some((told, object)) = seen(&self.selection, event) else { return };
        if self.presenter.form == Form::Json && told == plainly(event) {
            self.ready.push_back(self.encoded.line(event));
        } else {
            self.tell(told.word(), object);
        }
    }

    fn tell(&mut self, word: &str, object: &Object) {
        self.presenter.now = (self.clock)();
        match self.presenter.one_of(object, self.headings) {
            Ok(body) => {
                self.headings = Headings::Known;
                self.ready.push_back(line(word, &body).into());
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Tells what is left to tell, then how far that is.
    fn catch_up(&mut self) {
        let Some(subscription) = &mut self.subscription else { return };
        let mut missed = Vec::new();
        let reached = loop {
            match subscription.ready() {
                Ok(events) if events.is_empty() => break subscription.reached(),
                Ok(events) => missed.extend(events),
                Err(too_old) => return self.too_old(too_old),
            }
        };
        for event in &missed {
            self.hear(event);
        }
        self.bookmark(reached, false);
    }

    fn finish(&mut self) {
        if self.bookmarks {
            self.catch_up();
        }
        self.subscription = None;
    }

    fn bookmark(&mut self, revision: Revision, initial_end: bool) {
        let bookmark = self.presenter.bookmark(revision, initial_end);
        self.ready.push_back(line("BOOKMARK", bookmark.to_string().as_bytes()).into());
    }

    fn too_old(&mut self, TooOld { oldest }: TooOld) {
        let message = format!("too old resource version: {} ({oldest})", self.revision_after);
        self.fail(&StatusError::new(Reason::Expired, message));
    }

    fn fail(&mut self, error: &StatusError) {
        self.ready.push_back(line("ERROR", error.to_value().to_string().as_bytes()).into());
        self.subscription = None;
    }
}
