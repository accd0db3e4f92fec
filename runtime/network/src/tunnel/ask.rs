//! The asking side: what a pod of this node wants of a pod of another, put on the way to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, Method, Uri, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::bodies::{self, Reading};
use super::failure::Failure;
use super::link::{Unanswered, incoming};
use super::peers::Peers;
use super::words::{self, Kind, Written};
use crate::{BoxError, Fault, Hops, Origin, Refused, Request, Response, Stream};

/// A connection that does not stand within this will not: the other node is gone, or its pod does not accept.
const STREAM_PATIENCE: Duration = Duration::from_secs(10);
/// As much is read of why something failed.
const WORDS_BYTES_MAX: usize = 4 << 10;

/// A connection to a pod of another node.
pub(super) async fn stream(peers: &Peers, origin: &Origin, to: SocketAddr) -> Result<Stream, Refused> {
    let way = peers.of(to.ip()).ok_or(Refused::Unreachable(to))?;
    let local = match origin {
        Origin::Outside(address) => *address,
        _ => SocketAddr::new(origin.address().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), 0),
    };
    let (near, far) = Stream::pair(local, to);
    let (reader, writer) = far.into_split();
    let mut request = Request::new(Reading(reader).boxed_unsync());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = absolute(Uri::default(), to).ok_or(Refused::Unreachable(to))?;
    address(request.headers_mut(), Kind::Stream, origin, to);
    let answer = match timeout(STREAM_PATIENCE, peers.send(&way, request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(Unanswered::Unsent(_))) => return Err(Refused::Unreachable(to)),
        Ok(Err(Unanswered::Broken(error))) => {
            return Err(Refused::Failed { to, source: std::io::Error::other(error) });
        }
        Err(_) => return Err(Refused::TimedOut { to, limit: STREAM_PATIENCE }),
    };
    if let Some(failure) = Failure::told(answer.headers()) {
        return Err(failure.refusal(origin, to, explained(answer).await));
    }
    // Ends with the connection: its body ends or breaks, or nobody reads.
    tokio::spawn(bodies::pour(incoming(answer.into_body()), writer));
    Ok(near)
}

/// A request to a pod of another node. What did not get there, or was not begun with there, is given back if it can be.
pub(super) async fn request(
    peers: &Peers,
    origin: &Origin,
    to: SocketAddr,
    request: Request,
) -> Result<Response, Fault> {
    let Some(way) = peers.of(to.ip()) else { return Err(Fault::Unreachable(to)) };
    if *request.method() == Method::CONNECT {
        return Err(Fault::BadRequest("CONNECT is for connections"));
    }
    let (parts, body) = request.into_parts();
    let kept = parts.clone();
    let (lender, lent) = bodies::lend(body);
    let mut request = Request::from_parts(parts, lent.boxed_unsync());
    let Some(uri) = absolute(std::mem::take(request.uri_mut()), to) else {
        return Err(Fault::BadRequest("bad address"));
    };
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    let hops = request.extensions().get::<Hops>().copied().unwrap_or_default();
    let headers = request.headers_mut();
    strip_connection(headers);
    address(headers, Kind::Request, origin, to);
    words::set(headers, &words::HOPS, &hops.0);
    let give_back = |reason| match lender.take_back() {
        Some(body) => Fault::refused(Request::from_parts(kept, body), reason),
        None => Fault::Unreachable(to),
    };
    match peers.send(&way, request).await {
        Err(Unanswered::Unsent(request)) => {
            // What holds the body goes first.
            drop(request);
            Err(give_back("its node cannot be reached"))
        }
        Err(Unanswered::Broken(error)) => Err(Fault::Connection(error)),
        Ok(mut answer) => match Failure::told(answer.headers()) {
            None => {
                words::strip(answer.headers_mut());
                Ok(answer.map(incoming))
            }
            Some(failure) if failure.is_before_all() => Err(give_back("nobody answers there")),
            Some(failure) => Err(failure.fault(to, explained(answer).await)),
        },
    }
}

fn address(headers: &mut HeaderMap, kind: Kind, origin: &Origin, to: SocketAddr) {
    words::strip(headers);
    words::set(headers, &words::KIND, &kind);
    words::set(headers, &words::TO, &to);
    words::set(headers, &words::ORIGIN, &Written(origin));
}

/// What is about a connection means nothing beyond it, and HTTP/2 does not have it.
fn strip_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain([&CONNECTION, &TRANSFER_ENCODING, &UPGRADE]) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// An address that says scheme and host, as HTTP/2 wants it.
fn absolute(uri: Uri, to: SocketAddr) -> Option<Uri> {
    if uri.scheme().is_some() && uri.authority().is_some() {
        return Some(uri);
    }
    let mut parts = uri.into_parts();
    parts.scheme.get_or_insert(Scheme::HTTP);
    if parts.authority.is_none() {
        parts.authority = Some(to.to_string().parse::<Authority>().ok()?);
    }
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).ok()
}

async fn explained(answer: http::Response<Incoming>) -> String {
    let read: Result<_, BoxError> = Limited::new(answer.into_body(), WORDS_BYTES_MAX).collect().await;
    read.map(|words| String::from_utf8_lossy(&words.to_bytes()).into_owned()).unwrap_or_default()
}
