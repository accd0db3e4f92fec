//! What the audit log tells of requests that end otherwise than most.

use http::Method;
use serde_json::{Value, json};

use crate::harness::Door;

const NAMESPACES: &str = "/api/v1/namespaces";

#[tokio::test]
async fn every_stage_and_every_refusal_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("audit.log");
    let door = Door::open_audited(&log).await;
    let (admin, eve) = (door.admin(), door.client("eve", &[]));
    let mut watch = admin.watch(&format!("{NAMESPACES}?watch=true")).await;
    watch.next().await.expect("a line");
    drop(watch);
    assert_eq!(eve.get(&format!("{NAMESPACES}/default/pods")).await.code, 403);
    let as_eve = [("impersonate-user", "eve"), ("audit-id", "mine-1")];
    let answer = admin.ask(Method::GET, NAMESPACES, &as_eve, "").await;
    assert_eq!((answer.code.as_u16(), answer.headers["audit-id"].as_bytes()), (403, &b"mine-1"[..]));
    let wrong = [("authorization", "Bearer canary")];
    assert_eq!(door.stranger().ask(Method::GET, NAMESPACES, &wrong, "").await.code, 401);
    let metrics = String::from_utf8(admin.get("/metrics").await.bytes.to_vec()).expect("text");
    assert!(metrics.contains("apiserver_audit_event_total") && metrics.contains("apiserver_audit_error_total 0"));
    // The log is whole when the server has ended.
    door.close().await;

    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(!text.contains("canary"), "a token is in the log");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |is_it: &dyn Fn(&Value) -> bool| -> Vec<&Value> { lines.iter().filter(|line| is_it(line)).collect() };
    let watched = of(&|line| line["verb"] == "watch");
    let stages: Vec<&str> = watched.iter().filter_map(|line| line["stage"].as_str()).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);

    let refused = of(&|line| line["user"]["username"] == "eve" && line["stage"] == "ResponseComplete");
    assert_eq!(refused[0]["annotations"]["authorization.k8s.io/decision"], "forbid", "{}", refused[0]);
    assert_eq!(refused[0]["responseStatus"]["reason"], "Forbidden");
    assert_eq!(refused[0]["objectRef"], json!({"resource": "pods", "namespace": "default", "apiVersion": "v1"}));

    let spoken = of(&|line| line["auditID"] == "mine-1" && line["stage"] == "ResponseComplete");
    assert_eq!(spoken[0]["user"]["username"], "admin");
    assert_eq!(spoken[0]["impersonatedUser"]["username"], "eve", "{}", spoken[0]);

    let unknown = of(&|line| line["responseStatus"]["code"] == 401);
    assert_eq!((unknown.len(), &unknown[0]["user"]), (1, &json!({})));
}
