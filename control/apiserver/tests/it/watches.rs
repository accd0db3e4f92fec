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

#[tokio::test]
async fn a_long_streaming_list_is_told_whole_and_before_what_comes_after() {
    let door = Door::open().await;
    let admin = door.admin();
    for number in 0..40 {
        let map = json!({"metadata": {"name": format!("m{number:02}")}, "data": {"a": "x".repeat(9_000)}});
        admin.post(CONFIG_MAPS, &map).await;
    }
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let fields = "fieldSelector=metadata.name!%3Dm07";
    let mut watch = admin.watch(&format!("{CONFIG_MAPS}?{query}&{fields}")).await;
    admin.delete(&format!("{CONFIG_MAPS}/m39"), &json!({})).await;
    let mut told = Vec::new();
    loop {
        let line = watch.next().await.expect("a line");
        if line["type"] == "BOOKMARK" {
            assert_eq!(line["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
            break;
        }
        assert_eq!(line["type"], "ADDED");
        told.push(line["object"]["metadata"]["name"].as_str().expect("a name").to_owned());
    }
    told.retain(|name| name.starts_with('m'));
    assert_eq!(told, (0..40).filter(|number| *number != 7).map(|number| format!("m{number:02}")).collect::<Vec<_>>());
    assert_eq!(watch.told().await, "DELETED m39");
    door.close().await;
}

#[tokio::test]
async fn a_watch_of_one_object_hears_of_no_other_and_is_never_too_late_for_those() {
    let door = Door::forgetful(8).await;
    let admin = door.admin();
    admin.post(CONFIG_MAPS, &config_map("a", "red")).await;
    let mut watch = admin.watch(&format!("{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3Da")).await;
    assert_eq!(watch.told().await, "ADDED a");
    for number in 0..20 {
        admin.post(CONFIG_MAPS, &config_map(&format!("b{number}"), "red")).await;
    }
    admin.delete(&format!("{CONFIG_MAPS}/a"), &json!({})).await;
    assert_eq!(watch.told().await, "DELETED a");
    let mut late = admin.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=1")).await;
    let line = late.next().await.expect("a line");
    let message = line["object"]["message"].as_str().expect("words");
    assert!(
        line["type"] == "ERROR"
            && line["object"]["code"] == 410
            && message.starts_with("too old resource version: 1 (")
    );
    assert_eq!(late.told().await, "end");
    door.close().await;
}

#[tokio::test]
async fn tables_and_metadata_are_watched_in_their_own_form() {
    let door = Door::open().await;
    let admin = door.admin();
    let list = admin.get(CONFIG_MAPS).await.json();
    let path =
        format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", list["metadata"]["resourceVersion"].as_str().expect("one"));
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let mut tables = [admin.watch_as(&path, table).await, admin.watch_as(&path, table).await];
    let mut partial = admin.watch_as(&path, partial).await;
    for name in ["a", "b"] {
        admin.post(CONFIG_MAPS, &config_map(name, "red")).await;
    }
    for watch in &mut tables {
        let lines = [watch.next().await.expect("a line"), watch.next().await.expect("a line")];
        assert!(
            lines[0]["object"]["columnDefinitions"].is_array() && lines[1]["object"]["columnDefinitions"].is_null()
        );
        let cells = lines.each_ref().map(|line| line["object"]["rows"][0]["cells"][0].clone());
        assert_eq!(cells, [json!("a"), json!("b")]);
    }
    let line = partial.next().await.expect("a line");
    assert_eq!((&line["object"]["kind"], line["object"].get("data")), (&json!("PartialObjectMetadata"), None));
    door.close().await;
}
