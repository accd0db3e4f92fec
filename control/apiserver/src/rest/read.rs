//! Get, list and watch.

use std::time::Duration;

use api::{Reason, Revision, StatusError, measured};
use axum::body::Body;
use futures::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use state::Snapshot;
use store::ReadError;
use tokio_util::sync::CancellationToken;

use super::Ask;
use crate::answer::{Answer, JSON};
use crate::list::{self, Continue, Gathering, Source};
use crate::measuring;
use crate::metrics::Asked;
use crate::query::ListOptions;
use crate::selection::Selection;
use crate::watch::{Start, Terms, Watcher};

/// As Kubernetes has it: a revision that is not here by then is refused.
const REVISION_WAIT: Duration = Duration::from_secs(3);
/// As Kubernetes has it: a watch that names no end lasts half an hour to an hour, so that they do not all end at once.
const WATCH_SECONDS: std::ops::Range<u64> = 1800..3600;
/// A watch that asks for more gets this.
const WATCH_SECONDS_MAX: u64 = 24 * 3600;

// === impl Ask ===

impl Ask {
    pub(super) async fn get(self) -> Result<Answer, StatusError> {
        let world =
            if measured::is_measured(&*self.target.kind) { self.measured().await? } else { self.newest().await? };
        let object = world.get(&self.key()).ok_or_else(|| self.not_found())?;
        self.present(StatusCode::OK, object)
    }

    pub(super) async fn list(self) -> Result<Answer, StatusError> {
        let options = self.query.list_options()?;
        let presenter = self.presenter(options.include)?;
        let selection = Selection::new(&self.target, &options)?;
        let token = options.continuation.as_deref().map(Continue::decode).transpose()?;
        let world = if measured::is_measured(&*self.target.kind) {
            self.measured().await?
        } else {
            self.world(list::source(&options, token.as_ref())?, token.as_ref()).await?
        };
        let mut gathering = Gathering::new(&world, &selection, &options, token.as_ref());
        while gathering.step() {
            tokio::task::yield_now().await;
        }
        presenter.answer(gathering.page())
    }

    pub(super) async fn watch(self) -> Result<Answer, StatusError> {
        let options = self.query.list_options()?;
        let presenter = self.presenter(options.include)?;
        let selection = Selection::new(&self.target, &options)?;
        let start = self.start(&options).await?;
        let terms = Terms { bookmarks: options.bookmarks, length: self.length(&options) };
        let watcher = Watcher::new(
            &self.door.store,
            selection,
            presenter,
            start,
            terms,
            self.door.encoded.clone(),
            self.door.clock.clone(),
            self.end(),
        );
        let going_on = self.door.metrics.goes_on(Asked::of(self.verb, &self.target));
        let lines = watcher.lines().inspect(move |_| {
            // The stream owns it: the watch is over when the stream is dropped.
            let _ = &going_on;
        });
        let mut answer = Response::new(Body::from_stream(lines));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        Ok(answer)
    }

    /// Where a watch begins: with all there is, or behind what the client knows.
    async fn start(&self, options: &ListOptions) -> Result<Start, StatusError> {
        let names = self.target.names();
        let known = options.revision().map_err(|cause| StatusError::invalid_resource(names, cause))?;
        let known = known.filter(|revision| *revision != Revision::ZERO);
        match (options.initial_events, known) {
            (Some(true), known) => {
                let source = known.map_or(Source::Newest, Source::NotOlderThan);
                Ok(Start::Everything { world: self.world(source, None).await?, end_bookmark: options.bookmarks })
            }
            (None, None) => Ok(Start::Everything { world: self.newest().await?, end_bookmark: false }),
            (_, Some(known)) => {
                self.wait_for(known).await?;
                Ok(Start::After(known))
            }
            (Some(false), None) => Ok(Start::After(self.newest().await?.revision())),
        }
    }

    /// When there is nothing more to tell: a kind that was taught ends with its definition.
    fn end(&self) -> CancellationToken {
        let definition = self.target.kind.taught_by();
        let end = definition.and_then(|definition| self.door.surface().end_of(definition));
        end.unwrap_or_else(|| self.door.closing.clone())
    }

    fn length(&self, options: &ListOptions) -> Duration {
        let spread = WATCH_SECONDS.end - WATCH_SECONDS.start;
        let by_chance = || WATCH_SECONDS.start + self.door.chance() % spread;
        let asked = options.timeout_seconds.filter(|seconds| *seconds > 0);
        Duration::from_secs(asked.unwrap_or_else(by_chance).min(WATCH_SECONDS_MAX))
    }

    /// What is measured now, of what the request is about.
    async fn measured(&self) -> Result<Snapshot, StatusError> {
        let world = self.newest().await?;
        Ok(measuring::measure(&self.door.links, &*self.target.kind, &world, &self.target.namespace, self.target.name())
            .await)
    }

    /// A snapshot in which everything is that was ever acknowledged.
    pub(super) async fn newest(&self) -> Result<Snapshot, StatusError> {
        self.door.store.read().await.map_err(unreadable)
    }

    async fn world(&self, source: Source, token: Option<&Continue>) -> Result<Snapshot, StatusError> {
        match source {
            Source::Newest => self.newest().await,
            Source::AtHand => Ok(self.door.store.snapshot()),
            Source::NotOlderThan(revision) => self.wait_for(revision).await,
            Source::Exactly(revision) | Source::Continued(revision) => {
                self.wait_for(revision).await?;
                self.door.store.at(revision).ok_or_else(|| list::expired(token))
            }
        }
    }

    async fn wait_for(&self, revision: Revision) -> Result<Snapshot, StatusError> {
        let mut view = self.door.store.view();
        let reached = view.wait_for(|world| world.revision() >= revision);
        match tokio::time::timeout(REVISION_WAIT, reached).await {
            Ok(Ok(world)) => Ok(world.clone()),
            Ok(Err(_)) => Err(unreadable(ReadError::Closed)),
            Err(_) => Err(list::too_large(revision, self.door.store.snapshot().revision())),
        }
    }
}

/// How it is told that nothing can be read now.
pub(crate) fn unreadable(error: ReadError) -> StatusError {
    StatusError::new(Reason::ServiceUnavailable, error.to_string())
}
