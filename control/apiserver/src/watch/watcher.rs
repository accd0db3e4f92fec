//! One watch under way.
//!
//! It holds no more of the world than it has yet to tell, and makes lines only as fast as its client takes them. A client that
//! does not keep up costs a cursor and a snapshot; when the history has moved on without it, it is told that it is too late, and
//! lists anew. One that takes nothing at all is cut off with its connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::{Object, Reason, Revision, StatusError};
use bytes::Bytes;
use futures::Stream;
use state::{Event, Snapshot};
use store::{Store, Subscription, TooOld};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::encoded::Telling;
use super::{Encoded, Told, line, seen};
use crate::negotiate::Form;
use crate::present::{Headings, Presenter};
use crate::selection::Selection;

/// Where a watch begins.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// With everything that is selected of a world; then the changes.
    Everything {
        /// The world there is.
        world: Snapshot,
        /// Whether a bookmark tells where the changes begin.
        end_bookmark: bool,
    },
    /// With the changes after this revision.
    After(Revision),
}

/// What the client asked of the watch itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Whether it may say how far it is.
    pub(crate) bookmarks: bool,
    /// How long it lasts.
    pub(crate) length: Duration,
}

/// A watch under way.
pub(crate) struct Watcher {
    selection: Selection,
    presenter: Presenter,
    encoded: Arc<Encoded>,
    clock: crate::Clock,
    /// What is still to be told of the world there was; it comes before every change.
    initial: Option<Box<Initial>>,
    /// None once there is nothing more to tell.
    subscription: Option<Subscription>,
    ready: VecDeque<Bytes>,
    headings: Headings,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    /// Rings at whichever of the two is first.
    timer: Pin<Box<Sleep>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// A world that is told object by object.
struct Initial {
    world: Snapshot,
    /// The last object that was told.
    told: (String, String),
    end_bookmark: bool,
}

/// As Kubernetes has it: idle watches learn once a minute how far they are.
const BOOKMARK_SECONDS: u64 = 60;
/// So much of a world is made into lines at once: a few frames, so that the client waits for none and little lies about.
const INITIAL_BYTES: usize = 64 * 1024;

// === impl Watcher ===

impl Watcher {
    /// A watch that begins at `start` and ends after its time, or when the server closes.
    #[allow(clippy::too_many_arguments, reason = "each is one fact of the watch, given once")]
    pub(crate) fn new(
        store: &Store,
        selection: Selection,
        presenter: Presenter,
        start: Start,
        terms: Terms,
        encoded: Arc<Encoded>,
        clock: crate::Clock,
        closing: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        let (next_bookmark, end) = (now + Duration::from_secs(BOOKMARK_SECONDS), now + terms.length);
        let first = if terms.bookmarks { end.min(next_bookmark) } else { end };
        let (after, initial) = match start {
            Start::After(revision) => (revision, None),
            Start::Everything { world, end_bookmark } => {
                (world.revision(), Some(Box::new(Initial { world, told: Default::default(), end_bookmark })))
            }
        };
        let mut watcher = Self {
            selection,
            presenter,
            encoded,
            clock,
            initial,
            subscription: None,
            ready: VecDeque::new(),
            headings: Headings::Told,
            bookmarks: terms.bookmarks,
            next_bookmark,
            end,
            timer: Box::pin(sleep_until(first)),
            closing: Box::pin(closing.cancelled_owned()),
        };
        match store.subscribe(watcher.selection.interest(), after) {
            Ok(subscription) => watcher.subscription = Some(subscription),
            Err(too_old) => watcher.too_old(after, too_old),
        }
        watcher
    }

    /// The lines, as they come.
    pub(crate) fn lines(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        futures::stream::unfold(self, |mut watcher| async {
            let line = watcher.next().await?;
            Some((Ok(line), watcher))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.initial.is_some() {
                self.tell_initial();
                continue;
            }
            let subscription = self.subscription.as_mut()?;
            tokio::select! {
                // Changes first: a bookmark may only say what has been told.
                biased;
                events = subscription.next() => match events {
                    Ok(events) => events.iter().for_each(|event| self.hear(event)),
                    Err(too_old) => {
                        let reached = subscription.reached();
                        self.too_old(reached, too_old);
                    }
                },
                () = &mut self.closing => self.finish(),
                () = &mut self.timer => self.ring(),
            }
        }
    }

    fn ring(&mut self) {
        if Instant::now() >= self.end {
            return self.finish();
        }
        self.catch_up();
        self.next_bookmark += Duration::from_secs(BOOKMARK_SECONDS);
        self.timer.as_mut().reset(self.end.min(self.next_bookmark));
    }

    /// The next stretch of the world there was, as one run of lines.
    fn tell_initial(&mut self) {
        let Some(initial) = self.initial.take() else { return };
        let mut lines = Vec::new();
        match self.write(&initial, &mut lines) {
            Err(error) => self.fail(&error),
            Ok(Some(told)) => {
                self.ready.push_back(lines.into());
                self.initial = Some(Box::new(Initial { told, ..*initial }));
            }
            Ok(None) => {
                // Nothing is a line only where there is something to say.
                self.ready.extend((!lines.is_empty()).then(|| lines.into()));
                if initial.end_bookmark {
                    self.bookmark(initial.world.revision(), true);
                }
            }
        }
    }

    /// Writes lines until there are enough, and says after which object that was; none if it was after the last.
    fn write(&mut self, initial: &Initial, lines: &mut Vec<u8>) -> Result<Option<(String, String)>, StatusError> {
        let presenter = Presenter { now: (self.clock)(), ..self.presenter.clone() };
        let (namespace, name) = &initial.told;
        for object in self.selection.after(&initial.world, (namespace, name)) {
            lines.append(&mut line(Told::Added.word(), &presenter.one_of(object, self.headings)?));
            self.headings = Headings::Known;
            if lines.len() >= INITIAL_BYTES {
                return Ok(Some((object.key().namespace().into(), object.key().name().into())));
            }
        }
        Ok(None)
    }

    fn hear(&mut self, event: &Event) {
        let Some((told, object)) = seen(&self.selection, event) else { return };
        match self.line(event.revision, told, object) {
            Ok(line) => self.ready.push_back(line),
            Err(error) => self.fail(&error),
        }
    }

    fn line(&mut self, revision: Revision, told: Told, object: &Object) -> Result<Bytes, StatusError> {
        let headings = std::mem::replace(&mut self.headings, Headings::Known);
        let encode = || {
            let presenter = Presenter { now: (self.clock)(), ..self.presenter.clone() };
            Ok(line(told.word(), &presenter.one_of(object, headings)?))
        };
        let (form, include) = (self.presenter.form, self.presenter.include);
        // The first line of a table names the columns, and nobody else's need be the same.
        if headings == Headings::Told && matches!(form, Form::Table(_)) {
            return encode().map(Bytes::from);
        }
        let names = self.selection.kind.names();
        self.encoded.line(Telling { revision, told, form, include, names }, encode)
    }

    /// Tells what is left to tell, then how far that is.
    fn catch_up(&mut self) {
        let Some(subscription) = &mut self.subscription else { return };
        let mut missed = Vec::new();
        let reached = loop {
            match subscription.ready() {
                Ok(events) if events.is_empty() => break subscription.reached(),
                Ok(events) => missed.extend(events),
                Err(too_old) => {
                    let reached = subscription.reached();
                    return self.too_old(reached, too_old);
                }
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

    fn too_old(&mut self, reached: Revision, TooOld { oldest }: TooOld) {
        let message = format!("too old resource version: {reached} ({oldest})");
        self.fail(&StatusError::new(Reason::Expired, message));
    }

    fn fail(&mut self, error: &StatusError) {
        self.ready.push_back(line("ERROR", error.to_value().to_string().as_bytes()).into());
        (self.initial, self.subscription) = (None, None);
    }
}
