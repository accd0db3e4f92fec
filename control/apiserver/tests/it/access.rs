//! Who gets in, and what the server tells of itself.

use http::Method;
use serde_json::json;

use crate::harness::{Door, TOKEN};

#[tokio::test]
async fn strangers_learn_the_version_and_nothing_else() {
    let door = Door::open().await;
    let stranger = door.stranger();
    for open in ["/version", "/healthz", "/livez", "/readyz", "/version/"] {
        assert_eq!(stranger.get(open).await.code, 200, "{open}");
    }
    for closed in ["/api", "/apis", "/api/v1/pods", "/openapi/v3", "/v2/"] {
        assert_eq!(stranger.get(closed).await.code, 401, "{closed}");
    }
    assert_eq!(stranger.get("/api/v1/namespaces").await.refusal(), "401 Unauthorized");
    let eve = door.client("eve", &[]);
    assert_eq!(
        eve.get("/api/v1/namespaces/default/pods").await.refusal(),
        r#"403 pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "default""#
    );
    assert_eq!(door.admin().get("/nowhere").await.code, 404);
    assert_eq!(
        door.admin().get("/api/v1/unicorns").await.refusal(),
        "404 the server could not find the requested resource"
    );
    door.close().await;
}

#[tokio::test]
async fn discovery_is_tagged() {
    let door = Door::open().await;
    let admin = door.admin();
    let accept = ("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json");
    let first = admin.ask(Method::GET, "/apis?timeout=32s", &[accept], "").await;
    assert_eq!(first.json()["items"][0]["metadata"]["name"], "apps");
    let tag = first.headers["etag"].to_str().expect("text").to_owned();
    let again = admin.ask(Method::GET, "/apis", &[accept, ("if-none-match", &tag)], "").await;
    assert_eq!(again.code, 304);
    assert_eq!(admin.get("/apis").await.json()["kind"], "APIGroupList");
    assert_eq!(admin.get("/api/v1").await.json()["kind"], "APIResourceList");
    door.close().await;
}

#[tokio::test]
async fn the_openapi_documents_are_found_from_their_root() {
    let door = Door::open().await;
    let admin = door.admin();
    let root = admin.get("/openapi/v3?timeout=32s").await.json();
    let url = root["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a document").to_owned();
    let document = admin.get(&url).await;
    assert!(document.json()["components"]["schemas"].get("io.k8s.api.apps.v1.Deployment").is_some());
    let gzipped = admin.ask(Method::GET, &url, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(gzipped.headers["content-encoding"], "gzip");
    assert!(gzipped.bytes.len() * 3 < document.bytes.len());
    let accept = ("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf");
    let binary = admin.ask(Method::GET, "/openapi/v2?timeout=32s", &[accept], "").await;
    assert_eq!(binary.headers["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    assert!(binary.bytes.starts_with(b"\x0a\x032.0"), "the first field is the version");
    assert_eq!(admin.get("/openapi/v2").await.json()["swagger"], "2.0");
    door.close().await;
}

#[tokio::test]
async fn a_machine_joins_with_the_token() {
    let door = Door::open().await;
    let stranger = door.stranger();
    let body = json!({"nodeName": "n1", "csr": "please"});
    assert_eq!(stranger.post("/coracle/v1/join", &body).await.code, 401);
    let bearer = format!("Bearer {TOKEN}");
    let joined = stranger.ask(Method::POST, "/coracle/v1/join", &[("authorization", &bearer)], body.to_string()).await;
    assert_eq!(joined.json()["certificate"], "n1 asked please");
    let pods = stranger.ask(Method::GET, "/api/v1/pods", &[("authorization", &bearer)], "").await;
    assert_eq!(pods.code, 403, "it lets join, and nothing else");
    door.close().await;
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_refused_whatever_is_asked() {
    let door = Door::open().await;
    let wrong = ("authorization", "Bearer nonsense");
    for path in ["/version", "/api/v1/pods", "/nowhere"] {
        let refused = door.stranger().ask(Method::GET, path, &[wrong], "").await;
        assert_eq!(refused.refusal(), "401 Unauthorized", "{path}");
        assert_eq!(refused.json()["reason"], "Unauthorized");
        assert!(refused.headers.contains_key("audit-id"), "{path}");
    }
    // A certificate speaks first.
    assert_eq!(door.admin().ask(Method::GET, "/api/v1/pods", &[wrong], "").await.code, 200);
    door.close().await;
}

#[tokio::test]
async fn one_may_ask_what_one_may() {
    let door = Door::open().await;
    let admin = door.admin();
    let review =
        json!({"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}}});
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(admin.post(reviews, &review).await.json()["status"]["allowed"], true);
    let node = door.client("system:node:n1", &[apiserver::NODES]);
    assert_eq!(node.post(reviews, &review).await.json()["status"]["allowed"], false);
    let me = admin.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.json();
    assert_eq!(me["status"]["userInfo"]["username"], "admin");
    door.close().await;
}
