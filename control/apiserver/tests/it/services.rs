//! Addresses and ports of services: given when they are needed, given back when they are not.

use serde_json::{Value, json};

use crate::harness::{Client, Door};

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

async fn becomes(admin: &Client, name: &str, spec: Value) -> Value {
    let answer = admin.patch("merge-patch+json", &format!("{SERVICES}/{name}"), &json!({"spec": spec})).await;
    assert_eq!(answer.code, 200, "{}", answer.json());
    answer.json()["spec"].clone()
}

#[tokio::test]
async fn a_service_that_changes_its_type_takes_and_gives_back() {
    let door = Door::open().await;
    let admin = door.admin();
    let alias = json!({"type": "ExternalName", "externalName": "a.example", "ports": [{"port": 80}]});
    let alias = admin.post(SERVICES, &service("a", alias)).await.json();
    assert_eq!(alias["spec"].get("clusterIP"), None, "{alias}");

    let inside = becomes(&admin, "a", json!({"type": "ClusterIP", "externalName": null})).await;
    let address = inside["clusterIP"].as_str().expect("given").to_owned();
    assert!(address.starts_with("10.43.") && inside["clusterIPs"] == json!([address]), "{inside}");

    let outside = becomes(&admin, "a", json!({"type": "NodePort"})).await;
    let port = outside["ports"][0]["nodePort"].as_u64().expect("given");
    assert_eq!(outside["clusterIP"], address);
    let more = json!({"ports": [{"name": "one", "port": 80, "nodePort": port}, {"name": "two", "port": 81}]});
    let more = becomes(&admin, "a", more).await;
    assert_eq!(more["ports"][0]["nodePort"], port);
    assert!(more["ports"][1]["nodePort"].as_u64().is_some_and(|other| other != port), "{more}");

    let wanted = service("b", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}));
    let refused = admin.post(SERVICES, &wanted).await.refusal();
    assert_eq!(
        refused,
        format!(
            r#"422 Service "b" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"#
        )
    );
    let back = becomes(&admin, "a", json!({"type": "ClusterIP"})).await;
    assert_eq!((back["ports"][0].get("nodePort"), &back["clusterIP"]), (None, &json!(address)));
    assert_eq!(admin.post(SERVICES, &wanted).await.code, 201, "the port is free again");

    let gone = becomes(&admin, "a", json!({"type": "ExternalName", "externalName": "a.example"})).await;
    assert_eq!((gone.get("clusterIP"), gone.get("ipFamilies")), (None, None));
    let heir = json!({"clusterIP": address, "ports": [{"port": 80}]});
    assert_eq!(admin.post(SERVICES, &service("c", heir)).await.code, 201, "the address is free again");
    door.close().await;
}
