use serde_json::{Value, json};

use super::*;
use crate::notation::{check, object};

fn definition(plural: &str, kind: &str, rest: Value) -> Object {
    let names =
        json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")});
    let mut value = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"creationTimestamp": "2026-11-21T11:00:00Z"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": []},
    });
    for (name, members) in rest.as_object().into_iter().flatten() {
        for (member, other) in members.as_object().into_iter().flatten() {
            value[name.as_str()][member.as_str()] = other.clone();
        }
    }
    object(DEFINITION, &format!("{plural}.example.com"), value)
}

fn conditions(objects: &[Object], told: &[&str]) {
    let show = ["/status/conditions/0/reason", "/status/conditions/1/status", "/status/acceptedNames/plural"];
    check(&Definitions, objects, objects[0].key(), &show, told);
}

#[test]
fn names_that_nobody_has_are_accepted() {
    conditions(
        &[definition("things", "Thing", json!({}))],
        &[r#"~CustomResourceDefinition things.example.com "NoConflicts" "True" "things""#],
    );
}

#[test]
fn the_elder_one_gets_a_name_and_the_accepted_one_keeps_it() {
    let elder = definition("others", "Thing", json!({"metadata": {"creationTimestamp": "2026-11-21T10:00:00Z"}}));
    conditions(
        &[definition("things", "Thing", json!({})), elder.clone()],
        &[r#"~CustomResourceDefinition things.example.com "SingularConflict" "False" "things""#],
    );
    let accepted = json!({"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"});
    let younger = definition("things", "Thing", json!({"status": {"acceptedNames": accepted}}));
    conditions(
        &[elder, younger],
        &[r#"~CustomResourceDefinition others.example.com "SingularConflict" "False" "others""#],
    );
}

#[test]
fn nobody_teaches_what_the_program_knows() {
    let mut own = definition("ingresses", "Ingress", json!({})).to_value().expect("a tree");
    own["spec"]["group"] = "networking.k8s.io".into();
    own["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
    let own = object(DEFINITION, "ingresses.networking.k8s.io", own);
    conditions(std::slice::from_ref(&own), &[r#"~CustomResourceDefinition ingresses.networking.k8s.io "False" """#]);
    assert_eq!(teaches(&own), None);
}

#[test]
fn a_definition_goes_after_the_last_object_of_its_kind() {
    let established = json!([{"type": "Established", "status": "True"}]);
    let leaving = json!({"deletionTimestamp": "2026-11-21T11:59:00Z", "finalizers": [CLEANUP]});
    let ends = definition("things", "Thing", json!({"metadata": leaving, "status": {"conditions": established}}));
    let kind = GroupKind::interned("example.com", "Thing");
    let (free, held) = (
        object(kind, "shop/free", json!({})),
        object(kind, "shop/held", json!({"metadata": {"finalizers": ["mine"]}})),
    );
    let left = check(
        &Definitions,
        &[ends.clone(), free, held],
        ends.key(),
        &["/metadata/deletionTimestamp", "/status/conditions/1/reason"],
        &[
            "-Thing free",
            r#"~CustomResourceDefinition things.example.com "2026-11-21T11:59:00Z" "InstanceDeletionInProgress""#,
            r#"~Thing held "2026-11-21T12:00:00Z""#,
        ],
    );
    assert!(left.get(ends.key()).is_some());
    let told = ["-CustomResourceDefinition things.example.com"];
    check(&Definitions, std::slice::from_ref(&ends), ends.key(), &[], &told);
}
