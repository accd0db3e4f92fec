//! The image registry, as its clients use it.

use http::Method;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::Door;

#[tokio::test]
async fn an_image_is_pushed_and_pulled() {
    let door = Door::open().await;
    let admin = door.admin();
    let blob = b"\0asm component".to_vec();
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&blob)));

    assert_eq!(admin.get("/v2/").await.code, 200);
    let missing = admin.ask(Method::HEAD, &format!("/v2/hello/blobs/{digest}"), &[], "").await;
    assert_eq!(missing.code, 404);
    let begun = admin.ask(Method::POST, "/v2/hello/blobs/uploads/", &[], "").await;
    assert_eq!(begun.code, 202);
    let location = begun.headers["location"].to_str().expect("text").to_owned();
    let sent = admin.ask(Method::PATCH, &location, &[("content-range", "0-5")], blob[..6].to_vec()).await;
    assert_eq!((sent.code.as_u16(), &sent.headers["range"]), (202, &"0-5".parse().expect("a header")));
    let done = admin.ask(Method::PUT, &format!("{location}?digest={digest}"), &[], blob[6..].to_vec()).await;
    assert_eq!(done.code, 201, "{}", String::from_utf8_lossy(&done.bytes));

    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "layers": [{"mediaType": "application/wasm", "digest": digest, "size": blob.len()}],
    });
    let media = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
    let put = admin.ask(Method::PUT, "/v2/hello/manifests/v1", &media, manifest.to_string()).await;
    assert_eq!(put.code, 201, "{}", String::from_utf8_lossy(&put.bytes));

    let node = door.client("system:node:n1", &[apiserver::NODES]);
    let pulled = node.get("/v2/hello/manifests/v1").await;
    assert_eq!(
        (pulled.json(), &pulled.headers["docker-content-digest"]),
        (manifest, &put.headers["docker-content-digest"])
    );
    assert_eq!(node.get(&format!("/v2/hello/blobs/{digest}")).await.bytes, blob);
    let part = node.ask(Method::GET, &format!("/v2/hello/blobs/{digest}"), &[("range", "bytes=1-3")], "").await;
    assert_eq!((part.code.as_u16(), &part.bytes[..]), (206, &b"asm"[..]));
    assert_eq!(node.get("/v2/hello/tags/list").await.json()["tags"], json!(["v1"]));
    assert_eq!(node.get("/v2/_catalog").await.json()["repositories"], json!(["hello"]));

    let denied = node.ask(Method::POST, "/v2/hello/blobs/uploads/", &[], "").await;
    assert_eq!((denied.code.as_u16(), &denied.json()["errors"][0]["code"]), (403, &json!("DENIED")));
    let eve = door.client("eve", &[]);
    assert_eq!(eve.get("/v2/").await.code, 200);
    assert_eq!(eve.get("/v2/hello/manifests/v1").await.code, 403);
    let puller = json!({
        "metadata": {"name": "eve-pulls"}, "subjects": [{"kind": "User", "name": "eve"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "coracle:image-puller"},
    });
    assert_eq!(admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &puller).await.code, 201);
    assert_eq!(eve.get("/v2/hello/manifests/v1").await.code, 200);
    assert_eq!(eve.ask(Method::POST, "/v2/hello/blobs/uploads/", &[], "").await.code, 403);
    let wrong = admin.ask(Method::POST, &format!("/v2/hello/blobs/uploads/?digest={digest}"), &[], "other").await;
    assert_eq!(wrong.json()["errors"][0]["code"], "DIGEST_INVALID");
    door.close().await;
}
