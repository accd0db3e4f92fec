//! `pods/NAME/proxy`, `services/NAME/proxy`, `nodes/NAME/proxy`: what is behind them answers as if it were part of the API.
//!
//! The path behind `proxy` and the query go on as they stand. What belongs to the client's connection, or tells who the client
//! is, does not. A redirect that names a path is turned into one that leads through the proxy again.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use api::{Object, Reason, StatusError, kinds};
use axum::body::Body;
use axum::extract::Request;
use futures::TryStreamExt;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, DuplexStream, copy_bidirectional};
use tokio_util::io::ReaderStream;
use tracing::debug;

use super::backend::{Backend, Named};
use super::forward::relay::Pod;
use crate::Door;
use crate::answer::{self, Answer};
use crate::metrics::Asked;
use crate::target::{self, Target};

/// What is about one connection, not about the request; `upgrade` is kept where the connection is to be upgraded.
const OF_CONNECTION: [HeaderName; 8] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
];
/// So much of an upgraded connection is on the way at once.
const PIPE_BYTES: usize = 64 << 10;

/// Sends the request on.
pub(super) async fn answer(
    door: Arc<Door>,
    target: &Target,
    request: Request,
    upgrade: Option<OnUpgrade>,
) -> Result<Answer, StatusError> {
    let path = request.uri().path().to_owned();
    let (entrance, behind) = target::proxied(&path).ok_or_else(target::nothing_here)?;
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let upgrades = request.headers().contains_key(header::UPGRADE);
    if behind.is_empty() && !upgrades && matches!(*request.method(), Method::GET | Method::HEAD) {
        // Relative links of a page lead astray without the slash.
        return redirected(&format!("{entrance}/{query}"));
    }
    let behind = if behind.is_empty() { "/" } else { behind };
    if target.kind.group_kind() == kinds::NODE {
        let named = Named::parse(target.name(), "node")?;
        kubelet(&super::object(&door, target, named.name).await?, named.port)?;
        let request = onward(request, &format!("{behind}{query}"))?;
        return door.links.ask(named.name, request).await.map(|answer| returned(answer, entrance));
    }
    let backend = backend(&door, target).await?;
    let answer = match upgrade.filter(|_| upgrades) {
        Some(upgrade) => upgraded(door, target, backend, request, &format!("{behind}{query}"), upgrade).await?,
        None => {
            let path = format!("{}{behind}{query}", backend.path());
            door.links.ask(&backend.node, onward(request, &path)?).await?
        }
    };
    Ok(returned(answer, entrance))
}

async fn backend(door: &Door, target: &Target) -> Result<Backend, StatusError> {
    let named = Named::parse(target.name(), target.names().singular)?;
    let object = super::object(door, target, named.name).await?;
    match object.key().kind() {
        kinds::SERVICE => Backend::of_service(&object, named, &door.store.snapshot(), door.chance()),
        _ => Backend::of_pod(&object, named),
    }
}

/// Of a node only the agent answers, by the port that the node says is a kubelet's.
fn kubelet(node: &Object, port: &str) -> Result<(), StatusError> {
    let node = node.to_value().map_err(StatusError::internal)?;
    let own = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    if port.is_empty() || own.as_u64().is_some_and(|own| own.to_string() == port) {
        return Ok(());
    }
    Err(StatusError::bad_request(format!("of a node only its agent is reached, at port {own}, not {port:?}")))
}

fn redirected(to: &str) -> Result<Answer, StatusError> {
    let mut answer = answer::text(StatusCode::MOVED_PERMANENTLY, "");
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_str(to).map_err(StatusError::internal)?);
    Ok(answer)
}

/// The request as it goes on.
fn onward(request: Request, path: &str) -> Result<http::Request<Body>, StatusError> {
    let (mut parts, body) = request.into_parts();
    let host = parts.uri.authority().map(ToString::to_string);
    let asked = HeaderValue::from_str(parts.uri.path()).map_err(StatusError::internal)?;
    parts.uri = path.parse::<Uri>().map_err(|error| StatusError::bad_request(error.to_string()))?;
    // Of HTTP/2 a whole URL would be demanded, and there is only a path.
    parts.version = http::Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    let headers = &mut parts.headers;
    strip(headers);
    headers.remove(header::UPGRADE);
    headers.remove(header::AUTHORIZATION);
    let host = headers.get(header::HOST).cloned().or_else(|| HeaderValue::from_str(&host?).ok());
    if let Some(host) = host {
        headers.insert("x-forwarded-host", host);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    headers.insert("x-forwarded-uri", asked);
    Ok(http::Request::from_parts(parts, body))
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in OF_CONNECTION.iter().chain(&named).filter(|name| **name != header::UPGRADE) {
        headers.remove(name);
    }
}

/// The answer as it goes back.
fn returned(mut answer: Answer, entrance: &str) -> Answer {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return answer;
    }
    let headers = answer.headers_mut();
    strip(headers);
    let local = headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| through(to, entrance));
    if let Some(local) = local.and_then(|local| HeaderValue::from_str(&local).ok()) {
        headers.insert(header::LOCATION, local);
    }
    answer
}

/// Where a redirect to a path of the backend leads.
fn through(location: &str, entrance: &str) -> Option<String> {
    let is_path = location.starts_with('/') && !location.starts_with("//");
    (is_path && !location.starts_with(entrance)).then(|| format!("{entrance}{location}"))
}

/// Speaks HTTP/1.1 to the pod over a connection of its own, so that both sides can leave HTTP when they agree to.
async fn upgraded(
    door: Arc<Door>,
    target: &Target,
    backend: Backend,
    request: Request,
    path: &str,
    upgrade: OnUpgrade,
) -> Result<Answer, StatusError> {
    let protocol = request.headers().get(header::UPGRADE).cloned();
    let host = format!("{}:{}", backend.pod, backend.port);
    let mut request = onward(request, path)?;
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
    if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(StatusError::internal)?);
    }
    let refused =
        |why: String| StatusError::new(Reason::ServiceUnavailable, format!("error trying to reach service: {why}"));
    let stream = dial(&door, backend).await.map_err(refused)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| refused(error.to_string()))?;
    let closing = door.closing.clone();
    door.tasks.spawn(async move {
        tokio::select! {
            ended = connection.with_upgrades() => if let Err(error) = ended {
                debug!(%error, "a proxied connection broke");
            },
            () = closing.cancelled() => {}
        }
    });
    let mut answered = sender.send_request(request).await.map_err(|error| refused(error.to_string()))?;
    if answered.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answered.map(Body::new));
    }
    let far = hyper::upgrade::on(&mut answered);
    let going_on = door.metrics.goes_on(Asked::connect(target));
    let closing = door.closing.clone();
    door.tasks.spawn(async move {
        let _going_on = going_on;
        let spliced = async {
            let (near, far) = (upgrade.await?, far.await?);
            let (mut near, mut far) = (TokioIo::new(near), TokioIo::new(far));
            copy_bidirectional(&mut near, &mut far).await?;
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
        };
        tokio::select! {
            ended = spliced => if let Err(error) = ended {
                debug!(%error, "an upgraded connection broke");
            },
            () = closing.cancelled() => {}
        }
    });
    Ok(Response::from_parts(answered.into_parts().0, Body::empty()))
}

/// A connection to a pod, as a stream.
pub(super) async fn dial(door: &Arc<Door>, backend: Backend) -> Result<DuplexStream, String> {
    let Backend { node, namespace, pod, port, security } = backend;
    let pod = Pod { links: door.links.clone(), node, namespace, name: pod };
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let (sent, mut got) = tokio::io::split(far);
    // A pipe in memory does not fail: an end that is dropped is the end.
    let outgoing = ReaderStream::new(sent).or_else(|_| async { Ok::<_, Infallible>(bytes::Bytes::new()) });
    let mut incoming = pod.dial(port, security, outgoing).await?;
    let closing = door.closing.clone();
    door.tasks.spawn(async move {
        let mut closed = pin!(closing.cancelled());
        loop {
            let bytes = tokio::select! {
                bytes = incoming.next() => bytes,
                () = &mut closed => None,
            };
            let Some(Ok(bytes)) = bytes else { break };
            if got.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // Whoever reads is told the end by it.
        let _ = got.shutdown().await;
    });
    Ok(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRANCE: &str = "/api/v1/namespaces/shop/services/web/proxy";

    #[test]
    fn a_request_goes_on_without_what_is_between_us_and_the_client() {
        let request = http::Request::post("https://api:6443/api/v1/x")
            .header("connection", "keep-alive, x-hop")
            .header("x-hop", "1")
            .header("te", "trailers")
            .header("authorization", "Bearer secret")
            .header("cookie", "a=b");
        let onward = onward(request.body(Body::empty()).expect("a request"), "/proxy/shop/web/80/a//b?c=d");
        let onward = onward.expect("a path");
        assert_eq!(onward.uri().to_string(), "/proxy/shop/web/80/a//b?c=d");
        let mut names: Vec<&str> = onward.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cookie", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-uri"]);
        assert_eq!(onward.headers()["x-forwarded-host"], "api:6443");
        assert_eq!(onward.headers()["x-forwarded-uri"], "/api/v1/x");
    }

    #[test]
    fn redirects_lead_through_the_proxy_again() {
        assert_eq!(through("/login?a=b", ENTRANCE).as_deref(), Some(&*format!("{ENTRANCE}/login?a=b")));
        assert_eq!(through(&format!("{ENTRANCE}/login"), ENTRANCE), None);
        assert_eq!(through("//elsewhere/", ENTRANCE), None);
        assert_eq!(through("https://elsewhere/", ENTRANCE), None);
        assert_eq!(through("login", ENTRANCE), None);
    }
}
