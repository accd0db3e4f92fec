//! Who gets in, and what the server tells of itself.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Door};

#[tokio::test]
async fn strangers_learn_the_version_and_nothing_else() {
    let door = Door::open().await;
    let stranger = door.stranger();
    for open in ["/version", "/healthz", "/livez", "/readyz", "/version/"] {
        assert_eq!(stranger.get(open).await.code, 200, "{open}");
    }
    for closed in ["/", "/api", "/apis", "/openapi/v3", "/metrics"] {
        let told = format!(r#"403 forbidden: User "system:anonymous" cannot get path {closed:?}"#);
        assert_eq!(stranger.get(closed).await.refusal(), told);
    }
    assert_eq!(stranger.get("/v2/").await.code, 401, "clients of registries ask with what they have only then");
    assert_eq!(
        stranger.get("/api/v1/unicorns").await.refusal(),
        r#"403 unicorns is forbidden: User "system:anonymous" cannot list resource "unicorns" in API group "" at the cluster scope"#
    );
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
async fn a_machine_joins_with_a_token() {
    let door = Door::open().await;
    let (admin, stranger) = (door.admin(), door.stranger());
    let data = json!({
        "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "coracle-uses-left": "2",
    });
    let token = json!({
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": data,
    });
    assert_eq!(admin.post("/api/v1/namespaces/kube-system/secrets", &token).await.code, 201);
    let bearer = [("authorization", "Bearer abcdef.0123456789abcdef")];
    let body = |node: &str, machine: &str| json!({"nodeName": node, "csr": "please", "machine": machine.repeat(32)});
    assert_eq!(stranger.post("/coracle/v1/join", &body("n1", "a")).await.code, 401);
    let join = async |node: &str, machine: &str| {
        stranger.ask(Method::POST, "/coracle/v1/join", &bearer, body(node, machine).to_string()).await
    };
    assert_eq!(join("n1", "a").await.json()["certificate"], "n1 asked please");
    let pods = stranger.ask(Method::GET, "/api/v1/pods", &bearer, "").await;
    assert_eq!(pods.code, 403, "it lets join, and nothing else");
    // Nobody takes the name of a node that is there, and trying costs nothing.
    assert_eq!(admin.post("/api/v1/nodes", &json!({"metadata": {"name": "n0"}})).await.code, 201);
    let taken = join("n0", "b").await.refusal();
    assert!(taken.starts_with("409 a node named \"n0\" is in the cluster already"), "{taken}");
    assert_eq!(join("n2", "b").await.code, 200);
    assert_eq!(
        join("n3", "c").await.refusal(),
        "401 the token has been used as often as it may be; `coracle token` makes another"
    );
    assert_eq!(join("n1", "a").await.code, 200, "an answer may have been lost");
    // It makes no server, used or not.
    let server = json!({"machine": "a".repeat(32)}).to_string();
    assert_eq!(stranger.ask(Method::POST, "/coracle/v1/join/server", &bearer, server).await.code, 401);
    assert_eq!(join("n4", "short").await.code, 400);
    door.close().await;
}

#[tokio::test]
async fn a_node_asks_for_its_next_certificate_while_it_is_one() {
    let door = Door::open().await;
    let (admin, body) = (door.admin(), json!({"csr": "please"}));
    let renew = async |client: &Client| client.post("/coracle/v1/renew", &body).await;
    let node = door.client("system:node:n1", &[apiserver::NODES]);
    let gone = renew(&node).await.refusal();
    assert_eq!(gone, "403 node \"n1\" was removed from the cluster; it joins again with a token");
    assert_eq!(admin.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await.code, 201);
    assert_eq!(renew(&node).await.json()["certificate"], "n1 asked please");
    assert_eq!(renew(&admin).await.code, 401);
    // One that was away asks for a certificate, and for nothing else.
    let late = door.late("system:node:n1", &[apiserver::NODES], 30);
    assert_eq!(late.get("/api/v1/nodes/n1").await.code, 403);
    assert_eq!(renew(&late).await.json()["certificate"], "n1 asked please");
    assert!(late.is_let_in().await);
    assert!(!door.late("system:node:n1", &[apiserver::NODES], 91).is_let_in().await);
    assert!(!door.late("admin", &[apiserver::MASTERS], 1).is_let_in().await);
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

const NAMESPACED: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

/// Gives a user a cluster role in the namespace `default`.
async fn bind(admin: &Client, user: &str, role: &str) {
    let binding = json!({
        "metadata": {"name": format!("{user}-{role}")}, "subjects": [{"kind": "User", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
    });
    let bound = admin.post(&format!("{NAMESPACED}/rolebindings"), &binding).await;
    assert_eq!(bound.code, 201, "{}", bound.json());
}

#[tokio::test]
async fn a_right_counts_as_soon_as_it_is_given() {
    let door = Door::open().await;
    let (admin, jane) = (door.admin(), door.client("jane", &[]));
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(jane.get(pods).await.code, 403);
    let reader = json!({"metadata": {"name": "reader"}, "rules": [rule(&["get", "list"], "", &["pods"])]});
    assert_eq!(admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &reader).await.code, 201);
    bind(&admin, "jane", "reader").await;
    assert_eq!(jane.get(pods).await.code, 200);
    assert_eq!(jane.get("/api/v1/pods").await.code, 403, "in one namespace only");
    assert_eq!(
        jane.get(&format!("{pods}?watch=true")).await.refusal(),
        r#"403 pods is forbidden: User "jane" cannot watch resource "pods" in API group "" in the namespace "default""#
    );
    assert_eq!(
        jane.get(&format!("{pods}/web/exec?command=sh")).await.refusal(),
        r#"403 pods "web" is forbidden: User "jane" cannot get resource "pods/exec" in API group "" in the namespace "default""#
    );
    assert_eq!(admin.delete(&format!("{NAMESPACED}/rolebindings/jane-reader"), &json!({})).await.code, 200);
    assert_eq!(jane.get(pods).await.code, 403);
    door.close().await;
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    let door = Door::open().await;
    let (admin, jane) = (door.admin(), door.client("jane", &["dev"]));
    let roles = format!("{NAMESPACED}/roles");
    let manager = json!({"metadata": {"name": "manager"}, "rules": [
        rule(&["*"], "rbac.authorization.k8s.io", &["roles", "rolebindings"]), rule(&["get"], "", &["pods"]),
    ]});
    // `*` holds the right to escalate, too.
    let held = json!({"metadata": {"name": "manager"}, "rules": [
        rule(&["create", "update", "patch", "get"], "rbac.authorization.k8s.io", &["roles", "rolebindings"]),
        rule(&["get"], "", &["pods"]),
    ]});
    assert_eq!(admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &held).await.code, 201);
    bind(&admin, "jane", "manager").await;
    let wanted = json!({"metadata": {"name": "more"}, "rules": [rule(&["get", "list"], "", &["pods", "secrets"])]});
    assert_eq!(
        jane.post(&roles, &wanted).await.refusal(),
        "403 roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"dev\" \"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
    );
    let own = json!({"metadata": {"name": "own"}, "rules": [rule(&["get"], "", &["pods"])]});
    assert_eq!(jane.post(&roles, &own).await.code, 201);
    let more = json!({"rules": [rule(&["delete"], "", &["pods"])]});
    assert_eq!(jane.patch("merge-patch+json", &format!("{roles}/own"), &more).await.code, 403);
    let binding = |role: &str| {
        json!({
            "metadata": {"name": format!("to-{role}")}, "subjects": [{"kind": "User", "name": "joe"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        })
    };
    let bindings = format!("{NAMESPACED}/rolebindings");
    assert_eq!(
        jane.post(&bindings, &binding("none")).await.refusal(),
        "404 clusterrole.rbac.authorization.k8s.io \"none\" not found"
    );
    let refused = jane.post(&bindings, &binding("cluster-admin")).await.refusal();
    assert!(
        refused.ends_with(
            "not currently held:\n{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}"
        ),
        "{refused}"
    );
    assert_eq!(jane.post(&bindings, &binding("manager")).await.code, 201, "all of that she has");
    // The right to bind one role is the right to give that one.
    let binder = json!({"metadata": {"name": "binder"}, "rules": [{
        "verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"],
    }]});
    assert_eq!(admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &binder).await.code, 201);
    bind(&admin, "jane", "binder").await;
    assert_eq!(jane.post(&bindings, &binding("view")).await.code, 201);
    assert_eq!(
        jane.post(&bindings, &binding("edit")).await.code,
        201,
        "its rules come with the controllers, here it has none"
    );
    assert_eq!(
        admin.patch("merge-patch+json", "/apis/rbac.authorization.k8s.io/v1/clusterroles/manager", &manager).await.code,
        200
    );
    assert_eq!(jane.post(&roles, &wanted).await.code, 201, "escalate lifts it");
    door.close().await;
}

#[tokio::test]
async fn a_review_answers_for_others_and_says_why() {
    let door = Door::open().await;
    let admin = door.admin();
    bind(&admin, "jane", "cluster-admin").await;
    let reviews = "/apis/authorization.k8s.io/v1";
    let asked = json!({"verb": "list", "resource": "pods", "namespace": "default"});
    let review = json!({"spec": {"user": "jane", "resourceAttributes": asked}});
    let told = admin.post(&format!("{reviews}/subjectaccessreviews"), &review).await.json();
    assert_eq!(
        told["status"],
        json!({"allowed": true, "reason": "RBAC: allowed by RoleBinding \"jane-cluster-admin/default\" of ClusterRole \"cluster-admin\" to User \"jane\""})
    );
    let local = format!("{reviews}/namespaces/default/localsubjectaccessreviews");
    assert_eq!(admin.post(&local, &review).await.json()["status"]["allowed"], true);
    let elsewhere = json!({"spec": {"user": "jane", "resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "other"}}});
    assert_eq!(
        admin.post(&local, &elsewhere).await.refusal(),
        r#"422 LocalSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace"#
    );
    assert_eq!(
        admin
            .post(
                &format!("{reviews}/subjectaccessreviews"),
                &json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}})
            )
            .await
            .refusal(),
        r#"422 SubjectAccessReview.authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified"#
    );
    let jane = door.client("jane", &[]);
    let rules = jane
        .post(&format!("{reviews}/selfsubjectrulesreviews"), &json!({"spec": {"namespace": "default"}}))
        .await
        .json();
    assert_eq!(rules["status"]["incomplete"], false);
    assert!(
        rules["status"]["resourceRules"].to_string().contains(r#"{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}"#),
        "{rules}"
    );
    assert_eq!(
        jane.post(&format!("{reviews}/selfsubjectrulesreviews"), &json!({"spec": {}})).await.refusal(),
        "400 no namespace on request"
    );
    assert_eq!(
        jane.post(&format!("{reviews}/subjectaccessreviews"), &review).await.code,
        403,
        "of others only who may"
    );
    door.close().await;
}

#[tokio::test]
async fn one_asks_as_another_if_one_may() {
    let door = Door::open().await;
    let (admin, jane) = (door.admin(), door.client("jane", &[]));
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let as_joe = [
        ("impersonate-user", "joe"),
        ("impersonate-group", "dev"),
        ("impersonate-extra-scope", "few"),
        ("content-type", "application/json"),
    ];
    let told = admin.ask(Method::POST, whoami, &as_joe, "{}").await.json();
    assert_eq!(
        told["status"]["userInfo"],
        json!({"username": "joe", "groups": ["dev", "system:authenticated"], "extra": {"scope": ["few"]}})
    );
    assert_eq!(
        admin.ask(Method::GET, "/api/v1/nodes", &as_joe, "").await.refusal(),
        r#"403 nodes is forbidden: User "joe" cannot list resource "nodes" in API group "" at the cluster scope"#
    );
    let refused = |headers: Vec<(&'static str, &'static str)>| {
        let jane = jane.clone();
        async move { jane.ask(Method::GET, "/version", &headers, "").await.refusal() }
    };
    assert_eq!(
        refused(vec![("impersonate-user", "joe")]).await,
        r#"403 users "joe" is forbidden: User "jane" cannot impersonate resource "users" in API group "" at the cluster scope"#
    );
    assert_eq!(
        refused(vec![("impersonate-user", "system:serviceaccount:default:robot")]).await,
        r#"403 serviceaccounts "robot" is forbidden: User "jane" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "default""#
    );
    let users = json!({"metadata": {"name": "users"}, "rules": [rule(&["impersonate"], "", &["users"])]});
    assert_eq!(admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &users).await.code, 201);
    let binding = json!({
        "metadata": {"name": "users"}, "subjects": [{"kind": "User", "name": "jane"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "users"},
    });
    assert_eq!(admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.code, 201);
    assert_eq!(jane.ask(Method::GET, "/version", &[("impersonate-user", "joe")], "").await.code, 200);
    assert_eq!(
        refused(vec![("impersonate-user", "joe"), ("impersonate-group", "system:masters")]).await,
        r#"403 groups "system:masters" is forbidden: User "jane" cannot impersonate resource "groups" in API group "" at the cluster scope"#
    );
    assert_eq!(
        refused(vec![("impersonate-user", "joe"), ("impersonate-extra-scope", "all")]).await,
        r#"403 userextras.authentication.k8s.io "all" is forbidden: User "jane" cannot impersonate resource "userextras/scope" in API group "authentication.k8s.io" at the cluster scope"#
    );
    let nobody = jane.ask(Method::GET, "/version", &[("impersonate-group", "dev")], "").await;
    assert_eq!(
        (nobody.code.as_u16(), &nobody.bytes[..]),
        (
            500,
            b"Internal Server Error: \"/version\": requested [{Group  dev    }] without impersonating a user\n"
                .as_slice()
        )
    );
    door.close().await;
}
