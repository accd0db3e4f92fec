//! Limits: what is too large, too much at once, or never ends.

use std::io::Write;
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::Door;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn what_is_too_large_is_refused_and_not_stored() {
    let door = Door::open().await;
    let admin = door.admin();
    let before = door.store.snapshot().revision();
    let large = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(3 << 20)}});
    assert_eq!(admin.post(CONFIG_MAPS, &large).await.refusal(), "413 Request entity too large: limit is 3145728");

    let mut squeezed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    squeezed.write_all(br#"{"metadata":{"name":"a"}}"#).expect("written");
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let gzipped = admin.ask(Method::POST, CONFIG_MAPS, &headers, squeezed.finish().expect("gzip")).await;
    assert_eq!(gzipped.code, 400, "what is compressed is not JSON: nobody unpacks it");

    let operations: Vec<_> =
        (0..10_001).map(|_| json!({"op": "test", "path": "/kind", "value": "ConfigMap"})).collect();
    admin.post(CONFIG_MAPS, &json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(1_000)}})).await;
    let path = format!("{CONFIG_MAPS}/a");
    let many = admin.patch("json-patch+json", &path, &json!(operations)).await;
    assert_eq!(many.refusal(), "413 The allowed maximum operations in a JSON patch is 10000, got 10001");
    // Each copy doubles what there is.
    let copies: Vec<_> =
        (0..64).map(|at| json!({"op": "copy", "from": "/data", "path": format!("/data/c{at}")})).collect();
    let doubled = admin.patch("json-patch+json", &path, &json!(copies)).await;
    assert_eq!(doubled.refusal(), "422 the server rejected our request due to an error in our request");
    assert_eq!(door.store.snapshot().revision().0, before.0 + 1, "but for the one that was made");
    door.close().await;
}

#[tokio::test]
async fn headers_have_an_end() {
    let door = Door::open().await;
    let mut stream = door.admin().connect("http/1.1").await;
    let line = format!("GET /version HTTP/1.1\r\nhost: localhost\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20));
    // The server may hang up before it has read it all.
    let _ = stream.write_all(line.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    door.close().await;
}

/// A node is one user among others: it may have as many requests under way as its share, and as many waiting as a queue takes.
#[tokio::test]
async fn who_asks_too_much_at_once_is_told_to_come_back_and_others_do_not_notice() {
    let door = Door::open().await;
    let (storm, quiet) =
        (door.client("system:node:storm", &[apiserver::NODES]), door.client("system:node:quiet", &[apiserver::NODES]));
    // Bodies that begin and do not end: each holds its seats until the server gives up on it.
    let mut held = Vec::new();
    for _ in 0..700 {
        let mut stream = storm.connect("http/1.1").await;
        let head = "POST /api/v1/namespaces/default/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 3000000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.expect("sent");
        held.push(stream);
        if held.len() < 600 {
            continue;
        }
        // The first are seated, the next wait; the last find no place even to wait.
        let stream = held.last_mut().expect("the last");
        let mut answer = vec![0; 4096];
        if let Ok(Ok(length)) = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut answer)).await {
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
            assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
            assert!(answer.ends_with("Too many requests, please try again later.\n"), "{answer}");
            assert_eq!(quiet.get("/api/v1/services").await.code, 200);
            assert_eq!(door.admin().get("/api/v1/services").await.code, 200);
            assert_eq!(storm.get("/readyz").await.code, 200);
            drop(held);
            // They are gone, and what they held is free.
            let freed = async {
                while storm.get("/api/v1/services").await.code != 200 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), freed).await.expect("the seats are free again");
            return door.close().await;
        }
    }
    panic!("nobody was refused");
}
