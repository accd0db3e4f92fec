//! The link of a node, and what is asked over it.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::routing::get;
use http::StatusCode;
use http::header::{CONNECTION, UPGRADE};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use serde_json::json;

use crate::harness::{Client, Door};

/// What an agent does: dials, upgrades, and serves HTTP/2 on the connection.
pub(crate) async fn link(client: &Client, node: &str, router: Router) -> StatusCode {
    let stream = client.connect("http/1.1").await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http/1.1");
    tokio::spawn(connection.with_upgrades());
    let request = Request::get(format!("/coracle/v1/nodes/{node}/link"))
        .header("host", "localhost")
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, apiserver::LINK_PROTOCOL)
        .body(Body::empty())
        .expect("a request");
    let answer = sender.send_request(request).await.expect("answered");
    let code = answer.status();
    if code == StatusCode::SWITCHING_PROTOCOLS {
        let upgraded = hyper::upgrade::on(answer).await.expect("upgraded");
        tokio::spawn(async move {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(upgraded, TowerToHyperService::new(router)).await);
        });
    }
    code
}

fn agent() -> Router {
    let logs = |Path((namespace, pod, container)): Path<(String, String, String)>, request: Request| async move {
        let asked = request.uri().query().unwrap_or_default().to_owned();
        match container.as_str() {
            "waiting" => (
                StatusCode::BAD_REQUEST,
                "container \"waiting\" in pod \"web\" is waiting to start: ContainerCreating".to_owned(),
            ),
            _ => (StatusCode::OK, format!("{namespace}/{pod}/{container} {asked}\n")),
        }
    };
    Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
}

pub(crate) async fn bound_pod(admin: &Client) {
    let containers = json!([{"name": "main", "image": "hello:v1"}, {"name": "waiting", "image": "hello:v1"}]);
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": containers}});
    let created = admin.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(created.code, 201, "{}", created.json());
    let binding = json!({"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(admin.post("/api/v1/namespaces/default/pods/web/binding", &binding).await.code, 201);
}

#[tokio::test]
async fn logs_come_over_the_link_of_the_pods_node() {
    let door = Door::open().await;
    let admin = door.admin();
    bound_pod(&admin).await;
    let log = "/api/v1/namespaces/default/pods/web/log";
    let lost = admin.get(&format!("{log}?container=main")).await;
    assert_eq!(
        lost.refusal(),
        r#"500 Internal error occurred: Get "https://n1/containerLogs/default/web/main": node n1 is not connected"#
    );
    let node = door.client("system:node:n1", &[apiserver::NODES]);
    assert_eq!(link(&node, "n1", agent()).await, StatusCode::SWITCHING_PROTOCOLS);
    let linked = || async { admin.get(&format!("{log}?container=main&tailLines=2")).await };
    let mut told = linked().await;
    while told.code == StatusCode::INTERNAL_SERVER_ERROR {
        told = linked().await;
    }
    assert_eq!(told.bytes, "default/web/main tailLines=2\n");
    assert_eq!(told.headers["content-type"], "text/plain");
    let waiting = admin.get(&format!("{log}?container=waiting")).await;
    assert_eq!(waiting.refusal(), r#"400 container "waiting" in pod "web" is waiting to start: ContainerCreating"#);
    assert!(admin.get(log).await.refusal().contains("choose one of: [main waiting]"));
    door.close().await;
}

#[tokio::test]
async fn only_the_node_itself_opens_its_link() {
    let door = Door::open().await;
    let other = door.client("system:node:n2", &[apiserver::NODES]);
    assert_eq!(link(&other, "n1", agent()).await, StatusCode::FORBIDDEN);
    assert_eq!(link(&door.stranger(), "n1", agent()).await, StatusCode::UNAUTHORIZED);
    door.close().await;
}
