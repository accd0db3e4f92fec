//! Which endpoint gets the next request: of two drawn at random, the one with fewer requests under way.
//!
//! A request counts until its response body has ended, so a slow stream weighs as long as it streams, and a connection until
//! it is closed. What no endpoint began with goes to another one; a request that was begun with is never sent twice. An
//! endpoint that fails again and again is left out for a while, unless all are.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use crate::{Body, BoxError, Endpoint, Fault, Handler, Request, Response, call};

mod affinity;
mod health;

pub use affinity::Clients;
pub use health::Health;

/// How many endpoints a request is offered to, if they take their time. Two cover an endpoint that has just gone, the third a
/// roll-out; more would only make everybody wait when everything is down.
const ATTEMPTS_MAX: usize = 3;
/// How many it is offered to if they refuse at once, as those do that are just being stopped: of many that go together, the one that
/// stays is found.
const REFUSALS_MAX: usize = 32;
/// What is at once, for all of them together.
const AT_ONCE: Duration = Duration::from_millis(20);

/// How many requests are under way to one address, over all ports and services.
#[derive(Debug, Default)]
pub struct Load(AtomicUsize);

/// A request under way; it ends when this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Load>);

struct Counted {
    body: Body,
    _in_flight: InFlight,
}

/// The endpoints that are tried for one request or connection, one after the other.
#[derive(Debug)]
pub struct Tries<'a> {
    endpoints: &'a [Endpoint],
    session: Option<Session<'a>>,
    tried: Vec<SocketAddr>,
    began: Instant,
}

/// A request that no endpoint has begun with, and why.
#[derive(Debug)]
pub(crate) struct Untaken {
    pub(crate) request: Request,
    pub(crate) fault: Fault,
}

/// A client that keeps its endpoint, where its service wants that.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The clients of the service.
    pub clients: &'a Clients,
    /// How long a silent client keeps its endpoint.
    pub timeout: Duration,
    /// The client.
    pub client: IpAddr,
    /// The port of the service.
    pub port: u16,
}

// === impl Tries ===

impl<'a> Tries<'a> {
    /// Begins to try `endpoints`.
    pub fn new(endpoints: &'a [Endpoint], session: Option<Session<'a>>) -> Self {
        Self { endpoints, session, tried: Vec::new(), began: Instant::now() }
    }

    /// The next endpoint to try; `None` says that enough were.
    pub fn next_endpoint(&mut self) -> Option<&'a Endpoint> {
        let attempts = self.tried.len();
        if attempts >= REFUSALS_MAX || (attempts >= ATTEMPTS_MAX && self.began.elapsed() > AT_ONCE) {
            return None;
        }
        let endpoint = self.kept().or_else(|| pick(self.endpoints, &self.tried, draw()))?;
        self.tried.push(endpoint.address);
        Some(endpoint)
    }

    /// The endpoint took it.
    pub fn succeeded(&self, endpoint: &Endpoint) {
        endpoint.health.succeeded();
        if let Some(session) = &self.session {
            session.clients.keep(session.client, session.port, endpoint.address, Instant::now());
        }
    }

    /// The endpoint did not take it, or failed with it.
    pub fn failed(&self, endpoint: &Endpoint) {
        endpoint.health.failed(Instant::now());
    }

    /// The endpoint that the client has had before, at the first try.
    fn kept(&self) -> Option<&'a Endpoint> {
        let session = self.session.as_ref().filter(|_| self.tried.is_empty())?;
        let now = Instant::now();
        let kept = session.clients.kept(session.client, session.port, session.timeout, now)?;
        self.endpoints.iter().find(|one| one.address == kept && !one.health.is_out(now))
    }
}

/// The endpoint that gets a request: the less busy of two that `dice` picks, none of `tried`.
pub fn pick<'a>(endpoints: &'a [Endpoint], tried: &[SocketAddr], dice: u64) -> Option<&'a Endpoint> {
    let now = Instant::now();
    let untried = |from: usize| {
        let from_there_on = || endpoints[from..].iter().chain(&endpoints[..from]);
        let untried = |endpoint: &&Endpoint| !tried.contains(&endpoint.address);
        let fit = from_there_on().filter(untried).find(|endpoint| !endpoint.health.is_out(now));
        fit.or_else(|| from_there_on().find(untried))
    };
    match endpoints {
        [] => None,
        [one] => Some(one).filter(|one| !tried.contains(&one.address)),
        many => {
            let (high, low) = ((dice >> 32) as usize, dice as u32 as usize);
            let first = high % many.len();
            let second = (first + 1 + low % (many.len() - 1)) % many.len();
            let (first, second) = (untried(first)?, untried(second)?);
            Some(if second.load.in_flight() < first.load.in_flight() { second } else { first })
        }
    }
}

/// Has `request` answered by one of `endpoints`; `dial` says who answers at an address, and `nobody` what it means that there is
/// no endpoint.
pub(crate) async fn send(
    endpoints: &[Endpoint],
    session: Option<Session<'_>>,
    dial: &impl Fn(SocketAddr) -> Result<Handler, Fault>,
    mut request: Request,
    nobody: impl Fn() -> Fault,
) -> Result<Result<Response, Fault>, Untaken> {
    let mut tries = Tries::new(endpoints, session);
    let mut fault = None;
    while let Some(endpoint) = tries.next_endpoint() {
        let handler = match dial(endpoint.address) {
            Ok(handler) => handler,
            Err(unreachable @ Fault::Unreachable(_)) => {
                tries.failed(endpoint);
                fault = Some(unreachable);
                continue;
            }
            Err(other) => return Ok(Err(other)),
        };
        let in_flight = endpoint.load.enter();
        match call(handler, request).await {
            Err(Fault::Refused(refused)) => {
                tries.failed(endpoint);
                fault = Some(Fault::Unreachable(endpoint.address));
                tracing::debug!(endpoint = %endpoint.address, reason = refused.reason(), "refused");
                request = refused.into_request();
            }
            Ok(response) => {
                tries.succeeded(endpoint);
                return Ok(Ok(in_flight.until_the_end_of(response)));
            }
            Err(fault) => {
                if fault.is_the_endpoints() {
                    tries.failed(endpoint);
                }
                return Ok(Err(fault));
            }
        }
    }
    Err(Untaken { request, fault: fault.unwrap_or_else(nobody) })
}

/// A number nobody can foresee well enough to unbalance anything. Each thread draws its own: no lock, no shared line.
pub fn draw() -> u64 {
    thread_local!(static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0)));
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

// === impl Load ===

impl Load {
    /// How many requests are under way.
    pub fn in_flight(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.0.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }
}

// === impl InFlight ===

impl InFlight {
    fn until_the_end_of(self, response: Response) -> Response {
        if http_body::Body::is_end_stream(response.body()) {
            return response;
        }
        response.map(|body| Counted { body, _in_flight: self }.boxed_unsync())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Counted ===

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
