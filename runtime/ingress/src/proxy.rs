//! One request, one answer.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use ipnet::IpNet;
use network::{Fabric, Fault, Latest, Origin, Request, Response, Services, empty, text};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::access::{Record, Recorder};
use crate::body::{Download, Overrun, Upload};
use crate::connection::Connection;
use crate::headers::{Source, strip_hop_by_hop};
use crate::routes::Target;
use crate::terms::SizeMax;
use crate::upgrade::{Upgrade, asks_for_web_socket};
use crate::{Backend, Limits, RouteTable};
use host::Host;

mod host;

/// What every connection shares.
pub(crate) struct Edge {
    pub(crate) routes: Latest<RouteTable>,
    pub(crate) services: Services,
    pub(crate) fabric: Fabric,
    pub(crate) limits: Limits,
    /// Proxies in front whose word is taken for who the client is.
    pub(crate) trusted: Vec<IpNet>,
    /// Whether `Forwarded` is written too.
    pub(crate) forwarded: bool,
    pub(crate) recorder: Option<Recorder>,
    /// Where `https` is spoken, if it is.
    pub(crate) https_port: Option<u16>,
}

/// A request that may be sent on.
struct Admitted {
    request: Request,
    backend: Arc<Backend>,
    /// Becomes ready when the body breaks a limit.
    overrun: Option<oneshot::Receiver<Overrun>>,
    /// How much of the body has come.
    received: Option<Arc<AtomicU64>>,
    is_secure: bool,
    upgrade: Option<Upgrade>,
}

/// Why a request is not sent on, or got no answer: the answer in its place. A directory's question is one that is answered here.
pub(crate) struct Refusal {
    status: StatusCode,
    words: String,
    /// Where else to ask.
    location: Option<HeaderValue>,
}

// === impl Edge ===

impl Edge {
    /// Answers always; what goes wrong is an answer too.
    pub(crate) async fn answer(
        self: Arc<Self>,
        connection: Arc<Connection>,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<Download>, Infallible> {
        let (busy, origin, version) = (connection.enter(), &connection.origin, request.version());
        let mut record = self.recorder.as_ref().map(|to| to.begin(&request, origin.peer, origin.scheme));
        let asks_for_upgrade = version < Version::HTTP_2 && request.headers().contains_key(header::UPGRADE);
        let (answer, idle) = match self.admit(&connection, request, record.as_mut()) {
            Ok(admitted) => {
                let idle = admitted.backend.terms.idle_timeout.unwrap_or(self.limits.idle_timeout);
                (self.send(&connection, admitted, idle).await, idle)
            }
            Err(refusal) => (Err(refusal), self.limits.idle_timeout),
        };
        let mut response = answer.unwrap_or_else(|refusal| refusal.into_response(version));
        // What follows a request that asked for another protocol was not looked at as HTTP.
        if asks_for_upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(record) = &mut record {
            record.status = response.status();
        }
        Ok(response.map(|body| Download::new(body, idle, record, busy)))
    }

    /// Decides whether a request is sent on, and to whom.
    fn admit(
        &self,
        connection: &Connection,
        request: http::Request<Incoming>,
        record: Option<&mut Record>,
    ) -> Result<Admitted, Refusal> {
        let host = Host::of(&request)?;
        let origin = &connection.origin;
        let source = Source::of(request.headers(), origin, &host.field, &self.trusted, self.forwarded);
        let received = record.as_ref().map(|record| record.received.clone());
        let mut record = record;
        if let Some(record) = &mut record {
            record.client = source.client;
            record.scheme = if source.is_secure { "https" } else { "http" };
            record.host.clone_from(&host.name);
        }
        let path = request.uri().path();
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) && !asks_for_web_socket(&request) {
            let words = format!("{} is not for an ingress", request.method());
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, words));
        }
        if !path.starts_with('/') {
            return Err(bad_request("the request's target is not a path"));
        }
        let (backend, has_certificate) = {
            let routes = self.routes.load();
            if let Some(proof) = routes.proofs.answer(&host.name, path) {
                return Err(Refusal::proof(proof));
            }
            let Some(backend) = routes.route(&host.name, path) else {
                let words = format!("no ingress answers for {}{path}", host.name);
                return Err(Refusal::new(StatusCode::NOT_FOUND, words));
            };
            (backend.clone(), routes.certificates.has(&host.name))
        };
        if let Some(record) = &mut record {
            record.backend = Some(backend.to_string());
        }
        if let Some(port) = self.https_port
            && has_certificate
            && !source.is_secure
            && !backend.terms.stays_on_http
        {
            return Err(Refusal::to_https(&host, port, request.uri()));
        }
        self.prepare(host, source, backend, received, request)
    }

    /// The request as the component sees it.
    fn prepare(
        &self,
        host: Host,
        source: Source,
        backend: Arc<Backend>,
        received: Option<Arc<AtomicU64>>,
        mut request: http::Request<Incoming>,
    ) -> Result<Admitted, Refusal> {
        let upgrade = Upgrade::of(&mut request);
        let (mut head, body) = request.into_parts();
        let size_max = backend.terms.body_size_max.unwrap_or(self.limits.body_size_max);
        if let SizeMax::Bytes(max) = size_max
            && body.size_hint().lower() > max
        {
            return Err(Overrun::TooLarge(max).into());
        }
        let is_secure = source.is_secure;
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let scheme = if is_secure { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder().scheme(scheme).authority(host.authority).path_and_query(path).build();
        head.uri = uri.map_err(|_| bad_request("the request's target cannot be read"))?;
        strip_hop_by_hop(&mut head.headers);
        head.headers.insert(header::HOST, host.field);
        // Whom `sessionAffinity` is about.
        head.extensions.insert(network::Client(source.client));
        source.tell(&mut head.headers);
        if body.is_end_stream() {
            let request = Request::from_parts(head, empty());
            return Ok(Admitted { request, backend, overrun: None, received: None, is_secure, upgrade });
        }
        let received = received.unwrap_or_default();
        let idle = backend.terms.idle_timeout.unwrap_or(self.limits.idle_timeout);
        let (body, overrun) = Upload::new(body, size_max, idle, received.clone());
        let request = Request::from_parts(head, body.boxed_unsync());
        Ok(Admitted { request, backend, overrun: Some(overrun), received: Some(received), is_secure, upgrade })
    }

    async fn send(&self, connection: &Connection, admitted: Admitted, idle: Duration) -> Result<Response, Refusal> {
        let Admitted { request, backend, mut overrun, received, is_secure, upgrade } = admitted;
        let found = backend.service(&self.services.load()).map(|(named, service)| (named, service.clone()));
        let Some((named, service)) = found else { return Err(Refusal::no_service(&backend)) };
        let is_upgrade = upgrade.is_some();
        let answer = async {
            let port = service.port(named.port.as_ref())?;
            match upgrade {
                Some(upgrade) => upgrade.send(&self.fabric, &service, port, request, connection, idle).await,
                None => {
                    let dial = |address| self.fabric.dial(&Origin::Ingress, address);
                    service.send(port, dial, request, &self.fabric).await
                }
            }
        };
        let limit = backend.terms.request_timeout.unwrap_or(self.limits.response_timeout);
        let answer = tokio::select! {
            biased;
            answer = within(limit, received.as_deref(), answer) => answer,
            Some(overrun) = told(overrun.as_mut()) => return Err(overrun.into()),
        };
        // What the component made of a body that broke off is not what the client should hear.
        if let Some(overrun) = overrun.and_then(|mut overrun| overrun.try_recv().ok()) {
            return Err(overrun.into());
        }
        let mut response = answer.map_err(|fault| Refusal::from_fault(&fault, &backend))?;
        if response.status().is_informational() && !is_upgrade {
            let words = format!("{} is not an answer to this request", response.status());
            return Err(Refusal::new(StatusCode::BAD_GATEWAY, words));
        }
        let protocol = response.headers().get(header::UPGRADE).cloned();
        strip_hop_by_hop(response.headers_mut());
        if let Some(protocol) = protocol.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(header::UPGRADE, protocol);
        }
        if let Some(hsts) = backend.terms.hsts.as_ref().filter(|_| is_secure) {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        Ok(response)
    }
}

/// Waits for an answer for as long as `limit`, counted from when something of the body last came: an upload may take its time.
async fn within(
    limit: Duration,
    received: Option<&AtomicU64>,
    answer: impl Future<Output = Result<Response, Fault>>,
) -> Result<Response, Fault> {
    let mut answer = pin!(answer);
    let so_far = || received.map(|received| received.load(Ordering::Relaxed));
    loop {
        let before = so_far();
        match timeout(limit, answer.as_mut()).await {
            Ok(answer) => return answer,
            Err(_) if so_far() > before => {}
            Err(_) => return Err(Fault::TimedOut(limit)),
        }
    }
}

/// The limit that a body breaks, once it does.
async fn told(overrun: Option<&mut oneshot::Receiver<Overrun>>) -> Option<Overrun> {
    overrun?.await.ok()
}

fn bad_request(words: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, words.to_owned())
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn new(status: StatusCode, words: String) -> Self {
        Self { status, words, location: None }
    }

    /// Not a refusal at all: what proves to a directory that a host is ours, to the letter.
    fn proof(answer: &str) -> Self {
        Self::new(StatusCode::OK, answer.to_owned())
    }

    pub(crate) fn from_fault(fault: &Fault, backend: &Backend) -> Self {
        tracing::debug!(%backend, fault = fault as &dyn std::error::Error, "no answer");
        Self::new(fault.status(), fault.to_string())
    }

    pub(crate) fn no_service(backend: &Backend) -> Self {
        let words = match &backend.target {
            Target::Service(_) => format!("there is no service {backend}"),
            Target::Resource(resource) => {
                format!("ingress {}/{} leads to {resource}, which is not a service", backend.namespace, backend.ingress)
            }
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, words)
    }

    fn to_https(host: &Host, port: u16, uri: &Uri) -> Self {
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let place = format!("https://{}{port}{path}", host.name);
        let words = format!("{} is served at {place}", host.name);
        let location = HeaderValue::try_from(place).ok();
        Self { location, ..Self::new(StatusCode::PERMANENT_REDIRECT, words) }
    }

    fn into_response(self, version: Version) -> Response {
        let Self { status, words, location } = self;
        let words = if status.is_success() { words } else { format!("{}: {words}\n", status.as_u16()) };
        let mut response = text(status, words);
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        // Where one request was not understood, or asked for a tunnel, what follows it may not be a request at all.
        let is_doubtful = matches!(status, StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED);
        if is_doubtful && version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Overrun> for Refusal {
    fn from(overrun: Overrun) -> Self {
        let status = match overrun {
            Overrun::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Overrun::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
        };
        Self::new(status, overrun.to_string())
    }
}
