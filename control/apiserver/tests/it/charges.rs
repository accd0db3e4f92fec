//! What many who ask at once cost the quotas of their namespace.

use serde_json::json;

use crate::harness::Door;

const AT_ONCE: usize = 300;
const FEW: usize = 250;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_get_through_as_there_is_room_for() {
    let door = Door::open().await;
    let admin = door.admin();
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let hard = json!({"count/configmaps": FEW.to_string()});
    let quota =
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": hard}});
    assert_eq!(admin.post(quotas, &quota).await.code, 201);
    let counted = json!({"status": {"hard": hard, "used": {"count/configmaps": "0"}}});
    let path = format!("{quotas}/few");
    assert_eq!(admin.patch("merge-patch+json", &format!("{path}/status"), &counted).await.code, 200);
    let asks: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let admin = admin.clone();
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{number}")}});
            tokio::spawn(async move { admin.post("/api/v1/namespaces/default/configmaps", &map).await.code.as_u16() })
        })
        .collect();
    let mut codes = Vec::new();
    for ask in asks {
        codes.push(ask.await.expect("an answer"));
    }
    let count = |code: u16| codes.iter().filter(|one| **one == code).count();
    assert_eq!((count(201), count(403)), (FEW, AT_ONCE - FEW), "{codes:?}");
    let used = admin.get(&path).await.json()["status"]["used"]["count/configmaps"].clone();
    assert_eq!(used, FEW.to_string());
    door.close().await;
}
