//! Proxies in front of the edge, and what is written down of requests.

use ingress::AccessLog;
use serde_json::Value;
use tokio::time::timeout;

use crate::world::{PATIENCE, Plan, raw};

const ASK: &str = "GET /headers HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n";

fn trusting() -> Plan {
    Plan { trusted: vec!["127.0.0.0/8".parse().expect("a network")], ..Plan::default() }
}

/// What of `X-…` and `Forwarded` the component sees.
async fn check(plan: Plan, sent: &str, expected: &[&str]) {
    let edge = plan.start().await;
    let told = raw(edge.http, sent).await;
    for line in expected {
        assert!(told.lines().any(|told| told == *line), "{line:?} is missing in\n{told}");
    }
}

#[tokio::test]
async fn the_word_of_a_trusted_proxy_is_carried_on() {
    let claims = format!("{ASK}X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\r\n");
    check(
        trusting(),
        &claims,
        &["x-forwarded-for: 6.6.6.6, 127.0.0.1", "x-forwarded-proto: https", "x-real-ip: 6.6.6.6"],
    )
    .await;
    check(Plan::default(), &claims, &["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"]).await;
    let both = Plan { forwarded: true, ..Plan::default() };
    check(both, &claims, &["forwarded: for=127.0.0.1;host=\"web.example\";proto=http"]).await;
}

#[tokio::test]
async fn a_balancer_says_who_the_client_is() {
    let plan = || Plan { proxy_protocol: true, ..trusting() };
    let first = format!("PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\r\n{ASK}\r\n");
    check(plan(), &first, &["x-forwarded-for: 192.0.2.7", "x-forwarded-port: 80"]).await;
    let edge = plan().start().await;
    assert_eq!(raw(edge.http, &format!("{ASK}\r\n")).await, "", "without its header a connection is nobody's");
    let untrusted = Plan { proxy_protocol: true, ..Plan::default() }.start().await;
    assert!(
        raw(untrusted.http, &first).await.starts_with("HTTP/1.1 400"),
        "who is not trusted cannot claim an address"
    );
}

#[tokio::test]
async fn each_request_leaves_a_line() {
    let folder = std::env::temp_dir().join(format!("ingress-access-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("access.log");
    let plan = Plan { access_log: Some(AccessLog::File(file.clone())), ..Plan::default() };
    let edge = plan.start().await;
    raw(edge.http, "POST /x?secret=1 HTTP/1.1\r\nHost: web.example\r\nUser-Agent: t\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc").await;
    raw(edge.http, "GET / HTTP/1.1\r\nHost: nobody.example\r\nConnection: close\r\n\r\n").await;
    edge.stop.send(()).expect("still running");
    timeout(PATIENCE, edge.task).await.expect("in time").expect("no panic").expect("a clean end");
    let text = std::fs::read_to_string(&file).expect("written");
    std::fs::remove_dir_all(&folder).expect("removed");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told = |line: &Value| {
        let members = [
            "client",
            "scheme",
            "version",
            "method",
            "host",
            "path",
            "status",
            "backend",
            "bytesIn",
            "bytesOut",
            "userAgent",
            "aborted",
        ];
        members.map(|member| line[member].to_string()).join(" ").replace('"', "")
    };
    assert_eq!(told(&lines[0]), "127.0.0.1 http 1.1 POST web.example /x 200 default/web:http 3 3 t null");
    assert!(told(&lines[1]).starts_with("127.0.0.1 http 1.1 GET nobody.example / 404 null 0 "), "{}", lines[1]);
    assert!(lines.len() == 2 && lines[0]["time"].is_string() && lines[0]["durationMs"].is_number(), "{text}");
}
