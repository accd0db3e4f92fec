use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Admission, Admitted, FieldValidation, GroupKind, Kind, Object, Operation, Revision, StatusError, kinds};

fn definition(versions: Value) -> Object {
    let value = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "versions": versions,
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}, {"type": "NamesAccepted", "status": "True"}]},
    });
    Object::from_value(kinds::CUSTOM_RESOURCE_DEFINITION, &value).expect("an object")
}

fn version(name: &str, storage: bool) -> Value {
    let item = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "value": {"type": "string", "default": "x"}}});
    let spec = json!({"type": "object", "properties": {
        "size": {"type": "integer", "default": 3},
        "note": {"type": "string", "nullable": true},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": item},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    }});
    json!({
        "name": name, "served": true, "storage": storage, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
    })
}

fn all(versions: Value, revision: u64) -> Kinds {
    Kinds::default().after(std::iter::once(&definition(versions).at(Revision(revision))))
}

fn admit(kind: &dyn Kind, value: Value, operation: Operation<'_>) -> Result<Admitted, StatusError> {
    let now = "2026-11-21T05:13:14Z".parse().expect("a time");
    let admission = Admission { operation, namespace: "shop", validation: FieldValidation::Warn, duplicates: &[], now };
    kind.admit(value, &admission)
}

fn create(kind: &dyn Kind, spec: Value) -> Result<Admitted, StatusError> {
    let value = json!({"metadata": {"name": "one"}, "spec": spec, "status": {"mine": false}});
    admit(kind, value, Operation::Create { uid: "u-1", seed: 1 })
}

#[test]
fn a_kind_is_served_while_it_is_established_and_made_anew_when_its_definition_changes() {
    let one = all(json!([version("v1", true)]), 5);
    let kind = one.by_resource("example.com", "v1", "things").expect("served");
    assert_eq!((kind.group_kind(), &*kind.list_kind()), (GroupKind::new("example.com", "Thing"), "ThingList"));
    let same = one.after(std::iter::once(&definition(json!([version("v1", true)])).at(Revision(9))));
    let again = same.by_resource("example.com", "v1", "things").expect("served");
    assert!(std::ptr::addr_eq(&raw const **kind, &raw const **again), "what says the same is not made anew");
    let both = same
        .after(std::iter::once(&definition(json!([version("v1beta1", true), version("v1", false)])).at(Revision(10))));
    let preferred = both.by_kind(GroupKind::new("example.com", "Thing")).expect("served");
    assert_eq!(preferred.names().version, "v1");
    assert!(both.after(std::iter::empty()).by_resource("example.com", "v1", "things").is_none());
}

#[test]
fn the_generation_counts_what_is_wanted_and_the_status_is_a_part_of_its_own() {
    let kinds = all(json!([version("v1", true)]), 1);
    let kind = kinds.by_resource("example.com", "v1", "things").expect("served");
    let made = create(&**kind, json!({"size": 1, "odd": true})).expect("valid");
    assert_eq!(made.warnings, ["unknown field \"spec.odd\""]);
    let object = made.object.at(Revision(2));
    let mut tree = object.to_value().expect("a tree");
    assert_eq!((&tree["spec"], tree.get("status")), (&json!({"size": 1}), None));
    tree["status"] = json!({"ready": true});
    let status = admit(&**kind, tree.clone(), Operation::UpdateStatus { old: &object }).expect("valid").object;
    assert_eq!(status.meta().generation, 1);
    let status = status.at(Revision(3));
    tree["spec"]["size"] = 2.into();
    tree["status"] = Value::Null;
    let changed = admit(&**kind, tree, Operation::Update { old: &status }).expect("valid").object;
    assert_eq!(changed.meta().generation, 2);
    assert_eq!(changed.to_value().expect("a tree")["status"], json!({"ready": true}));
}

#[test]
fn every_version_says_the_same_in_its_own_name() {
    let kinds = all(json!([version("v1beta1", true), version("v1", false)]), 1);
    let kind = |version: &str| kinds.by_resource("example.com", version, "things").expect("served").clone();
    let stored = create(&*kind("v1"), json!({})).expect("valid").object.at(Revision(2));
    assert!(stored.is_in_version("example.com/v1beta1"));
    for version in ["v1", "v1beta1"] {
        let shown = kind(version).shown(&stored).into_owned();
        assert!(shown.is_in_version(&format!("example.com/{version}")));
        assert_eq!((shown.revision(), shown.key()), (stored.revision(), stored.key()));
        assert_eq!(shown.to_value().expect("a tree")["metadata"]["resourceVersion"], "2");
    }
}

#[test]
fn what_was_stored_before_the_schema_changed_is_read_by_it() {
    let old = create(
        &**all(json!([version("v1", true)]), 1).by_resource("example.com", "v1", "things").expect("served"),
        json!({"note": "kept"}),
    );
    let old = old.expect("valid").object.at(Revision(2));
    let mut newer = version("v1", true);
    let properties = &mut newer["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    properties["size"] = Value::Null;
    properties.as_object_mut().map(|properties| properties.remove("size"));
    properties["color"] = json!({"type": "string", "default": "red"});
    let kinds = all(json!([newer]), 7);
    let kind = kinds.by_resource("example.com", "v1", "things").expect("served");
    assert_eq!(kind.shown(&old).to_value().expect("a tree")["spec"], json!({"note": "kept", "color": "red"}));
}

/// Anything that could be written into a custom resource.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-5_i64..5).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    let names = prop_oneof![
        Just("size"),
        Just("note"),
        Just("list"),
        Just("any"),
        Just("labels"),
        Just("name"),
        Just("value"),
        Just("odd")
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(names.clone().prop_map(String::from), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn admission_again_changes_nothing(spec in values()) {
        let kinds = all(json!([version("v1", true)]), 1);
        let kind = kinds.by_resource("example.com", "v1", "things").expect("served");
        if let Ok(Admitted { object, .. }) = create(&**kind, spec) {
            let object = object.at(Revision(2));
            let again = admit(&**kind, object.to_value().expect("a tree"), Operation::Update { old: &object }).expect("still valid");
            prop_assert_eq!(again.object.body(), object.body());
            prop_assert!(again.warnings.is_empty(), "{:?}", again.warnings);
            kind.cells(&object, jiff::Timestamp::UNIX_EPOCH);
        }
    }
}
