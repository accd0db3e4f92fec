use api::kinds;
use serde_json::json;

use super::*;
use crate::notation::{check, object, owner};

fn dependent() -> Object {
    object(kinds::CONFIG_MAP, "default/c", json!({"metadata": {"ownerReferences": owner("Deployment", "web")}}))
}

fn ending(finalizer: &str) -> Object {
    let metadata = json!({"deletionTimestamp": "2026-11-21T11:59:00Z", "finalizers": [finalizer]});
    object(kinds::DEPLOYMENT, "default/web", json!({"metadata": metadata}))
}

fn expect(objects: &[Object], of: &Object, told: &[&str]) {
    check(&GarbageCollection, objects, of.key(), &["/metadata/ownerReferences", "/metadata/finalizers"], told);
}

#[test]
fn what_nobody_owns_any_more_goes() {
    let references = owner("Deployment", "web").to_string();
    expect(&[dependent()], &dependent(), &[&format!("-ConfigMap c {references}")]);
}

#[test]
fn in_the_foreground_dependents_go_first() {
    let references = owner("Deployment", "web").to_string();
    let owner = ending(FOREGROUND);
    expect(&[owner.clone(), dependent()], &owner, &[&format!("-ConfigMap c {references}")]);
    expect(std::slice::from_ref(&owner), &owner, &["-Deployment web [\"foregroundDeletion\"]"]);
}

#[test]
fn orphans_are_set_free_before_the_owner_goes() {
    let owner = ending(ORPHAN);
    expect(&[owner.clone(), dependent()], &owner, &["~ConfigMap c"]);
    expect(std::slice::from_ref(&owner), &owner, &["-Deployment web [\"orphan\"]"]);
}
