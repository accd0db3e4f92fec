//! The way back: the agent dials the API servers, and then serves them over what it dialled, so that logs, port-forward and proxy
//! reach it behind NAT.
//!
//! It is linked to every server, beside the link that is the node's own: so each of them answers for all nodes and passes nothing on to another,
//! controllers measure by the links of the server that leads, whichever that is, and one that comes to lead has them already. A
//! link that is idle costs a ping now and then; a server has as many as if it were the only one.
//!
//! | path | what it is |
//! |---|---|
//! | `GET /containerLogs/{namespace}/{pod}/{container}` | a container's log, as a kubelet serves it |
//! | `POST /exec/{namespace}/{pod}/{container}?command=…` | a fresh instance of the container's component, and its streams |
//! | `POST /attach/{namespace}/{pod}/{container}` | the streams of the container itself |
//! | `POST /portForward/{namespace}/{pod}?port=N` | bytes to a port of the pod, and from it; `&tls=true`: encrypted on the way |
//! | `ANY /proxy/{namespace}/{pod}/{port}/{path..}` | an HTTP request to the pod; `https:{port}`: over TLS |
//! | `GET /stats/summary` | what the node and its containers use, as a kubelet tells it |
//! | `GET /waiting` | who waits for which service without endpoints: a line of JSON whenever that changes, for ever |
//! | `GET /archives/{name}`, `PUT …` | an archive of a volume, carried off or brought |
//! | `GET /volumes/{name}`, `PUT …` | what is in a volume, packed as it is read, and back into one that waits for it |
//! | `GET /pods` | the node's pods |
//! | `GET /healthz` | `ok` |
//! | `GET /metrics` | what the node counts |

mod archives;
mod command;
mod forward;
mod metrics;
mod proxy;
mod volumes;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::kinds;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use client::{ClientError, Upgraded};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::service::TowerToHyperService;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use network::Reach;
use serde::Deserialize;
use serde_json::json;
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, info, warn};

use crate::context::Context;
use crate::desired::{self, Uid, Wanted, desired};
use crate::logs::{Options, Whose};
use crate::usage;

/// What the connection becomes.
const PROTOCOL: &str = "coracle-link/1";

/// Pauses between tries grow from the first to the second.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// A connection over which nothing is heard for so long is dead.
const PING_EVERY: Duration = Duration::from_secs(2);
const PONG_WITHIN: Duration = Duration::from_secs(3);

/// Serves the API servers, for ever.
///
/// One link is the node's: the cluster takes its end for the node's end, unless there is another soon. It is opened at whichever server
/// answers. Those to each of several servers are opened aside, and tell nothing by their end.
pub(crate) async fn serve(context: Arc<Context>) {
    let router = router(context.clone());
    tokio::join!(serve_any(&context, &router), serve_each(&context, &router));
}

/// Serves one of them after the other, over the link that is the node's.
///
/// One in the node's own process ends with it, and then nobody is there to tell of the end: it has that link only until there is
/// another.
async fn serve_any(context: &Context, router: &Router) {
    let path = format!("{}?levels={}", path(context), context.config.levels);
    let mut pause = RETRY_FIRST;
    let mut next = None;
    loop {
        let opened = match next.take() {
            Some(stream) => Ok((stream, false)),
            None => open(context, &path).await,
        };
        match opened {
            Ok((stream, is_at_home)) => {
                info!(node = %context.config.node_name, "linked to the API server");
                pause = RETRY_FIRST;
                context.linked.send_modify(|times| *times += 1);
                tokio::select! {
                    () = speak(stream, router) => {}
                    stream = elsewhere(context, &path), if is_at_home => {
                        next = Some(stream);
                        continue;
                    }
                }
            }
            Err(error) if error.code() == Some(StatusCode::CONFLICT.as_u16()) => {
                warn!(%error, "no server takes this node");
            }
            Err(error) => debug!(%error, "no link to the API server yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
}

/// A link to whichever answers, and whether that is the one in the node's own process.
async fn open(context: &Context, path: &str) -> Result<(Upgraded, bool), ClientError> {
    if let Some(home) = &context.config.home
        && let Ok(stream) = context.client.upgrade_at(home, path, PROTOCOL).await
    {
        return Ok((stream, true));
    }
    Ok((context.client.upgrade(path, PROTOCOL).await?, false))
}

/// A link to another than the one in the node's own process, as soon as there is one.
async fn elsewhere(context: &Context, path: &str) -> Upgraded {
    let mut servers = context.client.servers();
    loop {
        let mut known = servers.borrow_and_update().order();
        known.retain(|server| Some(server) != context.config.home.as_ref());
        for server in &known {
            match context.client.upgrade_at(server, path, PROTOCOL).await {
                Ok(stream) => return stream,
                Err(error) => debug!(%server, %error, "no link to another API server yet"),
            }
        }
        tokio::select! {
            // The client is the context's, and tells for as long as that is there.
            _ = servers.changed() => {}
            () = tokio::time::sleep(RETRY_LAST), if !known.is_empty() => {}
        }
    }
}

/// Serves each of them, where there are several.
async fn serve_each(context: &Arc<Context>, router: &Router) {
    let mut servers = context.client.servers();
    let mut linking = JoinSet::new();
    let mut linked: HashMap<String, AbortHandle> = HashMap::new();
    loop {
        let mut known = servers.borrow_and_update().all();
        if known.len() < 2 {
            known.clear();
        }
        for (_, lost) in linked.extract_if(|server, _| !known.contains(server)) {
            lost.abort();
        }
        for server in known {
            let link = |server: &String| linking.spawn(serve_one(context.clone(), server.clone(), router.clone()));
            linked.entry(server).or_insert_with_key(link);
        }
        while linking.try_join_next().is_some() {}
        // The client is the context's, and tells for as long as that is there.
        if servers.changed().await.is_err() {
            return;
        }
    }
}

/// Serves one of them, for ever.
async fn serve_one(context: Arc<Context>, server: String, router: Router) {
    let path = format!("{}?aside=true", path(&context));
    let mut pause = RETRY_FIRST;
    loop {
        match context.client.upgrade_at(&server, &path, PROTOCOL).await {
            Ok(stream) => {
                debug!(%server, "linked aside");
                pause = RETRY_FIRST;
                speak(stream, &router).await;
            }
            Err(error) => debug!(%server, %error, "no link aside yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
}

fn path(context: &Context) -> String {
    format!("/coracle/v1/nodes/{}/link", context.config.node_name)
}

/// Until the link ends.
async fn speak(stream: Upgraded, router: &Router) {
    let mut serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    serving.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PONG_WITHIN);
    let service = TowerToHyperService::new(router.clone());
    if let Err(error) = serving.serve_connection(stream.into_inner(), service).await {
        debug!(%error, "the link broke");
    }
}

fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/exec/{namespace}/{pod}/{container}", post(command::exec))
        .route("/attach/{namespace}/{pod}/{container}", post(command::attach))
        .route("/portForward/{namespace}/{pod}", post(forward::forward))
        .route("/proxy/{*target}", any(proxy::proxy))
        .route("/metrics", get(metrics::metrics))
        .route("/stats/summary", get(stats))
        .route("/waiting", get(waiting))
        .route("/archives/{name}", get(archives::give).put(archives::take))
        .route("/volumes/{name}", get(volumes::give).put(volumes::take))
        .route("/pods", get(pods))
        .route("/healthz", get(|| async { "ok" }))
        .with_state(context)
}

/// Why not, for the caller.
type Refusal = (StatusCode, String);

/// A pod of this node, or that it is not one.
fn here(context: &Context, namespace: &str, pod: &str) -> Result<(Uid, Wanted), Refusal> {
    let (view, key) = (context.view(), kinds::POD.key(namespace, pod));
    let found = view.get(&key).filter(|_| view.is_on(&context.config.node_name, &key));
    let found = found.and_then(|object| Some((object.meta().uid.clone(), desired(object).ok()?)));
    found.ok_or_else(|| (StatusCode::NOT_FOUND, format!("pod \"{pod}\" is not on this node")))
}

/// The address of a pod of this node and how far it reaches, or why it has none.
fn at(context: &Context, namespace: &str, pod: &str) -> Result<(IpAddr, Reach), Refusal> {
    let (_, wanted) = here(context, namespace, pod)?;
    let address = wanted.pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
    let on_host_network = wanted.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
    let reach = if on_host_network { Reach::Node } else { Reach::Pod };
    let address = address.map(|address| (address, reach));
    address.ok_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, format!("pod \"{pod}\" does not have an address yet")))
}

/// The pods of this node, as a kubelet lists them.
async fn pods(State(context): State<Arc<Context>>) -> Response {
    let view = context.view();
    let pods: Vec<Pod> =
        desired::all(&view, &context.config.node_name).map(|(_, wanted)| Pod::clone(&wanted.pod)).collect();
    axum::Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})).into_response()
}

async fn stats(State(context): State<Arc<Context>>) -> Response {
    axum::Json(usage::summary(&context).await.as_ref()).into_response()
}

/// At least so long after one line comes the next: the first who waits is told of at once, those behind him together.
const WAITING_PAUSE: Duration = Duration::from_millis(20);

/// Who waits, as `[["namespace", "service", 3], …]`.
async fn waiting(State(context): State<Arc<Context>>) -> Response {
    let (tell, told) = tokio::sync::mpsc::channel(1);
    let mut waiting = context.fabric.waiting();
    waiting.mark_changed();
    tokio::spawn(async move {
        while waiting.changed().await.is_ok() {
            let now: Vec<(String, String, usize)> = {
                let waiting = waiting.borrow_and_update();
                waiting
                    .iter()
                    .map(|((namespace, name), count)| (namespace.to_string(), name.to_string(), *count))
                    .collect()
            };
            if tell.send(Ok::<Bytes, std::convert::Infallible>(line(&now))).await.is_err() {
                return;
            }
            tokio::time::sleep(WAITING_PAUSE).await;
        }
    });
    Body::from_stream(ReceiverStream::new(told)).into_response()
}

/// Who waits, as a server reads it.
fn line(waiting: &[(String, String, usize)]) -> Bytes {
    Bytes::from(format!("{}\n", json!(waiting)))
}

/// The parameters of a kubelet's own log endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogQuery {
    follow: Option<String>,
    previous: Option<String>,
    timestamps: Option<String>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    tail_lines: Option<u64>,
    limit_bytes: Option<u64>,
}

impl LogQuery {
    fn options(&self, now: Timestamp) -> Options {
        let is_set = |value: &Option<String>| matches!(value.as_deref(), Some("true" | "1" | ""));
        let seconds = self.since_seconds.map(SignedDuration::from_secs);
        Options {
            follow: is_set(&self.follow),
            previous: is_set(&self.previous),
            timestamps: is_set(&self.timestamps),
            since: self.since_time.or_else(|| now.checked_sub(seconds?).ok()),
            tail: self.tail_lines,
            limit_bytes: self.limit_bytes,
        }
    }
}

async fn container_logs(
    State(context): State<Arc<Context>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Query<LogQuery>,
) -> Response {
    let uid = match here(&context, &namespace, &pod) {
        Ok((uid, _)) => uid,
        Err(refused) => return refused.into_response(),
    };
    let whose = Whose { namespace: &namespace, pod: &pod, uid: &uid, container: &container };
    match context.logs.read(&whose, query.options(Timestamp::now())) {
        Err(refused) => (StatusCode::BAD_REQUEST, refused.to_string()).into_response(),
        Ok(pieces) => {
            let pieces = ReceiverStream::new(pieces).map(Ok::<Bytes, std::convert::Infallible>);
            ([(CONTENT_TYPE, "text/plain")], Body::from_stream(pieces)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_the_one_that_is_spoken_everywhere() {
        assert_eq!(PROTOCOL, "coracle-link/1");
        let told = line(&[("shop".into(), "web".into(), 3), ("n".into(), "s".into(), 1)]);
        assert_eq!(told, "[[\"shop\",\"web\",3],[\"n\",\"s\",1]]\n");
    }

    #[test]
    fn parameters_are_read_as_a_kubelet_reads_them() {
        let now = Timestamp::from_second(1_000).expect("a time");
        let query = LogQuery {
            follow: Some("true".into()),
            previous: Some("false".into()),
            since_seconds: Some(10),
            tail_lines: Some(2),
            ..LogQuery::default()
        };
        let since = Some(Timestamp::from_second(990).expect("a time"));
        assert_eq!(query.options(now), Options { follow: true, since, tail: Some(2), ..Options::default() });
    }
}
