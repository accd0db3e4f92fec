//! A mirror: the part of the world one cares for, kept up to date by listing and watching it.
//!
//! Whole kinds are listed once and then watched from there; what is cared for only because of something that is known (the secret
//! that a pod names) is listed and watched on its own for as long as that is so. A watch that broke goes on from where it was, at
//! whichever server answers then; one that fell behind lists anew. The mirror publishes nothing before all that it asked for has been
//! listed, so that whoever reads it never takes "not yet known" for "not there". While no server can be reached it goes on showing
//! what it last knew.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use api::{GroupKind, Key, Object, Revision};
use state::{Change, Event, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::{Client, ClientError, ListOptions, WatchEvent};

/// Some objects to mirror.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The kind.
    pub kind: GroupKind,
    /// The namespace, or none for all.
    pub namespace: Option<String>,
    /// Which of them.
    pub options: ListOptions,
}

/// Pauses between tries to reach the server grow from the first to the second.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// Tells one thing watched from another, and from all that were before it.
type Source = usize;

enum News {
    Listed(Vec<Object>, Revision),
    Event(WatchEvent),
    /// It could not be listed or watched now; that is tried again.
    Failed,
}

/// A task that lists and watches; it ends with the value.
struct Following(AbortHandle);

/// What is known, and from whom.
#[derive(Default)]
struct Known {
    world: Snapshot,
    /// What each thing watched holds; an object may be held by several.
    held: BTreeMap<Source, BTreeSet<Key>>,
    /// Of which nothing is known yet.
    missing: BTreeSet<Source>,
    /// Which of them are watched for a single object.
    single: BTreeMap<Key, Source>,
}

/// Mirrors `kinds`, and each object that `needed` finds in what is known already, until `shutdown`. The receiver's first value is
/// an empty world, and it changes when everything is known.
pub async fn mirror(
    client: Client,
    kinds: Vec<Watched>,
    needed: impl Fn(&Snapshot) -> BTreeSet<Key> + Send,
    publish: watch::Sender<Snapshot>,
    shutdown: impl Future<Output = ()>,
) {
    let (tell, mut news) = mpsc::channel(1024);
    let mut known = Known::default();
    let mut count: Source = 0;
    let mut begin = |known: &mut Known, watched: Watched| -> (Source, Following) {
        count += 1;
        known.held.insert(count, BTreeSet::new());
        known.missing.insert(count);
        (count, Following(tokio::spawn(follow(client.clone(), watched, count, tell.clone())).abort_handle()))
    };
    let _whole: Vec<_> = kinds.into_iter().map(|watched| begin(&mut known, watched)).collect();
    let mut single: BTreeMap<Key, Following> = BTreeMap::new();
    let keeping = async {
        while let Some((source, first)) = news.recv().await {
            known.told(source, first);
            while let Ok((source, more)) = news.try_recv() {
                known.told(source, more);
            }
            let needed = needed(&known.world);
            for key in &needed {
                if !single.contains_key(key) {
                    let (source, following) = begin(&mut known, Watched::only(key));
                    known.single.insert(key.clone(), source);
                    single.insert(key.clone(), following);
                }
            }
            for key in known.single.keys().filter(|key| !needed.contains(key)).cloned().collect::<Vec<_>>() {
                single.remove(&key);
                known.forget(&key);
            }
            if known.missing.is_empty() {
                publish.send_replace(known.world.clone());
            }
        }
    };
    tokio::select! {
        () = keeping => {}
        () = shutdown => {}
    }
}

// === impl Following ===

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Watched ===

impl Watched {
    /// Every object of a kind.
    pub fn all(kind: GroupKind) -> Self {
        Self { kind, namespace: None, options: ListOptions::default() }
    }

    /// One object, whether or not it is there.
    fn only(key: &Key) -> Self {
        let fields = Some(format!("metadata.name={}", key.name()));
        let namespace = Some(key.namespace()).filter(|namespace| !namespace.is_empty());
        Self { kind: key.kind(), namespace: namespace.map(Into::into), options: ListOptions { fields, labels: None } }
    }
}

// === impl Known ===

impl Known {
    fn told(&mut self, source: Source, news: News) {
        // Of what is not watched any more the last news may still be under way.
        if !self.held.contains_key(&source) {
            return;
        }
        match news {
            News::Listed(objects, revision) => {
                self.missing.remove(&source);
                self.relisted(source, objects, revision);
            }
            News::Event(WatchEvent::Applied(object)) => self.applied(source, object),
            News::Event(WatchEvent::Deleted(last)) => self.deleted(source, last.key(), last.revision()),
            News::Event(WatchEvent::Bookmark(_)) => {}
            // One object that cannot be seen is not to keep all others from being seen.
            News::Failed if self.single.values().any(|single| *single == source) => {
                self.missing.remove(&source);
            }
            News::Failed => {}
        }
    }

    /// A list replaces everything that was known from there.
    fn relisted(&mut self, source: Source, objects: Vec<Object>, revision: Revision) {
        let before = self.held.get(&source).cloned().unwrap_or_default();
        let now: BTreeSet<Key> = objects.iter().map(|object| object.key().clone()).collect();
        for object in objects {
            self.applied(source, object);
        }
        for key in before.difference(&now) {
            self.deleted(source, key, revision);
        }
    }

    fn applied(&mut self, source: Source, object: Object) {
        self.held.entry(source).or_default().insert(object.key().clone());
        let revision = object.revision();
        let change = match self.world.get(object.key()) {
            Some(before) if before.revision() >= revision => return,
            Some(before) => Change::Modified { before: before.clone(), after: object },
            None => Change::Added(object),
        };
        self.world = self.world.follow(&Event { revision, change });
    }

    fn deleted(&mut self, source: Source, key: &Key, revision: Revision) {
        if let Some(held) = self.held.get_mut(&source) {
            held.remove(key);
        }
        // Another, who cares for it for another reason, still sees it.
        if self.held.values().any(|held| held.contains(key)) {
            return;
        }
        if let Some(before) = self.world.get(key) {
            let change = Change::Deleted { before: before.clone(), last: before.at(revision) };
            self.world = self.world.follow(&Event { revision, change });
        }
    }

    /// Nobody cares for this one object any more.
    fn forget(&mut self, key: &Key) {
        let Some(source) = self.single.remove(key) else { return };
        let revision = self.world.revision();
        self.deleted(source, key, revision);
        self.held.remove(&source);
        self.missing.remove(&source);
    }
}

/// Lists and watches for as long as anyone listens.
async fn follow(client: Client, watched: Watched, source: Source, tell: mpsc::Sender<(Source, News)>) {
    let mut pause = RETRY_FIRST;
    // How far is known what was listed once.
    let mut seen = None;
    while !tell.is_closed() {
        let before = seen;
        if let Err(error) = listed_then_watched(&client, &watched, source, &tell, &mut seen).await {
            // A server that will not go on from there is asked for all; one that cannot answer now is asked again.
            if error.code().is_some_and(|code| code != 503) {
                seen = None;
            }
            tracing::debug!(kind = %watched.kind, %error, after = ?seen, "mirror begins again");
            let _ = tell.send((source, News::Failed)).await;
        }
        if seen != before {
            pause = RETRY_FIRST;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
}

async fn listed_then_watched(
    client: &Client,
    watched: &Watched,
    source: Source,
    tell: &mpsc::Sender<(Source, News)>,
    seen: &mut Option<Revision>,
) -> Result<(), ClientError> {
    let Watched { kind, namespace, options } = watched;
    let mut after = match *seen {
        Some(after) => after,
        None => {
            let (objects, revision) = client.list(*kind, namespace.as_deref(), options).await?;
            let _ = tell.send((source, News::Listed(objects, revision))).await;
            revision
        }
    };
    *seen = Some(after);
    loop {
        let mut stream = client.watch(*kind, namespace.as_deref(), options, after).await?;
        while let Some(event) = stream.next().await? {
            after = match &event {
                WatchEvent::Applied(object) | WatchEvent::Deleted(object) => object.revision(),
                WatchEvent::Bookmark(revision) => *revision,
            };
            if tell.send((source, News::Event(event))).await.is_err() {
                return Ok(());
            }
            *seen = Some(after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds;
    use serde_json::json;

    fn node(name: &str, revision: u64) -> Object {
        let value = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "resourceVersion": revision.to_string()}});
        Object::from_value(kinds::NODE, &value).expect("a node")
    }

    /// Sources 1 and 2 watch kinds, source 3 watches the node `b` alone.
    fn check(news: Vec<(Source, News)>, expect: &str) -> Known {
        let mut known = Known::default();
        for source in 1..=3 {
            known.held.insert(source, BTreeSet::new());
            known.missing.insert(source);
        }
        known.single.insert(kinds::NODE.cluster_key("b"), 3);
        for (source, one) in news {
            known.told(source, one);
        }
        let names: Vec<String> =
            known.world.objects().map(|object| format!("{}@{}", object.key().name(), object.revision())).collect();
        assert_eq!(names.join(" "), expect);
        known
    }

    fn listed(nodes: &[(&str, u64)], revision: u64) -> News {
        News::Listed(nodes.iter().map(|(name, at)| node(name, *at)).collect(), Revision(revision))
    }

    #[test]
    fn events_change_what_was_listed() {
        let changed = News::Event(WatchEvent::Applied(node("a", 3)));
        let gone = News::Event(WatchEvent::Deleted(node("b", 4)));
        check(vec![(1, listed(&[("a", 1), ("b", 2)], 2)), (1, changed), (1, gone)], "a@3");
    }

    #[test]
    fn a_second_list_removes_what_went_unseen_and_keeps_what_is_newer() {
        let first = listed(&[("a", 1), ("b", 5)], 5);
        check(vec![(1, first), (1, listed(&[("b", 4), ("c", 6)], 6))], "b@5 c@6");
    }

    #[test]
    fn what_several_hold_stays_until_the_last_lets_go() {
        let both = || vec![(1, listed(&[("a", 1), ("b", 2)], 2)), (3, listed(&[("b", 2)], 2))];
        let gone = |source| (source, News::Event(WatchEvent::Deleted(node("b", 3))));
        check(both().into_iter().chain([gone(1), gone(3)]).collect(), "a@1");
        let mut known = check(both().into_iter().chain([gone(1)]).collect(), "a@1 b@2");
        known.forget(&kinds::NODE.cluster_key("b"));
        assert_eq!(known.world.objects().count(), 1, "nobody cares for it any more");
        known.told(3, listed(&[("b", 9)], 9));
        assert_eq!(known.world.objects().count(), 1, "what comes late is not heard");
    }

    #[test]
    fn nothing_is_known_before_all_is_known() {
        let known = check(vec![(1, listed(&[], 1)), (2, News::Failed), (3, News::Failed)], "");
        assert_eq!(known.missing, BTreeSet::from([2]), "one object that cannot be seen holds nobody up; a kind does");
    }
}
