//! Links to nodes: nodes dial out, and are spoken to over what they dialled.
//!
//! An agent opens `GET /coracle/v1/nodes/<name>/link` and upgrades it to `coracle-link/1`; from there on the agent is an HTTP/2
//! server and we are its client, so that logs reach us from behind any NAT. The newest link of a node is the one that is used.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{Key, Reason, StatusError, kinds};
use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::Request;
use futures::StreamExt;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::client::conn::http2;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::answer::Answer;

/// What a link is called when a connection is upgraded to one.
pub const PROTOCOL: &str = "coracle-link/1";

/// A line of what a node tells of those who wait: longer than that of a thousand services.
const LINE_BYTES_MAX: usize = 1 << 20;

/// A node that is gone is noticed within so long.
const KEEP_ALIVE_SECONDS: u64 = 15;

/// The nodes that can be spoken to.
#[derive(Default)]
pub struct Links {
    by_node: ArcSwap<HashMap<String, Link>>,
    opened: AtomicU64,
    /// How many requests wait for each service, on all nodes together.
    waiting: watch::Sender<Arc<BTreeMap<Key, u64>>>,
    /// The same by the number of the link that told it.
    waiting_by_link: Mutex<HashMap<u64, BTreeMap<Key, u64>>>,
}

#[derive(Clone)]
struct Link {
    /// Tells the links of one node apart.
    number: u64,
    sender: http2::SendRequest<Body>,
}

// === impl Links ===

impl Links {
    /// Asks a node something.
    pub(crate) async fn ask(&self, node: &str, request: http::Request<Body>) -> Result<Answer, StatusError> {
        let link = self.by_node.load().get(node).cloned();
        let url = request.uri().to_string();
        let failed = |why: String| StatusError::internal(format!("Get \"https://{node}{url}\": {why}"));
        let mut link = link.ok_or_else(|| failed(format!("node {node} is not connected")))?;
        link.sender.ready().await.map_err(|error| failed(error.to_string()))?;
        let answer = link.sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        Ok(answer.map(Body::new))
    }

    /// How many requests and connections wait for each service that has no endpoint and will be given one.
    pub fn waiting(&self) -> watch::Receiver<Arc<BTreeMap<Key, u64>>> {
        self.waiting.subscribe()
    }

    /// Listens to who waits on a node, for as long as the link lasts. A node that does not tell has nobody waiting.
    async fn listen(&self, number: u64, mut sender: http2::SendRequest<Body>) {
        let Ok(request) = http::Request::get("/waiting").body(Body::empty()) else { return };
        let Ok(answer) = sender.send_request(request).await else { return };
        if answer.status() != StatusCode::OK {
            return;
        }
        let mut pieces = Body::new(answer.into_body()).into_data_stream();
        let mut line = Vec::new();
        while let Some(Ok(piece)) = pieces.next().await {
            line.extend_from_slice(&piece);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let told: Vec<(String, String, u64)> = serde_json::from_slice(&line[..end]).unwrap_or_default();
                let key =
                    |(namespace, name, count): (String, String, u64)| (kinds::SERVICE.key(&namespace, &name), count);
                self.tell_waiting(number, told.into_iter().map(key).collect());
                line.drain(..=end);
            }
            if line.len() > LINE_BYTES_MAX {
                return;
            }
        }
    }

    fn tell_waiting(&self, number: u64, told: BTreeMap<Key, u64>) {
        let mut by_link = self.waiting_by_link.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_empty() {
            by_link.remove(&number);
        } else {
            by_link.insert(number, told);
        }
        let mut sum: BTreeMap<Key, u64> = BTreeMap::new();
        for (service, count) in by_link.values().flatten() {
            *sum.entry(service.clone()).or_default() += count;
        }
        // Published while the sums are held, so that what is told last is what was summed last.
        self.waiting.send_if_modified(|known| {
            let other = **known != sum;
            if other {
                *known = Arc::new(sum);
            }
            other
        });
    }

    /// Whether a request asks to become a link, and the connection it comes on.
    pub(crate) fn upgrade(request: &mut Request) -> Result<OnUpgrade, StatusError> {
        let asked = request.headers().get(UPGRADE).is_some_and(|protocol| protocol.as_bytes() == PROTOCOL.as_bytes());
        match request.extensions_mut().remove::<OnUpgrade>() {
            Some(upgrade) if asked => Ok(upgrade),
            _ => Err(StatusError::new(Reason::BadRequest, format!("a link is opened by an upgrade to {PROTOCOL}"))),
        }
    }

    /// The answer that makes a link of a connection.
    pub(crate) fn switching() -> Answer {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
        answer
    }

    /// Keeps a link for as long as it lasts.
    pub(crate) async fn hold(self: Arc<Self>, node: String, upgrade: OnUpgrade, closing: CancellationToken) {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return debug!(%node, %error, "no link"),
        };
        let shaken = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(KEEP_ALIVE_SECONDS))
            .keep_alive_while_idle(true)
            .handshake(upgraded)
            .await;
        let (sender, connection) = match shaken {
            Ok(shaken) => shaken,
            Err(error) => return debug!(%node, %error, "no link"),
        };
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let link = Link { number, sender: sender.clone() };
        self.by_node.rcu(|links| {
            let mut links = HashMap::clone(links);
            links.insert(node.clone(), link.clone());
            links
        });
        info!(%node, "linked");
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                debug!(%node, %error, "link broken");
            },
            () = closing.cancelled() => {}
            () = async { self.listen(number, sender).await; std::future::pending().await } => {}
        }
        self.tell_waiting(number, BTreeMap::new());
        self.by_node.rcu(|links| {
            let mut links = HashMap::clone(links);
            // A newer link of the node stays.
            if links.get(&node).is_some_and(|known| known.number == number) {
                links.remove(&node);
            }
            links
        });
        info!(%node, "link ended");
    }
}
