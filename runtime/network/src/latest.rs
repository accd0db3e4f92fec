//! The latest value made of the latest snapshot, read without a lock.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use api::GroupKind;
use arc_swap::{ArcSwap, Guard};
use state::Snapshot;
use tokio::sync::watch;
use tokio::time::sleep;

/// The least time between two makings of a value: short beside what a person notices, long enough that a roll-out of
/// hundreds of pods costs tens of tables.
const PAUSE: Duration = Duration::from_millis(5);

/// A value that somebody keeps up to date. Cloning shares it.
pub struct Latest<T> {
    value: Arc<ArcSwap<T>>,
    changes: watch::Receiver<()>,
}

// === impl Latest ===

impl<T> Latest<T> {
    /// A value that stays as it is.
    pub fn fixed(value: T) -> Self {
        Self { value: Arc::new(ArcSwap::from_pointee(value)), changes: watch::channel(()).1 }
    }

    /// The value as it is now. Taking it costs no lock and no shared counter; hold it briefly.
    pub fn load(&self) -> impl Deref<Target = Arc<T>> + use<T> {
        let guard: Guard<Arc<T>> = self.value.load();
        guard
    }

    /// The value as it is now, to keep.
    pub fn get(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// Waits for the value to be another than at the last call; `false` says that it never will be again.
    pub async fn changed(&mut self) -> bool {
        self.changes.changed().await.is_ok()
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), changes: self.changes.clone() }
    }
}

impl<T: Default> Default for Latest<T> {
    fn default() -> Self {
        Self::fixed(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

/// Keeps `make(snapshot)` up to date for as long as somebody looks at it and snapshots come.
///
/// It is made anew only when an object of `kinds` has changed, which costs a comparison of pointers per kind to see;
/// snapshots that come while it is being made are taken together. The writer of the snapshots never waits.
/// `make` may keep what it made before, to carry over what is not a function of the snapshot.
pub fn published<T, F>(view: watch::Receiver<Snapshot>, kinds: &'static [GroupKind], make: F) -> Latest<T>
where
    T: Send + Sync + 'static,
    F: FnMut(&Snapshot) -> T + Send + 'static,
{
    // Nothing is ever told there.
    published_beside(view, kinds, watch::channel(()).1, make)
}

/// The same, and made anew as well whenever `beside` tells that something else has changed of which it is made.
pub fn published_beside<T, F>(
    mut view: watch::Receiver<Snapshot>,
    kinds: &'static [GroupKind],
    mut beside: watch::Receiver<()>,
    mut make: F,
) -> Latest<T>
where
    T: Send + Sync + 'static,
    F: FnMut(&Snapshot) -> T + Send + 'static,
{
    beside.mark_unchanged();
    let mut seen = view.borrow_and_update().clone();
    let value = Arc::new(ArcSwap::from_pointee(make(&seen)));
    let (told, changes) = watch::channel(());
    let latest = Latest { value: value.clone(), changes };
    tokio::spawn(async move {
        loop {
            let is_other = tokio::select! {
                () = told.closed() => return,
                next = view.changed() => if next.is_ok() { false } else { return },
                Ok(()) = beside.changed() => true,
            };
            let now = view.borrow_and_update().clone();
            let same = !is_other && kinds.iter().all(|kind| now.agrees(&seen, *kind));
            seen = now;
            if same {
                continue;
            }
            value.store(Arc::new(make(&seen)));
            told.send_replace(());
            sleep(PAUSE).await;
        }
    });
    latest
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use api::{Object, kinds};
    use serde_json::json;
    use state::Txn;

    use super::*;

    fn put(view: &watch::Sender<Snapshot>, kind: GroupKind, name: &str) {
        let value = json!({"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": name, "namespace": "n"}});
        let object = Object::from_value(kind, &value).expect("an object");
        let (next, _) = view.borrow().apply(&Txn::create(object)).expect("applies");
        view.send_replace(next);
    }

    #[tokio::test]
    async fn a_value_is_made_anew_when_its_kinds_change_and_only_then() {
        let (view, receiver) = watch::channel(Snapshot::default());
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let mut latest = published(receiver, &[kinds::SERVICE], move |view| {
            count.fetch_add(1, Ordering::Relaxed);
            view.count(kinds::SERVICE)
        });
        assert_eq!(**latest.load(), 0);
        put(&view, kinds::LEASE, "beat");
        put(&view, kinds::SERVICE, "web");
        assert!(latest.changed().await);
        assert_eq!((*latest.get(), made.load(Ordering::Relaxed)), (1, 2));
        put(&view, kinds::LEASE, "another beat");
        put(&view, kinds::SERVICE, "db");
        assert!(latest.changed().await);
        assert_eq!((*latest.get(), made.load(Ordering::Relaxed)), (2, 3));
    }

    #[tokio::test]
    async fn nobody_works_for_nobody() {
        let (view, receiver) = watch::channel(Snapshot::default());
        let mut latest = published(receiver, &[kinds::SERVICE], |view| view.count(kinds::SERVICE));
        let other = latest.clone();
        drop(latest.clone());
        assert_eq!(view.receiver_count(), 1);
        drop(view);
        assert!(!latest.changed().await, "no more snapshots, no more values");
        assert_eq!(*other.get(), 0);

        let (view, receiver) = watch::channel(Snapshot::default());
        drop(published(receiver, &[kinds::SERVICE], |view| view.count(kinds::SERVICE)));
        view.closed().await;
    }
}
