//! The part of a pod by which it is resized, in every way a client may write it.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Door};

const PODS: &str = "/api/v1/namespaces/default/pods";
const WEB: &str = "/api/v1/namespaces/default/pods/web/resize";

async fn open() -> (Door, Client) {
    let door = Door::open().await;
    let admin = door.admin();
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}});
    let spec = json!({"containers": [{"name": "main", "image": "a:v1", "resources": resources}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec});
    let made = admin.post(PODS, &pod).await;
    assert_eq!(made.code, 201, "{}", made.json());
    (door, admin)
}

fn limit(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["resources"]["limits"]["cpu"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_pod_is_resized_by_whichever_write() {
    let (door, admin) = open().await;
    let mut pod = admin.get(WEB).await.json();
    assert_eq!((limit(&pod), &pod["kind"]), ("200m", &json!("Pod")));
    pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "300m".into();
    pod["spec"]["containers"][0]["image"] = "b:v2".into();
    let put = admin.put(WEB, &pod).await.json();
    assert_eq!((limit(&put), &put["spec"]["containers"][0]["image"]), ("300m", &json!("a:v1")));
    assert_eq!(put["metadata"]["generation"], 2);
    let stale = admin.put(WEB, &pod).await;
    assert_eq!(stale.code, 409);

    let container = |limit: &str| json!([{"name": "main", "resources": {"limits": {"cpu": limit}}}]);
    let strategic = json!({"spec": {"containers": container("400m")}});
    assert_eq!(limit(&admin.patch("strategic-merge-patch+json", WEB, &strategic).await.json()), "400m");
    let path = "/spec/containers/0/resources/limits/cpu";
    let patch = json!([{"op": "replace", "path": path, "value": "500m"}]);
    assert_eq!(limit(&admin.patch("json-patch+json", WEB, &patch).await.json()), "500m");
    let mut whole = put["spec"]["containers"].clone();
    whole[0]["resources"]["limits"]["cpu"] = "600m".into();
    let merge = json!({"spec": {"containers": whole}});
    assert_eq!(limit(&admin.patch("merge-patch+json", WEB, &merge).await.json()), "600m");

    // Whoever applies has what a resize is about, and nothing else of what he says.
    let mut config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": container("700m")}});
    config["spec"]["containers"][0]["image"] = "b:v2".into();
    let wanted = format!("{WEB}?fieldManager=scaler&force=true");
    let applied = admin.patch("apply-patch+yaml", &wanted, &config).await.json();
    assert_eq!((limit(&applied), &applied["spec"]["containers"][0]["image"]), ("700m", &json!("a:v1")));
    let shown = admin.get(&format!("{PODS}/web")).await.json();
    let fields = shown["metadata"]["managedFields"].as_array().expect("managers");
    let scaler = fields.iter().find(|one| one["manager"] == "scaler").expect("the one who applied");
    assert_eq!((&scaler["subresource"], &scaler["operation"]), (&json!("resize"), &json!("Apply")));
    let owned = scaler["fieldsV1"].to_string();
    assert!(owned.contains("f:limits") && !owned.contains("f:image"), "{owned}");
    let other = admin.patch("apply-patch+yaml", &format!("{WEB}?fieldManager=other"), &config).await;
    assert_eq!(other.code, 200, "the same is no conflict");
    config["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "800m".into();
    let other = admin.patch("apply-patch+yaml", &format!("{WEB}?fieldManager=other"), &config).await;
    assert_eq!(other.code, 409, "{}", other.json());
    door.close().await;
}

#[tokio::test]
async fn a_pod_is_resized_by_that_part_alone() {
    let (door, admin) = open().await;
    let strategic = json!({"spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "400m"}}}]}});
    let main = admin.patch("strategic-merge-patch+json", &format!("{PODS}/web"), &strategic).await;
    assert!(
        main.refusal().starts_with("422 Pod \"web\" is invalid: spec: Forbidden: pod updates may not change fields")
    );
    let status = admin.patch("strategic-merge-patch+json", &format!("{PODS}/web/status"), &strategic).await;
    assert_eq!(limit(&status.json()), "200m");
    assert_eq!(admin.ask(Method::POST, WEB, &[], "{}").await.code, 405);
    assert_eq!(admin.get(&format!("{PODS}/none/resize")).await.code, 404);
    let known = admin.get("/api/v1").await.json();
    let resources = known["resources"].as_array().expect("resources");
    let part = resources.iter().find(|one| one["name"] == "pods/resize").expect("it is discovered");
    assert_eq!((&part["kind"], &part["verbs"]), (&json!("Pod"), &json!(["get", "patch", "update"])));
    door.close().await;
}

#[tokio::test]
async fn the_limits_of_the_namespace_hold_for_a_resize() {
    let (door, admin) = open().await;
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "r"},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "500m"}}]}});
    assert_eq!(admin.post("/api/v1/namespaces/default/limitranges", &range).await.code, 201);
    let to = |limit: &str| json!({"spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": limit}}}]}});
    let refused = admin.patch("strategic-merge-patch+json", WEB, &to("600m")).await;
    assert_eq!(
        refused.refusal(),
        "403 pods \"web\" is forbidden: maximum cpu usage per Container is 500m, but limit is 600m"
    );
    assert_eq!(admin.patch("strategic-merge-patch+json", WEB, &to("500m")).await.code, 200);
    door.close().await;
}
