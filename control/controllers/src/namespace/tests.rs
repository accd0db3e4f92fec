use serde_json::json;

use super::*;
use crate::notation::{check, object};

fn ending() -> Object {
    let metadata = json!({"deletionTimestamp": "2026-11-21T11:59:00Z"});
    object(kinds::NAMESPACE, "shop", json!({"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}}))
}

#[test]
fn a_namespace_begins_with_an_account() {
    let shop = object(kinds::NAMESPACE, "shop", json!({"status": {"phase": "Active"}}));
    check(&Namespaces, std::slice::from_ref(&shop), shop.key(), &[], &["+ServiceAccount default"]);
}

#[test]
fn a_namespace_ends_after_its_content() {
    let content = object(kinds::CONFIG_MAP, "shop/c", json!({}));
    let told = ["-ConfigMap c", "~Namespace shop \"Terminating\""];
    check(&Namespaces, &[ending(), content], ending().key(), &["/status/phase"], &told);
    check(&Namespaces, &[ending()], ending().key(), &["/status/phase"], &["-Namespace shop"]);
}

#[test]
fn what_keeps_a_namespace_is_told() {
    let held = |name| object(kinds::CONFIG_MAP, name, json!({"metadata": {"finalizers": ["me/hold"]}}));
    let show = ["/status/conditions/3/message", "/status/conditions/4/message"];
    let told = [
        "~ConfigMap a",
        "~ConfigMap b",
        "~Namespace shop \"Some resources are remaining: configmaps. has 2 resource instances\" \"Some content in the namespace has finalizers remaining: me/hold in 2 resource instances\"",
    ];
    check(&Namespaces, &[ending(), held("shop/a"), held("shop/b")], ending().key(), &show, &told);
}
