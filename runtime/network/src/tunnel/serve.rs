//! The answering side: what comes through a tunnel is checked, and handed to what is here.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::bodies::{self, Reading};
use super::datagrams::Frames;
use super::failure::Failure;
use super::link::{self, incoming};
use super::words::{self, Kind, Read, Unreadable};
use super::{Here, Shared, Tunnel, shelf};
use crate::{Hops, Origin, Response, empty};

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(super) enum Asker {
    /// A node, which has shown its certificate.
    Node(Arc<str>),
    /// The server, which has seen the certificate of the node that it names.
    Server,
}

/// Why nothing is done, and in which words.
struct Rejected(Failure, String);

/// Answers over `io` for the pods of this node, until the connection or the tunnel ends.
pub(super) async fn node<I>(tunnel: &Tunnel, io: I, asker: Asker)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shared = tunnel.shared.clone();
    let answering = link::answer(io, move |request| answer(shared.clone(), asker.clone(), request));
    if let Some(Err(error)) = tunnel.shared.closing.run_until_cancelled(answering).await {
        debug!(%error, "a tunnel broke");
    }
}

/// Answers one request of another node.
pub(super) async fn answer(shared: Arc<Shared>, asker: Asker, request: hyper::Request<Incoming>) -> Response {
    let done = async {
        let not_ready = || reject(Failure::Unreachable, "the node is not ready");
        let headers = request.headers();
        let node: Arc<str> = match &asker {
            Asker::Node(node) => node.clone(),
            Asker::Server => words::get::<String>(headers, &words::ASKER)?.into(),
        };
        let meant: String = words::get(headers, &words::NODE)?;
        if meant != **shared.identity.node() {
            return Err(reject(Failure::Unreachable, "this is another node"));
        }
        match words::get(headers, &words::KIND)? {
            Kind::Datagrams => {
                let here = shared.here.get().ok_or_else(not_ready)?;
                Ok(datagrams(shared.clone(), here.clone(), node, request.into_body()))
            }
            Kind::Content => {
                let shelf = shared.shelf.get().ok_or_else(not_ready)?;
                let given = shelf::give(&**shelf, request.method(), request.headers()).await;
                given.ok_or_else(|| reject(Failure::Nobody, "it is not here"))
            }
            kind => {
                let here = shared.here.get().ok_or_else(not_ready)?;
                let to: SocketAddr = words::get(headers, &words::TO)?;
                let Read(origin) = words::get(headers, &words::ORIGIN)?;
                admit(&shared, &node, &origin, to)?;
                match kind {
                    Kind::Stream => stream(&**here, origin, to, request.into_body()).await,
                    _ => forward(&**here, origin, to, request).await,
                }
            }
        }
    };
    done.await.unwrap_or_else(|Rejected(failure, words)| failure.answer(words))
}

/// Whether the asker is believed who asks, and what is asked for is here.
fn admit(shared: &Shared, asker: &str, origin: &Origin, to: SocketAddr) -> Result<(), Rejected> {
    let routes = shared.routes.load();
    if routes.node_of(to.ip()).is_none_or(|peer| peer.name != *shared.identity.node()) {
        return Err(reject(Failure::Unreachable, "no pod of this node has the address"));
    }
    if !routes.believes(asker, origin) {
        tracing::warn!(node = asker, %origin, "not believed");
        return Err(reject(Failure::Denied, "the node does not speak for who asks"));
    }
    Ok(())
}

async fn stream(here: &dyn Here, origin: Origin, to: SocketAddr, body: Incoming) -> Result<Response, Rejected> {
    let stream = here.stream(origin, to).await;
    let stream = stream.map_err(|refused| Rejected(Failure::from(&refused), refused.to_string()))?;
    let (reader, writer) = stream.into_split();
    // Ends with the connection: its body ends or breaks, or nobody reads.
    tokio::spawn(bodies::pour(incoming(body), writer));
    Ok(Response::new(Reading(reader).boxed_unsync()))
}

async fn forward(
    here: &dyn Here,
    origin: Origin,
    to: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<Response, Rejected> {
    let mut request = request.map(incoming);
    let hops = Hops(words::get(request.headers(), &words::HOPS)?);
    words::strip(request.headers_mut());
    request.extensions_mut().clear();
    request.extensions_mut().insert(hops);
    let answer = here.request(origin, to, request).await;
    let mut answer = answer.map_err(|fault| Rejected(Failure::from(&fault), fault.to_string()))?;
    words::strip(answer.headers_mut());
    Ok(answer)
}

/// Takes in datagrams for as long as they come.
fn datagrams(shared: Arc<Shared>, here: Arc<dyn Here>, asker: Arc<str>, mut body: Incoming) -> Response {
    let closing = shared.closing.clone();
    let taking = async move {
        let mut frames = Frames::default();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(bytes) = frame.into_data() else { continue };
            frames.add(&bytes);
            while let Some(next) = frames.next() {
                let Ok(datagram) = next else { return debug!(node = %asker, "a stream of datagrams is none") };
                let believed = {
                    let routes = shared.routes.load();
                    routes.believes_from(&asker, &datagram.origin, datagram.from.ip())
                        && routes.node_of(datagram.to.ip()).is_some_and(|peer| peer.name == *shared.identity.node())
                };
                if believed {
                    here.datagram(datagram.origin, datagram.from, datagram.to, datagram.bytes);
                }
            }
        }
    };
    tokio::spawn(async move { closing.run_until_cancelled(taking).await });
    Response::new(empty())
}

fn reject(failure: Failure, words: &str) -> Rejected {
    Rejected(failure, words.to_owned())
}

// === impl Rejected ===

impl From<Unreadable> for Rejected {
    fn from(unreadable: Unreadable) -> Self {
        reject(Failure::Failed, &unreadable.to_string())
    }
}
