//! Links to nodes: nodes dial out, and are spoken to over what they dialled.
//!
//! An agent opens `GET /coracle/v1/nodes/<name>/link` and upgrades it to `coracle-link/1`; from there on the agent is an HTTP/2
//! server and we are its client, so that logs reach us from behind any NAT. A node is linked to every server of the cluster, and
//! once more to one of them: the end of that link is taken for the node's (`record`), the others are opened `?aside=true`. Of several
//! links of a node the newest is the one that is used.

mod heard;
mod record;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::node_link::How;
use api::{Key, Reason, StatusError, kinds};
use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::Request;
use futures::StreamExt;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::client::conn::http2;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::answer::Answer;
use heard::Heard;
pub(crate) use record::Record;

/// What a link is called when a connection is upgraded to one.
pub const PROTOCOL: &str = "coracle-link/1";

/// A line of what a node tells of those who wait: longer than that of a thousand services.
const LINE_BYTES_MAX: usize = 1 << 20;

/// However patient one is: somebody between may forget a connection on which nothing is said.
const ASK_EVERY_MAX: Duration = Duration::from_secs(15);

/// How soon a link is given up on which nothing is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Where nothing has been heard for so long, the node is asked for a sign of life.
    pub ask_after: Duration,
    /// And has so long to give it.
    pub answer_within: Duration,
}

/// How many requests wait for each service.
type Waiting = BTreeMap<Key, u64>;

/// The nodes that can be spoken to.
#[derive(Default)]
pub struct Links {
    /// Of each node, the newest last.
    by_node: ArcSwap<HashMap<String, Vec<Link>>>,
    opened: AtomicU64,
    /// How many requests wait for each service, on all nodes together.
    waiting: watch::Sender<Arc<Waiting>>,
    /// The same by node and the number of the link that told it; what the newest of a node told counts.
    waiting_by_link: Mutex<HashMap<String, BTreeMap<u64, Waiting>>>,
}

#[derive(Clone)]
struct Link {
    /// Tells the links of one node apart.
    number: u64,
    sender: http2::SendRequest<Body>,
}

/// What a node tells of those who wait; nothing where that is in words that are not known.
fn told(line: &[u8]) -> Waiting {
    let told: Vec<(String, String, u64)> = serde_json::from_slice(line).unwrap_or_default();
    told.into_iter().map(|(namespace, name, count)| (kinds::SERVICE.key(&namespace, &name), count)).collect()
}

// === impl Patience ===

impl Patience {
    /// Such that a node that falls silent is called lost within about `grace`.
    pub fn within(grace: Duration) -> Self {
        Self { ask_after: (grace / 3).min(ASK_EVERY_MAX), answer_within: grace / 2 }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::within(Duration::from_secs(3))
    }
}

// === impl Links ===

impl Links {
    /// Asks a node something.
    pub(crate) async fn ask(&self, node: &str, request: http::Request<Body>) -> Result<Answer, StatusError> {
        let link = self.by_node.load().get(node).and_then(|links| links.last()).cloned();
        let url = request.uri().to_string();
        let failed = |why: String| StatusError::internal(format!("Get \"https://{node}{url}\": {why}"));
        let mut link = link.ok_or_else(|| failed(format!("node {node} is not connected")))?;
        link.sender.ready().await.map_err(|error| failed(error.to_string()))?;
        let answer = link.sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
        Ok(answer.map(Body::new))
    }

    /// Whether a node can be asked now.
    pub(crate) fn is_linked(&self, node: &str) -> bool {
        self.by_node.load().get(node).is_some_and(|links| !links.is_empty())
    }

    /// How many requests and connections wait for each service that has no endpoint and will be given one.
    pub fn waiting(&self) -> watch::Receiver<Arc<BTreeMap<Key, u64>>> {
        self.waiting.subscribe()
    }

    /// Listens to who waits on a node, for as long as the link lasts. A node that does not tell has nobody waiting.
    async fn listen(&self, node: &str, number: u64, mut sender: http2::SendRequest<Body>) {
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
                self.tell_waiting(node, number, Some(told(&line[..end])));
                line.drain(..=end);
            }
            if line.len() > LINE_BYTES_MAX {
                return;
            }
        }
    }

    /// What a link told; none when it has ended.
    fn tell_waiting(&self, node: &str, number: u64, told: Option<Waiting>) {
        let mut by_link = self.waiting_by_link.lock().unwrap_or_else(PoisonError::into_inner);
        let links = by_link.entry(node.into()).or_default();
        match told {
            Some(told) => drop(links.insert(number, told)),
            None => drop(links.remove(&number)),
        }
        by_link.retain(|_, links| !links.is_empty());
        let newest = by_link.values().filter_map(|links| links.values().next_back());
        let mut sum = Waiting::new();
        for (service, count) in newest.flatten() {
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

    /// Keeps a link for as long as it lasts, and has it on record if it is to be.
    pub(crate) async fn hold(
        self: Arc<Self>,
        node: String,
        upgrade: OnUpgrade,
        patience: Patience,
        record: Option<Record>,
        closing: CancellationToken,
    ) {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return debug!(%node, %error, "no link"),
        };
        let (upgraded, end) = Heard::on(TokioIo::new(upgraded));
        let shaken = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(patience.ask_after)
            .keep_alive_timeout(patience.answer_within)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(upgraded))
            .await;
        let (sender, connection) = match shaken {
            Ok(shaken) => shaken,
            Err(error) => return debug!(%node, %error, "no link"),
        };
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let link = Link { number, sender: sender.clone() };
        self.by_node.rcu(|links| {
            let mut links = HashMap::clone(links);
            links.entry(node.clone()).or_default().push(link.clone());
            links
        });
        info!(%node, "linked");
        let over = closing.child_token();
        let beginning = record.clone().map(|record| {
            let over = over.clone();
            tokio::spawn(async move { record.begin(over).await })
        });
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                debug!(%node, %error, "link broken");
            },
            () = closing.cancelled() => {}
            () = async { self.listen(&node, number, sender).await; std::future::pending().await } => {}
        }
        self.tell_waiting(&node, number, None);
        self.by_node.rcu(|links| {
            let mut links = HashMap::clone(links);
            if let Some(left) = links.get_mut(&node) {
                left.retain(|link| link.number != number);
                if left.is_empty() {
                    links.remove(&node);
                }
            }
            links
        });
        over.cancel();
        // What is under way is on record before its end is.
        if let Some(beginning) = beginning {
            let _ = beginning.await;
        }
        if closing.is_cancelled() {
            return info!(%node, "link given up");
        }
        let how = if end.was_told() { How::Closed } else { How::Silent };
        info!(%node, ?how, "link ended");
        if let Some(record) = record {
            record.end(how, closing).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_the_one_that_is_spoken_everywhere() {
        assert_eq!(PROTOCOL, "coracle-link/1");
        let expected = Waiting::from([(kinds::SERVICE.key("n", "s"), 1), (kinds::SERVICE.key("shop", "web"), 3)]);
        assert_eq!(told(br#"[["shop","web",3],["n","s",1]]"#), expected);
        assert_eq!(told(br#"{"waiting":[]}"#), Waiting::new());
    }
}
