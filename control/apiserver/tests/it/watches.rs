//! Watches: what is told, in what order, and how they end.

use serde_json::{Value, json};

use crate::harness::Door;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str, color: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"color": color}}})
}

#[tokio::test]
async fn a_watch_tells_what_there_is_and_what_changes() {
    let door = Door::open().await;
    let admin = door.admin();
    admin.post(CONFIG_MAPS, &config_map("a", "red")).await;
    let mut watch = admin.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    assert_eq!(watch.told().await, "ADDED a");
    admin.post(CONFIG_MAPS, &config_map("b", "red")).await;
    assert_eq!(watch.told().await, "ADDED b");
    admin.patch("merge-patch+json", &format!("{CONFIG_MAPS}/a"), &json!({"data": {"x": "1"}})).await;
    assert_eq!(watch.told().await, "MODIFIED a");
    admin.delete(&format!("{CONFIG_MAPS}/a"), &json!({})).await;
    let gone = watch.next().await.expect("a line");
    assert_eq!((&gone["type"], &gone["object"]["data"]["x"]), (&json!("DELETED"), &json!("1")));
    door.close().await;
    assert_eq!(watch.told().await, "end");
}

#[tokio::test]
async fn a_selection_sees_objects_come_and_go() {
    let door = Door::open().await;
    let admin = door.admin();
    let list = admin.get(CONFIG_MAPS).await.json();
    let revision = list["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    let mut watch =
        admin.watch(&format!("{CONFIG_MAPS}?watch=1&labelSelector=color%3Dred&resourceVersion={revision}")).await;
    admin.post(CONFIG_MAPS, &config_map("a", "blue")).await;
    let paint = |color: &'static str| json!({"metadata": {"labels": {"color": color}}});
    admin.patch("merge-patch+json", &format!("{CONFIG_MAPS}/a"), &paint("red")).await;
    assert_eq!(watch.told().await, "ADDED a");
    admin.patch("merge-patch+json", &format!("{CONFIG_MAPS}/a"), &paint("blue")).await;
    assert_eq!(watch.told().await, "DELETED a");
    door.close().await;
}

#[tokio::test]
async fn a_watch_ends_on_time_with_a_bookmark() {
    let door = Door::open().await;
    let admin = door.admin();
    let mut watch = admin.watch(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true")).await;
    let bookmark = watch.next().await.expect("a line");
    assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(watch.told().await, "end");
    door.close().await;
}

#[tokio::test]
async fn a_streaming_list_tells_where_it_ends() {
    let door = Door::open().await;
    let admin = door.admin();
    admin.post(CONFIG_MAPS, &config_map("a", "red")).await;
    let query =
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=0";
    let mut watch = admin.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(watch.told().await, "ADDED a");
    let bookmark = watch.next().await.expect("a line");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    door.close().await;
}

#[tokio::test]
async fn a_revision_to_come_is_waited_for_and_then_refused() {
    let door = Door::open().await;
    let admin = door.admin();
    let refused = admin.get(&format!("{CONFIG_MAPS}?resourceVersion=1000000")).await;
    assert!(refused.refusal().starts_with("504 Timeout: Too large resource version: 1000000, current: "));
    assert_eq!(refused.headers["retry-after"], "1");
    door.close().await;
}
