//! `ANY /proxy/{namespace}/{pod}/{port}/{path..}`: an HTTP request to a pod of this node, and its answer as it streams. Before
//! the port there may be `https:`; whatever certificate the pod then shows is taken, as in Kubernetes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, Uri, header};
use http_body_util::BodyExt;
use network::{Fault, Reach, Security};

use super::at;
use crate::context::Context;

/// Where a request goes: whose pod, which port, and what is asked there.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    namespace: String,
    pod: String,
    port: u16,
    security: Security,
    path: PathAndQuery,
}

/// Sends a request to a pod.
pub(super) async fn proxy(State(context): State<Arc<Context>>, request: Request) -> Response {
    let Some(Target { namespace, pod, port, security, path }) = Target::of(request.uri()) else {
        return (StatusCode::BAD_REQUEST, "the path is not /proxy/NAMESPACE/POD/PORT/PATH").into_response();
    };
    let (address, reach) = match at(&context, &namespace, &pod) {
        Ok((address, reach)) => (SocketAddr::new(address, port), reach),
        Err(refused) => return refused.into_response(),
    };
    let request = match onward(request, address, security, path) {
        Ok(request) => request,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let (fabric, node) = (&context.fabric, context.fabric.node());
    let answered = match (security, reach) {
        (Security::Plain, Reach::Pod) => fabric.send(&node, address, request).await,
        _ => fabric.ask(&node, reach, security, address, request).await,
    };
    match answered {
        Ok(response) => response.map(Body::new).into_response(),
        Err(fault) => (fault.status(), told(address, &fault)).into_response(),
    }
}

/// The request as the pod sees it: for its own address, with the path that was asked for.
fn onward(
    request: Request,
    address: SocketAddr,
    security: Security,
    path: PathAndQuery,
) -> Result<network::Request, http::Error> {
    let (mut head, body) = request.into_parts();
    let scheme = if security == Security::Tls { "https" } else { "http" };
    head.uri = Uri::builder().scheme(scheme).authority(address.to_string()).path_and_query(path).build()?;
    head.version = http::Version::HTTP_11;
    if !head.headers.contains_key(header::HOST) {
        head.headers.insert(header::HOST, HeaderValue::try_from(address.to_string())?);
    }
    Ok(network::Request::from_parts(head, body.map_err(network::BoxError::from).boxed_unsync()))
}

/// In the words that clients of Kubernetes know.
fn told(address: SocketAddr, fault: &Fault) -> String {
    match fault {
        Fault::Unreachable(_) => {
            format!("error trying to reach service: dial tcp {address}: connect: connection refused")
        }
        Fault::Connection(source) => format!("error trying to reach service: {source}"),
        fault => format!("error trying to reach service: {fault}"),
    }
}

// === impl Target ===

impl Target {
    /// Reads the path as it stands: what comes after the port is the pod's, and is not decoded.
    fn of(uri: &Uri) -> Option<Self> {
        let mut words = uri.path().strip_prefix("/proxy/")?.splitn(4, '/');
        let (namespace, pod, port) = (words.next()?.to_owned(), words.next()?.to_owned(), words.next()?);
        let (security, port) = match port.strip_prefix("https:") {
            Some(port) => (Security::Tls, port.parse().ok()?),
            None => (Security::Plain, port.parse().ok()?),
        };
        let path = words.next().unwrap_or_default();
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Some(Self { namespace, pod, port, security, path: format!("/{path}{query}").parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, expected: Option<(&str, &str, u16, &str)>) {
        check_as(uri, Security::Plain, expected);
    }

    fn check_as(uri: &str, security: Security, expected: Option<(&str, &str, u16, &str)>) {
        let found = Target::of(&uri.parse().expect("a URI"));
        assert!(found.as_ref().is_none_or(|target| target.security == security), "{uri}");
        let found = found.map(|target| (target.namespace, target.pod, target.port, target.path.to_string()));
        let expected = expected.map(|(namespace, pod, port, path)| (namespace.into(), pod.into(), port, path.into()));
        assert_eq!(found, expected, "{uri}");
    }

    #[test]
    fn what_comes_after_the_port_is_the_pods() {
        check("/proxy/shop/web/80/a%2Fb/?q=1", Some(("shop", "web", 80, "/a%2Fb/?q=1")));
        check("/proxy/shop/web/80/", Some(("shop", "web", 80, "/")));
        check("/proxy/shop/web/80", Some(("shop", "web", 80, "/")));
        check("/proxy/shop/web/80//x", Some(("shop", "web", 80, "//x")));
        check_as("/proxy/shop/web/https:443/x", Security::Tls, Some(("shop", "web", 443, "/x")));
        check("/proxy/shop/web/http/", None);
        check("/proxy/shop/web/ftp:21/", None);
        check("/proxy/shop/web", None);
    }

    #[test]
    fn the_pod_is_asked_at_its_own_address() {
        let request = Request::post("/proxy/shop/web/80/x").body(Body::empty()).expect("a request");
        let address: SocketAddr = "10.42.0.5:80".parse().expect("an address");
        let onward = onward(request, address, Security::Tls, "/x?y".parse().expect("a path")).expect("a request");
        assert_eq!(onward.uri(), "https://10.42.0.5:80/x?y");
        assert_eq!(onward.headers()[header::HOST], "10.42.0.5:80");
    }
}
