//! The seam between guests and the network: what a guest asks of the outside, and what the outside asks of a server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use host::{Outside, OutsideError, Sending, Server, Sink, Timeouts};
use http::uri::Authority;
use http::{HeaderValue, Request, Uri, header};
use network::{Body, Fault, Outbound, Response};

use crate::probing::Probing;
use crate::sockets::Names;

/// Where requests go whose URL names no port.
const HTTP_PORT: u16 = 80;

/// The way out of one pod.
pub(crate) struct PodOutside {
    outbound: Outbound,
    from: network::From,
    names: Names,
}

/// A server as the network sees it.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) server: Server,
    /// How many requests came, the node's own probes not counted.
    pub(crate) asked: Arc<AtomicU64>,
    /// Set before the server takes no more, so that requests go elsewhere instead of failing.
    pub(crate) closing: Arc<AtomicBool>,
    /// Told once when the server has met its memory limit.
    pub(crate) out_of_memory: Arc<dyn Fn() + Send + Sync>,
    /// Where traps are told, beside what the guest itself said.
    pub(crate) stderr: Arc<dyn Sink>,
}

// === impl PodOutside ===

impl PodOutside {
    pub(crate) fn new(
        outbound: Outbound,
        namespace: &str,
        pod: &str,
        address: IpAddr,
        on_host_network: bool,
        names: Names,
    ) -> Self {
        let mut from = network::From::pod(namespace, pod, address);
        if on_host_network {
            from.reach = network::Reach::Node;
        }
        Self { outbound, from, names }
    }
}

impl PodOutside {
    /// A request to a name that the pod's own `hosts` file has, such as one of `hostAliases`, goes to the address there. With
    /// TLS the name has to stay.
    fn redirected(&self, mut request: Request<host::Body>) -> Request<host::Body> {
        let uri = request.uri();
        let address = uri.host().filter(|_| uri.scheme_str() != Some("https")).and_then(|host| self.names.alias(host));
        let (Some(address), Some(authority)) = (address, uri.authority().cloned()) else { return request };
        let there = SocketAddr::new(address, authority.port_u16().unwrap_or(HTTP_PORT));
        let mut parts = uri.clone().into_parts();
        parts.authority = Authority::try_from(there.to_string()).ok();
        let (Ok(uri), Ok(host)) = (Uri::from_parts(parts), HeaderValue::from_str(authority.as_str())) else {
            return request;
        };
        *request.uri_mut() = uri;
        request.headers_mut().entry(header::HOST).or_insert(host);
        request
    }
}

impl Outside for PodOutside {
    fn send(&self, request: Request<host::Body>, _: Timeouts) -> Sending {
        let request = self.redirected(request);
        let (outbound, from) = (self.outbound.clone(), self.from.clone());
        // From one guest to the next without a change of threads; what goes out of a real socket, the network sends elsewhere.
        Box::pin(async move { outbound.send(from, request).await.map_err(|fault| told(&fault)) })
    }
}

fn told(fault: &Fault) -> OutsideError {
    match fault {
        Fault::NoHost(host) => OutsideError::UnknownHost(host.clone()),
        Fault::NoEndpoint { .. } | Fault::Refused(_) => OutsideError::Unavailable,
        Fault::Unreachable(_) | Fault::NoPort { .. } => OutsideError::Refused,
        Fault::Denied(_) => OutsideError::Denied,
        Fault::TooManyHops(_) => OutsideError::Loop,
        Fault::Trapped(_) => OutsideError::Terminated,
        Fault::TimedOut(_) => OutsideError::ResponseTimedOut,
        other => OutsideError::Other(other.to_string()),
    }
}

// === impl Front ===

impl Front {
    /// Answers a request, or gives it back while it still can.
    pub(crate) async fn answer(self, request: Request<Body>) -> Result<Response, Fault> {
        if self.closing.load(Ordering::Acquire) {
            return Err(Fault::refused(request, "the container is being stopped"));
        }
        if request.extensions().get::<Probing>().is_none() {
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
        let fault = match self.server.handle(request).await {
            Ok(response) => return Ok(response),
            Err(fault) => fault,
        };
        match &fault {
            host::Fault::OutOfMemory { .. } => {
                self.say(&fault);
                (self.out_of_memory)();
            }
            host::Fault::Trapped { .. } | host::Fault::NoResponse { .. } | host::Fault::NotStarted { .. } => {
                self.say(&fault);
            }
            host::Fault::TimedOut | host::Fault::Overloaded { .. } | host::Fault::Stopping => {
                return Ok(network::text(fault.status(), format!("{fault}\n")));
            }
        }
        Err(Fault::Trapped(fault.into()))
    }

    /// What a crash of a process would leave in its log.
    fn say(&self, fault: &host::Fault) {
        if self.stderr.room() > 0 && self.stderr.write(format!("{fault}\n").into()).is_err() {
            tracing::debug!(%fault, "a fault came after the end of the log");
        }
    }
}
