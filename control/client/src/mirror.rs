//! A mirror: the part of the world one cares for, kept up to date by listing and watching it.
//!
//! Each kind is listed once and then watched from there; a watch that fell behind lists anew. The mirror publishes nothing
//! before every kind has been listed, so that whoever reads it never takes "not yet known" for "not there". While the server
//! cannot be reached it goes on showing what it last knew.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use api::{GroupKind, Key, Object, Revision};
use futures::future::join_all;
use state::{Change, Event, Snapshot};
use tokio::sync::{mpsc, watch};

use crate::{Client, ClientError, ListOptions, WatchEvent};

/// A kind to mirror, and which objects of it.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The kind.
    pub kind: GroupKind,
    /// A field selector such as `spec.nodeName=n1`, or none for all.
    pub fields: Option<String>,
}

/// Pauses between tries to reach the server grow from the first to the second.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(5);

enum News {
    Listed(GroupKind, Vec<Object>, Revision),
    Event(WatchEvent),
}

/// Mirrors `kinds` until `shutdown`; the receiver's first value is an empty world, and it changes when all kinds are known.
pub async fn mirror(
    client: Client,
    kinds: Vec<Watched>,
    publish: watch::Sender<Snapshot>,
    shutdown: impl Future<Output = ()>,
) {
    let (tell, mut news) = mpsc::channel(1024);
    let mut missing: Vec<GroupKind> = kinds.iter().map(|watched| watched.kind).collect();
    let watching = join_all(kinds.into_iter().map(|watched| follow(client.clone(), watched, tell.clone())));
    drop(tell);
    let keeping = async move {
        let mut world = Snapshot::default();
        while let Some(first) = news.recv().await {
            world = told(&world, first, &mut missing);
            while let Ok(more) = news.try_recv() {
                world = told(&world, more, &mut missing);
            }
            if missing.is_empty() {
                publish.send_replace(world.clone());
            }
        }
    };
    tokio::select! {
        _ = watching => {}
        () = keeping => {}
        () = shutdown => {}
    }
}

fn told(world: &Snapshot, news: News, missing: &mut Vec<GroupKind>) -> Snapshot {
    match news {
        News::Listed(kind, objects, revision) => {
            missing.retain(|other| *other != kind);
            relisted(world, kind, objects, revision)
        }
        News::Event(WatchEvent::Applied(object)) => applied(world, object),
        News::Event(WatchEvent::Deleted(last)) => deleted(world, last.key(), last.revision()),
        News::Event(WatchEvent::Bookmark(_)) => world.clone(),
    }
}

/// A list replaces everything that was known of its kind.
fn relisted(world: &Snapshot, kind: GroupKind, objects: Vec<Object>, revision: Revision) -> Snapshot {
    let mut gone: BTreeSet<Key> = world.list(kind).map(|object| object.key().clone()).collect();
    let mut next = world.clone();
    for object in objects {
        gone.remove(object.key());
        next = applied(&next, object);
    }
    gone.into_iter().fold(next, |next, key| deleted(&next, &key, revision))
}

fn applied(world: &Snapshot, object: Object) -> Snapshot {
    let revision = object.revision();
    let change = match world.get(object.key()) {
        Some(before) if before.revision() >= revision => return world.clone(),
        Some(before) => Change::Modified { before: before.clone(), after: object },
        None => Change::Added(object),
    };
    world.follow(&Event { revision, change })
}

fn deleted(world: &Snapshot, key: &Key, revision: Revision) -> Snapshot {
    match world.get(key) {
        Some(before) => {
            let change = Change::Deleted { before: before.clone(), last: before.at(revision) };
            world.follow(&Event { revision, change })
        }
        None => world.clone(),
    }
}

/// Lists and watches one kind for as long as anyone listens.
async fn follow(client: Client, watched: Watched, tell: mpsc::Sender<News>) {
    let mut pause = RETRY_FIRST;
    while !tell.is_closed() {
        let mut seen = None;
        if let Err(error) = listed_then_watched(&client, &watched, &tell, &mut seen).await {
            tracing::debug!(kind = %watched.kind, %error, "mirror lists anew");
        }
        if seen.is_some() {
            pause = RETRY_FIRST;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
}

async fn listed_then_watched(
    client: &Client,
    watched: &Watched,
    tell: &mpsc::Sender<News>,
    seen: &mut Option<Revision>,
) -> Result<(), ClientError> {
    let options = ListOptions { fields: watched.fields.clone(), labels: None };
    let (objects, revision) = client.list(watched.kind, None, &options).await?;
    let _ = tell.send(News::Listed(watched.kind, objects, revision)).await;
    let mut after = revision;
    *seen = Some(revision);
    loop {
        let mut stream = client.watch(watched.kind, None, &options, after).await?;
        while let Some(event) = stream.next().await? {
            after = match &event {
                WatchEvent::Applied(object) | WatchEvent::Deleted(object) => object.revision(),
                WatchEvent::Bookmark(revision) => *revision,
            };
            if tell.send(News::Event(event)).await.is_err() {
                return Ok(());
            }
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

    fn check(news: Vec<News>, expect: &str) {
        let world = news.into_iter().fold(Snapshot::default(), |world, news| told(&world, news, &mut Vec::new()));
        let names: Vec<String> =
            world.objects().map(|object| format!("{}@{}", object.key().name(), object.revision())).collect();
        assert_eq!(names.join(" "), expect);
    }

    #[test]
    fn events_change_what_was_listed() {
        let listed = News::Listed(kinds::NODE, vec![node("a", 1), node("b", 2)], Revision(2));
        let changed = News::Event(WatchEvent::Applied(node("a", 3)));
        check(vec![listed, changed, News::Event(WatchEvent::Deleted(node("b", 4)))], "a@3");
    }

    #[test]
    fn a_second_list_removes_what_went_unseen_and_keeps_what_is_newer() {
        let first = News::Listed(kinds::NODE, vec![node("a", 1), node("b", 5)], Revision(5));
        let second = News::Listed(kinds::NODE, vec![node("b", 4), node("c", 6)], Revision(6));
        check(vec![first, second], "b@5 c@6");
    }
}
