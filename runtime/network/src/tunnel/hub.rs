//! What a server does for nodes that cannot reach each other: it passes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Shared;
use super::failure::Failure;
use super::link::{self, Link, Unanswered, incoming};
use super::serve::{self, Asker};
use super::words;
use crate::Response;

/// The connections that nodes hold to a server. Cloning shares them; they end with the last clone.
#[derive(Clone, Default)]
pub struct Hub(Arc<Held>);

#[derive(Default)]
struct Held {
    /// Of each node, the newest last.
    by_node: ArcSwap<imbl::HashMap<Arc<str>, Arc<[Back]>>>,
    opened: AtomicU64,
    /// The node in this process, if there is one.
    own: OnceLock<Weak<Shared>>,
    closing: CancellationToken,
}

#[derive(Clone)]
struct Back {
    /// Tells the connections of one node apart.
    number: u64,
    link: Link,
}

// === impl Hub ===

impl Hub {
    /// A server to which no node is connected.
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds a connection over which `node` answers, until it ends. Of several of a node, as when it knows this server by two
    /// names, the newest is used.
    pub async fn hold<I>(&self, io: I, node: String)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let node: Arc<str> = node.into();
        let link = match Link::over(io, &self.0.closing).await {
            Ok(link) => link,
            Err(error) => return debug!(%node, %error, "no way back"),
        };
        let number = self.0.opened.fetch_add(1, Ordering::Relaxed);
        let back = Back { number, link: link.clone() };
        self.0.by_node.rcu(|links| {
            let before = links.get(&node).into_iter().flat_map(|backs| backs.iter());
            links.update(node.clone(), before.chain([&back]).cloned().collect())
        });
        info!(%node, "way back up");
        link.closed().await;
        self.0.by_node.rcu(|links| {
            let backs = links.get(&node).into_iter().flat_map(|backs| backs.iter());
            let left: Arc<[Back]> = backs.filter(|back| back.number != number).cloned().collect();
            if left.is_empty() { links.without(&node) } else { links.update(node.clone(), left) }
        });
        info!(%node, "way back ended");
    }

    /// Passes on what `node` asks of others, until its connection ends.
    pub async fn pass_on<I>(&self, io: I, node: String)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (asker, hub): (Arc<str>, _) = (node.into(), self.clone());
        let passing = link::answer(io, move |request| hub.clone().pass(asker.clone(), request));
        if let Some(Err(error)) = self.0.closing.run_until_cancelled(passing).await {
            debug!(%error, "a node's connection broke");
        }
    }

    /// The node in this process answers too.
    pub(super) fn is_beside(&self, shared: &Arc<Shared>) {
        let _ = self.0.own.set(Arc::downgrade(shared));
    }

    /// The connection over which a node answers.
    pub(super) fn link(&self, node: &str) -> Option<Link> {
        let links = self.0.by_node.load();
        let mut backs = links.get(node)?.iter().rev();
        backs.find(|back| !back.link.is_closed()).map(|back| back.link.clone())
    }

    async fn pass(self, asker: Arc<str>, request: hyper::Request<Incoming>) -> Response {
        let Ok(node) = words::get::<String>(request.headers(), &words::NODE) else {
            return Failure::Failed.answer("no node is named".into());
        };
        if let Some(own) = self.0.own.get().and_then(Weak::upgrade).filter(|own| **own.identity.node() == *node) {
            return serve::answer(own, Asker::Node(asker), request).await;
        }
        let Some(link) = self.link(&node) else {
            return Failure::Unreachable.answer(format!("node {node} is not connected"));
        };
        let mut request = request.map(incoming);
        words::set(request.headers_mut(), &words::ASKER, &asker);
        match link.ask(request).await {
            Ok(answer) => answer.map(incoming),
            Err(Unanswered::Unsent(_)) => Failure::Unreachable.answer(format!("node {node} is not connected")),
            Err(Unanswered::Broken(error)) => Failure::Failed.answer(error.to_string()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}
