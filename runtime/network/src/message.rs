//! What travels: requests, responses, their bodies, and the one seam behind which anything may answer.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use tower::Service;

use crate::Fault;

/// Why a body broke off.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A body that streams, with trailers.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A request on its way to a handler.
pub type Request = http::Request<Body>;

/// An answer; its body may still be under way.
pub type Response = http::Response<Body>;

/// Anything that answers requests. Dropping the future it returns, or the body of its response, calls the work off.
pub type Handler = tower::util::BoxCloneSyncService<Request, Response, Fault>;

/// How many pods a request has come through, as an extension of the request. Whoever makes a request on behalf of another
/// carries the number over; [`Outbound`](crate::Outbound) counts and refuses what runs in circles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hops(pub u8);

/// Who a request comes from in the first place, as an extension of the request: whom a service's `sessionAffinity` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// The endpoint of a request speaks HTTP/2 without being asked for it, as an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorKnowledge;

/// A handler made of a function.
pub fn handler<F, Answer>(answer: F) -> Handler
where
    F: Fn(Request) -> Answer + Clone + Send + Sync + 'static,
    Answer: Future<Output = Result<Response, Fault>> + Send + 'static,
{
    Handler::new(tower::service_fn(answer))
}

/// Has `request` answered by `handler`, once that is ready for it.
///
/// What `tower::ServiceExt::oneshot` does, written so that the compiler can tell that callers' futures may be sent to
/// another thread: there the type of the future depends on the handler's, whose lifetimes it then takes for any.
pub async fn call(mut handler: Handler, request: Request) -> Result<Response, Fault> {
    poll_fn(|cx| handler.poll_ready(cx)).await?;
    handler.call(request).await
}

/// A body with nothing in it.
pub fn empty() -> Body {
    Empty::new().map_err(never).boxed_unsync()
}

/// A body that is there as a whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(never).boxed_unsync()
}

/// A short answer in plain words.
pub fn text(status: http::StatusCode, words: impl Into<Bytes>) -> Response {
    let mut response = Response::new(full(words));
    *response.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}

fn never(never: Infallible) -> BoxError {
    match never {}
}
