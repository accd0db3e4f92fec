//! Create, get, list, change and delete.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Door};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

async fn open() -> (Door, Client) {
    let door = Door::open().await;
    let admin = door.admin();
    (door, admin)
}

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let (door, admin) = open().await;
    let created = admin.post(CONFIG_MAPS, &config_map("c", json!({"a": "1"}))).await;
    assert_eq!(created.code, 201, "{}", created.json());
    let created = created.json();
    assert_eq!(created["metadata"]["namespace"], "default");
    assert!(created["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36));

    let path = format!("{CONFIG_MAPS}/c");
    assert_eq!(admin.get(&path).await.json(), created);
    let twice = admin.post(CONFIG_MAPS, &config_map("c", json!({}))).await;
    assert_eq!(twice.refusal(), r#"409 configmaps "c" already exists"#);

    let mut changed = created.clone();
    changed["data"]["a"] = "2".into();
    let put = admin.put(&path, &changed).await;
    assert_eq!((put.code.as_u16(), &put.json()["data"]["a"]), (200, &json!("2")));
    let stale = admin.put(&path, &changed).await;
    assert_eq!(
        stale.refusal(),
        r#"409 Operation cannot be fulfilled on configmaps "c": the object has been modified; please apply your changes to the latest version and try again"#
    );

    let deleted = admin.delete(&path, &json!({"propagationPolicy": "Background"})).await.json();
    assert_eq!((&deleted["status"], &deleted["details"]["uid"]), (&json!("Success"), &created["metadata"]["uid"]));
    assert_eq!(admin.get(&path).await.refusal(), r#"404 configmaps "c" not found"#);
    door.close().await;
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let (door, admin) = open().await;
    admin.post(CONFIG_MAPS, &config_map("c", json!({"a": "1", "b": "2"}))).await;
    let path = format!("{CONFIG_MAPS}/c");
    let merged = admin.patch("merge-patch+json", &path, &json!({"data": {"a": null, "c": "3"}})).await.json();
    assert_eq!(merged["data"], json!({"b": "2", "c": "3"}));
    let patched = admin
        .patch("json-patch+json", &path, &json!([{"op": "replace", "path": "/data/b", "value": "x"}]))
        .await
        .json();
    assert_eq!(patched["data"]["b"], "x");
    let labelled =
        admin.patch("strategic-merge-patch+json", &path, &json!({"metadata": {"labels": {"l": "1"}}})).await.json();
    assert_eq!(labelled["metadata"]["labels"]["l"], "1");

    let again = admin.patch("merge-patch+json", &path, &json!({"data": {"c": "3"}})).await.json();
    assert_eq!(again["metadata"]["resourceVersion"], labelled["metadata"]["resourceVersion"], "no change is no write");
    let stale = admin
        .patch("merge-patch+json", &path, &json!({"metadata": {"resourceVersion": "1"}, "data": {"c": "4"}}))
        .await;
    assert_eq!(stale.code, 409);
    let apply = admin.patch("apply-patch+yaml", &path, &json!({})).await;
    assert_eq!(apply.code, 422, "an apply says whose it is");
    let other = admin.patch("yaml", &path, &json!({})).await;
    assert_eq!(other.code, 415);
    door.close().await;
}

#[tokio::test]
async fn unknown_fields_are_told_or_refused() {
    let (door, admin) = open().await;
    let wrong = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "dada": {}});
    let strict = admin.post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), &wrong).await;
    assert_eq!(
        strict.refusal(),
        r#"400 ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dada""#
    );
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/c")).await.code, 404, "nothing is stored");
    let warned = admin.post(CONFIG_MAPS, &wrong).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"dada\"""#);
    door.close().await;
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let (door, admin) = open().await;
    let dry = admin.post(&format!("{CONFIG_MAPS}?dryRun=All"), &config_map("c", json!({}))).await;
    assert_eq!(dry.code, 201);
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/c")).await.code, 404);
    admin.post(CONFIG_MAPS, &config_map("c", json!({}))).await;
    let twice = admin.post(&format!("{CONFIG_MAPS}?dryRun=All"), &config_map("c", json!({}))).await;
    assert_eq!(twice.code, 409);
    let deleted = admin.delete(&format!("{CONFIG_MAPS}/c"), &json!({"dryRun": ["All"]})).await;
    assert_eq!(deleted.code, 200);
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/c")).await.code, 200);
    door.close().await;
}

#[tokio::test]
async fn namespaces_must_be_there_and_stay() {
    let (door, admin) = open().await;
    let missing = admin.post("/api/v1/namespaces/shop/configmaps", &config_map("c", json!({}))).await;
    assert_eq!(missing.refusal(), r#"404 namespaces "shop" not found"#);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let namespace = admin.post("/api/v1/namespaces", &namespace).await.json();
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    let leaving = admin.delete("/api/v1/namespaces/shop", &json!({})).await.json();
    assert_eq!(leaving["status"]["phase"], "Terminating");
    let late = admin.post("/api/v1/namespaces/shop/configmaps", &config_map("c", json!({}))).await;
    assert_eq!(
        late.refusal(),
        r#"403 configmaps "c" is forbidden: unable to create new content in namespace shop because it is being terminated"#
    );
    assert_eq!(late.json()["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let finalized =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}, "spec": {"finalizers": []}});
    assert_eq!(admin.put("/api/v1/namespaces/shop/finalize", &finalized).await.code, 200);
    assert_eq!(admin.get("/api/v1/namespaces/shop").await.code, 404);
    assert_eq!(admin.delete("/api/v1/namespaces/default", &json!({})).await.code, 403);
    door.close().await;
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let (door, admin) = open().await;
    let mut held = config_map("c", json!({}));
    held["metadata"]["finalizers"] = json!(["example.org/mine"]);
    admin.post(CONFIG_MAPS, &held).await;
    let path = format!("{CONFIG_MAPS}/c");
    let leaving = admin.delete(&path, &json!({})).await.json();
    assert!(leaving["metadata"]["deletionTimestamp"].is_string());
    let again = admin.post(CONFIG_MAPS, &config_map("c", json!({}))).await;
    assert_eq!(again.refusal(), r#"409 object is being deleted: configmaps "c" already exists"#);
    let freed = admin.patch("merge-patch+json", &path, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(freed.code, 200);
    assert_eq!(admin.get(&path).await.code, 404);
    door.close().await;
}

#[tokio::test]
async fn lists_are_paged_selected_and_consistent() {
    let (door, admin) = open().await;
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        let mut one = config_map(name, json!({}));
        one["metadata"]["labels"] = json!({"color": color});
        admin.post(CONFIG_MAPS, &one).await;
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items").iter();
        items.map(|one| one["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
    };
    let first = admin.get(&format!("{CONFIG_MAPS}?limit=2")).await.json();
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a".into(), "b".into()], &json!(1)));
    admin.delete(&format!("{CONFIG_MAPS}/c"), &json!({})).await;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let second = admin.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.json();
    assert_eq!(names(&second), ["c"], "the second page is of the same list as the first");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);

    let red = admin.get(&format!("{CONFIG_MAPS}?labelSelector=color%3Dred")).await.json();
    assert_eq!(names(&red), ["a"]);
    let named = admin.get("/api/v1/configmaps?fieldSelector=metadata.name%3Db&resourceVersion=0&limit=1").await.json();
    assert_eq!(names(&named), ["b"]);
    let unknown = admin.get(&format!("{CONFIG_MAPS}?fieldSelector=spec.x%3Db")).await;
    assert_eq!(
        unknown.refusal(),
        r#"400 "spec.x" is not a known field selector: only "metadata.name", "metadata.namespace""#
    );
    let gone = admin.delete(&format!("{CONFIG_MAPS}?labelSelector=color%3Dred"), &json!({})).await.json();
    assert_eq!(names(&gone), ["a"]);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = admin.ask(Method::GET, CONFIG_MAPS, &[("accept", table)], "").await.json();
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("b")));
    door.close().await;
}

#[tokio::test]
async fn services_get_addresses_that_nobody_else_has() {
    let (door, admin) = open().await;
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let first = admin.post(services, &service("a", json!({"type": "NodePort", "ports": [{"port": 80}]}))).await.json();
    let address = first["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    assert!(address.starts_with("10.43."));
    let port = first["spec"]["ports"][0]["nodePort"].as_u64().expect("a port");
    assert!((30_000..=32_767).contains(&port));
    let same = admin.post(services, &service("b", json!({"clusterIP": address, "ports": [{"port": 80}]}))).await;
    assert_eq!(same.code, 422);
    assert!(same.refusal().contains("provided IP is already allocated"), "{}", same.refusal());
    let kubernetes = admin.get(&format!("{services}/kubernetes")).await.json();
    assert_eq!(kubernetes["spec"]["clusterIP"], "10.43.0.1");
    door.close().await;
}

#[tokio::test]
async fn names_are_generated_and_bodies_need_no_type() {
    let (door, admin) = open().await;
    let body = json!({"metadata": {"generateName": "gp-"}}).to_string();
    let created = admin.ask(Method::POST, &format!("{CONFIG_MAPS}/?&pretty=1"), &[], body).await.json();
    let name = created["metadata"]["name"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("gp-") && name.len() == 8, "{name}");
    let yaml = "metadata:\n  name: y\ndata:\n  a: b\n";
    let created = admin.ask(Method::POST, CONFIG_MAPS, &[("content-type", "application/yaml")], yaml).await;
    assert_eq!(created.json()["data"]["a"], "b");
    let text = admin.ask(Method::POST, CONFIG_MAPS, &[("content-type", "text/plain")], "x").await;
    assert_eq!(text.code, 415);
    let large = admin.ask(Method::POST, CONFIG_MAPS, &[], vec![b' '; 4 << 20]).await;
    assert_eq!(large.refusal(), "413 Request entity too large: limit is 3145728");
    door.close().await;
}

#[tokio::test]
async fn what_could_not_be_answered_is_not_done() {
    let (door, admin) = open().await;
    let body = config_map("quiet", json!({})).to_string();
    let accept = [("accept", "application/vnd.kubernetes.protobuf"), ("content-type", "application/json")];
    let watched = format!("{CONFIG_MAPS}?watch=true");
    for (method, path, body) in [
        (Method::POST, CONFIG_MAPS, &*body),
        (Method::GET, CONFIG_MAPS, ""),
        (Method::GET, &watched, ""),
        (Method::GET, "/apis", ""),
    ] {
        let answer = admin.ask(method.clone(), path, &accept, body.to_owned()).await;
        let told = answer.refusal();
        assert!(
            told.starts_with("406 only the following media types are accepted: application/json"),
            "{method} {path}: {told}"
        );
    }
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/quiet")).await.code, 404);
    let both =
        [("accept", "application/vnd.kubernetes.protobuf,application/json"), ("content-type", "application/json")];
    assert_eq!(admin.ask(Method::POST, CONFIG_MAPS, &both, body).await.code, 201);
    door.close().await;
}
