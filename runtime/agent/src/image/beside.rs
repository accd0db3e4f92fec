//! The nodes beside this one, which may have what it is about to fetch: what they have does not cross the slow link again.
//!
//! A node beside is one of the same zone (`topology.kubernetes.io/zone`), or, where this one is in no zone, one of those that are in
//! none either. A few of them are asked at once, and the first that has it gives it. What something means is still the registry's
//! to say, and whether the pod may have it: only bytes come from beside, and they are checked by their digest.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::time::Duration;

use api::{Object, kinds};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use host::Digest;
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use network::Body;
use network::tunnel::{Shelf, Tunnel};
use state::Snapshot;
use tokio::sync::watch;
use tokio_util::io::ReaderStream;

/// Where components may be had without the registry.
pub trait Beside: Send + Sync + 'static {
    /// What is had of this digest (`sha256:…`), unchecked.
    fn content<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Option<Response<Body>>>;
}

/// The nodes beside this one, by way of the tunnel.
pub(crate) struct Nodes {
    pub(crate) tunnel: Tunnel,
    pub(crate) view: watch::Receiver<Snapshot>,
    pub(crate) name: String,
}

/// The components of this node, for others.
pub(crate) struct Shelved(pub(super) PathBuf);

const ZONE: &str = "topology.kubernetes.io/zone";

/// As many are asked at once: most of a site, and a handful of a large one.
const ASKED_MAX: usize = 8;
/// Nodes of one site answer within milliseconds; the registry is not kept waiting for those that do not.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whom to ask: nodes beside this one, others for each node and each digest, so that nobody is asked by all.
fn beside(view: &Snapshot, name: &str, digest: &str) -> Vec<String> {
    let zone = |node: &Object| node.meta().labels.get(ZONE).map(ToString::to_string);
    let own = view.get(&kinds::NODE.cluster_key(name)).and_then(zone);
    let others = view.list(kinds::NODE).filter(|node| node.key().name() != name && zone(node) == own);
    let mut others: Vec<(u64, String)> = others
        .map(|node| {
            let mut hasher = DefaultHasher::new();
            (name, digest, node.key().name()).hash(&mut hasher);
            (hasher.finish(), node.key().name().to_owned())
        })
        .collect();
    others.sort_unstable();
    others.truncate(ASKED_MAX);
    others.into_iter().map(|(_, node)| node).collect()
}

// === impl Nodes ===

impl Nodes {
    /// The first of the nodes beside that says that it has it.
    async fn holder(&self, digest: &str) -> Option<String> {
        let asked = beside(&self.view.borrow(), &self.name, digest);
        let asking = asked.into_iter().map(|node| async { self.tunnel.has(&node, digest).await.then_some(node) });
        let mut answers: FuturesUnordered<_> = asking.collect();
        let first = async {
            while let Some(answer) = answers.next().await {
                if answer.is_some() {
                    return answer;
                }
            }
            None
        };
        tokio::time::timeout(PATIENCE, first).await.ok().flatten()
    }
}

impl Beside for Nodes {
    fn content<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Option<Response<Body>>> {
        Box::pin(async move {
            let node = self.holder(digest).await?;
            let given = self.tunnel.content(&node, digest).await;
            tracing::debug!(%node, %digest, given = given.is_some(), "a node beside has it");
            given
        })
    }
}

// === impl Shelved ===

impl Shelf for Shelved {
    fn content(&self, digest: String) -> BoxFuture<'static, Option<Response<Body>>> {
        let path = digest.parse::<Digest>().ok().map(|digest| self.0.join(digest.hex()));
        Box::pin(async move {
            let file = tokio::fs::File::open(path?).await.ok()?;
            let length = file.metadata().await.ok()?.len();
            let frames = ReaderStream::new(file).map(|piece| piece.map(Frame::data).map_err(network::BoxError::from));
            let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
            answer.headers_mut().insert(CONTENT_LENGTH, length.into());
            Some(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::{object, world};

    fn node(name: &str, zone: Option<&str>) -> api::Object {
        let labels = zone.map_or(json!({}), |zone| json!({ZONE: zone}));
        object(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}).to_string())
    }

    fn check(nodes: &[(&str, Option<&str>)], expected: &[&str]) {
        let view = world(nodes.iter().map(|(name, zone)| node(name, *zone)));
        let mut found = beside(&view, "n1", "sha256:00");
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn those_of_the_same_place_are_asked() {
        check(&[("n1", Some("a")), ("n2", Some("a")), ("n3", Some("b")), ("n4", None)], &["n2"]);
        check(&[("n1", None), ("n2", Some("a")), ("n3", None)], &["n3"]);
        check(&[("n1", Some("a"))], &[]);
    }

    #[test]
    fn of_many_some_are_asked_and_not_always_the_same() {
        let names: Vec<String> = (1..=100).map(|number| format!("n{number}")).collect();
        let view = world(names.iter().map(|name| node(name, None)));
        let one = beside(&view, "n1", "sha256:00");
        assert_eq!(one.len(), ASKED_MAX);
        assert!(!one.contains(&"n1".to_owned()));
        assert_eq!(one, beside(&view, "n1", "sha256:00"));
        assert_ne!(one, beside(&view, "n1", "sha256:01"));
        assert_ne!(one, beside(&view, "n2", "sha256:00"));
    }
}
