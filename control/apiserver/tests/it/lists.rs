//! Lists: which world they are of, how long ones come, and what is left when that world is gone.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Door};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn fill(admin: &Client, count: usize, bytes: usize) {
    for number in 0..count {
        let map = json!({"metadata": {"name": format!("map-{number:03}")}, "data": {"a": "x".repeat(bytes)}});
        assert_eq!(admin.post(CONFIG_MAPS, &map).await.code, 201);
    }
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items").iter();
    items.map(|item| item["metadata"]["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn a_list_is_of_the_world_that_was_asked_for() {
    let door = Door::open().await;
    let admin = door.admin();
    fill(&admin, 2, 1).await;
    let list = admin.get(CONFIG_MAPS).await.json();
    let before: u64 =
        list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a revision");
    admin.delete(&format!("{CONFIG_MAPS}/map-000"), &json!({})).await;
    let check = async |query: String, expect: &[&str]| {
        let list = admin.get(&format!("{CONFIG_MAPS}?{query}")).await.json();
        assert_eq!(names(&list), expect, "{query}");
    };
    check(String::new(), &["map-001"]).await;
    check("resourceVersion=0&limit=1".into(), &["map-001"]).await;
    check(format!("resourceVersion={before}"), &["map-001"]).await;
    check(format!("resourceVersion={before}&limit=5"), &["map-000", "map-001"]).await;
    check(format!("resourceVersion={before}&resourceVersionMatch=Exact"), &["map-000", "map-001"]).await;
    check(format!("resourceVersion={before}&resourceVersionMatch=NotOlderThan&limit=5"), &["map-001"]).await;

    let refused = async |query: &str| admin.get(&format!("{CONFIG_MAPS}?{query}")).await.refusal();
    assert_eq!(
        refused("resourceVersion=x").await,
        r#"400 invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax"#
    );
    assert_eq!(
        refused("watch=1&resourceVersion=x").await,
        r#"422 configmaps "" is invalid: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax"#
    );
    let future = admin.get(&format!("{CONFIG_MAPS}?resourceVersion={}", before + 1_000)).await;
    assert_eq!((future.code.as_u16(), future.headers["retry-after"].to_str().ok()), (504, Some("1")));
    let status = future.json();
    let words = format!("Timeout: Too large resource version: {}, current: {}", before + 1_000, before + 1);
    assert_eq!(status["message"], words);
    assert_eq!(
        status["details"],
        json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1})
    );
    door.close().await;
}

#[tokio::test]
async fn a_list_whose_world_is_gone_goes_on_in_the_newest() {
    let door = Door::forgetful(8).await;
    let admin = door.admin();
    fill(&admin, 6, 1).await;
    let first = admin.get(&format!("{CONFIG_MAPS}?limit=2")).await.json();
    assert_eq!(names(&first), ["map-000", "map-001"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    let revision = first["metadata"]["resourceVersion"].clone();
    admin.delete(&format!("{CONFIG_MAPS}/map-002"), &json!({})).await;
    let second = admin.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.json();
    assert_eq!(names(&second), ["map-002", "map-003"], "the page is of the first page's world");
    assert_eq!(second["metadata"]["resourceVersion"], revision);
    for number in 0..20 {
        let patch = json!({"data": {"a": number.to_string()}});
        admin.patch("merge-patch+json", &format!("{CONFIG_MAPS}/map-005"), &patch).await;
    }
    let gone = admin.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    let status = gone.json();
    assert_eq!((gone.code.as_u16(), &status["reason"]), (410, &json!("Expired")));
    assert!(gone.refusal().ends_with("between the time the first chunk was returned and now may show up in the list."));
    let fresh = status["metadata"]["continue"].as_str().expect("a fresh token");
    let rest = admin.get(&format!("{CONFIG_MAPS}?limit=2&continue={fresh}")).await.json();
    assert_eq!(names(&rest), ["map-003", "map-004"]);
    let last = rest["metadata"]["continue"].as_str().expect("a token");
    let last = admin.get(&format!("{CONFIG_MAPS}?limit=2&continue={last}")).await.json();
    assert_eq!(
        (names(&last), &last["metadata"]["resourceVersion"]),
        (vec!["map-005"], &rest["metadata"]["resourceVersion"])
    );
    let revision = revision.as_str().expect("text");
    let exact = admin.get(&format!("{CONFIG_MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")).await;
    assert_eq!(exact.refusal(), "410 The resourceVersion for the provided list is too old.");
    door.close().await;
}

#[tokio::test]
async fn a_long_list_is_whole_in_every_form_and_smaller_for_who_wants_it_so() {
    let door = Door::open().await;
    let admin = door.admin();
    fill(&admin, 50, 10_000).await;
    let forms = [
        ("application/json", "items"),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "items"),
        ("application/json;as=Table;g=meta.k8s.io;v=v1", "rows"),
    ];
    for (accept, items) in forms {
        let plain = admin.ask(Method::GET, CONFIG_MAPS, &[("accept", accept)], "").await;
        let list = plain.json();
        // The cluster's own authority is there too, for pods.
        let count = list[items].as_array().expect("items").len();
        assert!(count >= 50, "{count} {items}");
        assert!(plain.headers.get("content-encoding").is_none());
        let small = admin.ask(Method::GET, CONFIG_MAPS, &[("accept", accept), ("accept-encoding", "gzip")], "").await;
        assert_eq!(small.headers["content-encoding"], "gzip");
        assert!(small.headers["vary"].to_str().expect("text").contains("Accept-Encoding"));
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&small.bytes[..]), &mut text).expect("gzip");
        assert!(serde_json::from_slice::<Value>(&text).expect("JSON")[items].as_array().expect("items").len() == count);
    }
    let short = admin.ask(Method::GET, &format!("{CONFIG_MAPS}?limit=2"), &[("accept-encoding", "gzip")], "").await;
    assert!(short.headers.get("content-encoding").is_none());
    door.close().await;
}
