//! One request, one answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use network::{BoxError, Fabric, Fault, Latest, Request, Response, Services, text};
use tokio::time::timeout;

use crate::headers::{Origin, set_forwarded, strip_hop_by_hop};
use crate::{Backend, RouteTable};

/// What every connection shares.
pub(crate) struct Edge {
    pub(crate) routes: Latest<RouteTable>,
    pub(crate) services: Services,
    pub(crate) fabric: Fabric,
    pub(crate) response_timeout: Duration,
}

/// The host a request is for, once that is beyond doubt.
struct Host {
    /// As the client wrote it.
    field: HeaderValue,
    authority: Authority,
    /// Lower case, without a port.
    name: String,
}

/// Why a request goes nowhere.
struct Refusal(StatusCode, String);

// === impl Edge ===

impl Edge {
    /// Answers always; what goes wrong is an answer too.
    pub(crate) async fn answer(
        self: Arc<Self>,
        origin: Origin,
        request: http::Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let started = Instant::now();
        let (method, uri, version) = (request.method().clone(), request.uri().clone(), request.version());
        let (answer, backend) = self.forward(origin, request).await;
        let response = answer.unwrap_or_else(|refusal| refusal.into_response(version));
        tracing::debug!(
            peer = %origin.peer, %method, %uri, status = response.status().as_u16(),
            backend = backend.map(tracing::field::display), elapsed_us = started.elapsed().as_micros() as u64, "answered"
        );
        Ok(response)
    }

    async fn forward(
        &self,
        origin: Origin,
        request: http::Request<Incoming>,
    ) -> (Result<Response, Refusal>, Option<Arc<Backend>>) {
        let host = match Host::of(&request) {
            Ok(host) => host,
            Err(refusal) => return (Err(refusal), None),
        };
        let path = request.uri().path();
        let Some(backend) = self.routes.load().route(&host.name, path).cloned() else {
            let words = format!("no ingress answers for {}{path}", host.name);
            return (Err(Refusal(StatusCode::NOT_FOUND, words)), None);
        };
        let answer = match prepare(origin, &host, request) {
            Ok(request) => self.send(&backend, request).await,
            Err(refusal) => Err(refusal),
        };
        (answer, Some(backend))
    }

    async fn send(&self, backend: &Backend, request: Request) -> Result<Response, Refusal> {
        let service = backend.service(&self.services.load()).cloned();
        let (Some(service), Some(named)) = (service, &backend.service) else {
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("there is no service {backend}")));
        };
        let limit = self.response_timeout;
        let answer = async {
            let port = service.port(named.port.as_ref())?;
            service.send(port, |address| self.fabric.dial(&network::Origin::Ingress, address), request).await
        };
        let mut response = match timeout(limit, answer).await {
            Ok(answer) => answer.map_err(|fault| Refusal::from_fault(&fault, backend))?,
            Err(_) => return Err(Refusal::from_fault(&Fault::TimedOut(limit), backend)),
        };
        strip_hop_by_hop(response.headers_mut());
        Ok(response)
    }
}

/// The request as the component sees it.
fn prepare(origin: Origin, host: &Host, request: http::Request<Incoming>) -> Result<Request, Refusal> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, format!("{} is not for an ingress", request.method())));
    }
    let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let scheme = if origin.scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP };
    let uri = Uri::builder().scheme(scheme).authority(host.authority.clone()).path_and_query(path).build();
    *request.uri_mut() = uri.map_err(|_| bad_request("the request's target cannot be read"))?;
    strip_hop_by_hop(request.headers_mut());
    request.headers_mut().insert(header::HOST, host.field.clone());
    set_forwarded(request.headers_mut(), &origin, &host.field);
    Ok(request)
}

fn bad_request(words: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, words.to_owned())
}

// === impl Host ===

impl Host {
    /// Reads the host of a request. Two that differ, or none, are an attack or a mistake; neither is worth a guess.
    fn of<B>(request: &http::Request<B>) -> Result<Self, Refusal> {
        let mut fields = request.headers().get_all(header::HOST).iter();
        let field = match (fields.next(), fields.next()) {
            (_, Some(_)) => return Err(bad_request("the request has more than one host")),
            (field, None) => field,
        };
        let field = match (field, request.uri().authority()) {
            (Some(field), Some(authority)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(field.as_bytes()) => {
                return Err(bad_request("the request names two hosts"));
            }
            (Some(field), _) => field.clone(),
            (None, Some(authority)) => HeaderValue::from_str(authority.as_str())
                .map_err(|_| bad_request("the request's host cannot be read"))?,
            (None, None) => return Err(bad_request("the request has no host")),
        };
        let authority =
            Authority::try_from(field.as_bytes()).ok().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(|| bad_request("the request's host cannot be read"))?;
        let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
        Ok(Self { field, authority, name })
    }
}

// === impl Refusal ===

impl Refusal {
    fn from_fault(fault: &Fault, backend: &Backend) -> Self {
        tracing::debug!(%backend, fault = fault as &dyn std::error::Error, "no answer");
        Self(fault.status(), fault.to_string())
    }

    fn into_response(self, version: Version) -> Response {
        let Self(status, words) = self;
        let mut response = text(status, format!("{}: {words}\n", status.as_u16()));
        // Where one request was not understood, what follows it in the connection may not be a request at all.
        if status == StatusCode::BAD_REQUEST && version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host of a request: `target | host | host…`.
    fn check(line: &str, expected: &str) {
        let mut parts = line.split(" | ");
        let mut request = http::Request::get(parts.next().expect("a target")).body(()).expect("a request");
        for host in parts {
            request.headers_mut().append(header::HOST, host.parse().expect("a value"));
        }
        let told = match Host::of(&request) {
            Ok(host) => host.name,
            Err(Refusal(_, words)) => words,
        };
        assert_eq!(told, expected, "{line}");
    }

    #[test]
    fn there_is_one_host() {
        check("/ | shop.example", "shop.example");
        check("/ | SHOP.example.:8080", "shop.example");
        check("/ | [::1]:80", "[::1]");
        check("http://shop.example/", "shop.example");
        check("http://shop.example/ | shop.example", "shop.example");
    }

    #[test]
    fn none_or_two_are_refused() {
        check("/", "the request has no host");
        check("/ | a.example | a.example", "the request has more than one host");
        check("http://a.example/ | b.example", "the request names two hosts");
        check("/ | a@b.example", "the request's host cannot be read");
        check("/ | a b", "the request's host cannot be read");
        check("/ | ", "the request's host cannot be read");
        check("/ | a/b", "the request's host cannot be read");
    }
}
