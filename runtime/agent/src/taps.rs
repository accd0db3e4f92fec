//! A container's output, for its log and for whoever is attached at the time.
//!
//! As with a terminal, who watches and does not read on holds up who writes. Not for ever: a watcher that takes nothing for a
//! while is let go, so that a forgotten window stops no pod.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use host::{Pipe, PipeReader, Sink, SinkClosed, pipe};

use crate::conversation::PIPE_BYTES;

/// A watcher that takes nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(10);

/// A log with watchers.
pub(crate) struct Taps {
    log: Arc<dyn Sink>,
    watchers: Mutex<Vec<Arc<Pipe>>>,
    patience: Duration,
}

// === impl Taps ===

impl Taps {
    pub(crate) fn new(log: Arc<dyn Sink>) -> Arc<Self> {
        Arc::new(Self { log, watchers: Mutex::default(), patience: PATIENCE })
    }

    /// Everything that is written from now on.
    pub(crate) fn tap(&self) -> PipeReader {
        let (watcher, reader) = pipe(PIPE_BYTES);
        self.watchers().push(watcher);
        reader
    }

    fn watchers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Pipe>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Taps {
    fn room(&self) -> usize {
        self.watchers().iter().map(|watcher| watcher.room()).fold(self.log.room(), usize::min)
    }

    fn ready(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.log.clone().ready().await;
            let watchers = self.watchers().clone();
            for watcher in watchers {
                if tokio::time::timeout(self.patience, watcher.clone().ready()).await.is_err() {
                    self.watchers().retain(|known| !Arc::ptr_eq(known, &watcher));
                }
            }
        })
    }

    fn write(&self, bytes: Bytes) -> Result<(), SinkClosed> {
        self.watchers().retain(|watcher| watcher.write(bytes.clone()).is_ok());
        self.log.write(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_watches_sees_what_is_written_from_then_on() {
        let (log, mut logged) = pipe(100);
        let taps = Taps::new(log);
        taps.write("a".into()).expect("it is read");
        let mut watched = taps.tap();
        taps.write("b".into()).expect("it is read");
        assert_eq!(watched.recv().await.as_deref(), Some(&b"b"[..]));
        drop(watched);
        taps.write("c".into()).expect("the log is read");
        drop(taps);
        assert_eq!(
            [logged.recv().await, logged.recv().await, logged.recv().await].map(Option::unwrap),
            ["a", "b", "c"]
        );
    }

    #[tokio::test]
    async fn who_does_not_read_on_is_waited_for_and_then_let_go() {
        let log = Arc::new(host::Discard);
        let taps = Arc::new(Taps { log, watchers: Mutex::default(), patience: Duration::from_millis(1) });
        let _watched = taps.tap();
        taps.write(vec![0; PIPE_BYTES].into()).expect("the log takes it");
        assert_eq!(taps.room(), 0);
        taps.clone().ready().await;
        assert!(taps.room() > 0);
    }
}
