//! What nodes give each other besides what their pods say: content that everybody can check, by its digest.
//!
//! It goes only from node to node: what a server would have to pass on is nearer at that server.

use futures::future::BoxFuture;
use http::{HeaderMap, Method, Uri};

use super::failure::Failure;
use super::link::{Unanswered, incoming};
use super::peers::Peers;
use super::words::{self, Kind};
use crate::{Request, Response, empty};

/// What is here, for other nodes.
pub trait Shelf: Send + Sync + 'static {
    /// The content of a digest (`sha256:…`), if it is here.
    fn content(&self, digest: String) -> BoxFuture<'static, Option<Response>>;
}

/// Gives what another node asks for; none if it is not here.
pub(super) async fn give(shelf: &dyn Shelf, method: &Method, headers: &HeaderMap) -> Option<Response> {
    let digest: String = words::get(headers, &words::DIGEST).ok()?;
    let given = shelf.content(digest).await?;
    Some(if *method == Method::HEAD { given.map(|_| empty()) } else { given })
}

/// Whether a node has it.
pub(super) async fn has(peers: &Peers, node: &str, digest: &str) -> bool {
    ask(peers, node, digest, Method::HEAD).await.is_some()
}

/// What a node has of this digest, unchecked.
pub(super) async fn fetch(peers: &Peers, node: &str, digest: &str) -> Option<Response> {
    ask(peers, node, digest, Method::GET).await
}

async fn ask(peers: &Peers, node: &str, digest: &str, method: Method) -> Option<Response> {
    let way = peers.to(node)?;
    let mut request = Request::new(empty());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_static("http://content/");
    words::set(request.headers_mut(), &words::KIND, &Kind::Content);
    words::set(request.headers_mut(), &words::DIGEST, &digest);
    let answer = match peers.send_directly(&way, request).await {
        Ok(answer) => answer,
        Err(Unanswered::Unsent(_)) => return None,
        Err(Unanswered::Broken(error)) => {
            tracing::debug!(%node, %digest, %error, "content was not given");
            return None;
        }
    };
    if Failure::told(answer.headers()).is_some() || !answer.status().is_success() {
        return None;
    }
    Some(answer.map(incoming))
}
