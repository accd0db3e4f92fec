use serde_json::json;

use super::*;

fn patched(message: &str, live: Value, patch: &Value) -> Result<Value, StatusError> {
    super::super::strategic_of(schema::message(message), live, patch)
}

fn check(message: &str, live: Value, patch: Value, expect: Value) {
    assert_eq!(patched(message, live, &patch), Ok(expect));
}

const POD: &str = "api.core.v1.PodSpec";

#[test]
fn items_merge_by_their_key() {
    check(
        POD,
        json!({"containers": [{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "b:1"}]}),
        json!({"containers": [{"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}]}, {"name": "c", "image": "c:1"}]}),
        json!({"containers": [{"name": "a", "image": "a:2", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}]}),
    );
}

#[test]
fn lists_without_a_key_are_replaced() {
    check(
        POD,
        json!({"tolerations": [{"key": "a"}], "containers": [{"name": "a", "args": ["1"]}]}),
        json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["2"]}]}),
        json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["2"]}]}),
    );
}

#[test]
fn null_removes_and_nested_nulls_never_arrive() {
    check(
        POD,
        json!({"hostname": "a", "nodeSelector": {"x": "1", "y": "2"}}),
        json!({"hostname": null, "nodeSelector": {"x": null}, "securityContext": {"runAsUser": null, "fsGroup": 1}}),
        json!({"nodeSelector": {"y": "2"}, "securityContext": {"fsGroup": 1}}),
    );
}

#[test]
fn an_item_is_deleted_by_its_key() {
    check(
        POD,
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"$patch": "delete", "name": "a"}]}),
        json!({"containers": [{"name": "b"}]}),
    );
    check(
        "api.core.v1.ServiceSpec",
        json!({"ports": [{"port": 80}, {"port": 81}]}),
        json!({"ports": [{"$patch": "delete", "port": 80}]}),
        json!({"ports": [{"port": 81}]}),
    );
}

#[test]
fn a_directive_replaces_a_list_or_an_object() {
    check(
        POD,
        json!({"containers": [{"name": "a"}]}),
        json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
        json!({"containers": [{"name": "c"}]}),
    );
    check(
        "api.core.v1.PodTemplateSpec",
        json!({"metadata": {"labels": {"a": "1"}}, "spec": {"hostname": "h"}}),
        json!({"metadata": {"labels": {"b": "2"}}, "$patch": "replace"}),
        json!({"metadata": {"labels": {"b": "2"}}}),
    );
    check(
        "api.core.v1.PodTemplateSpec",
        json!({"spec": {"hostname": "h"}}),
        json!({"spec": {"$patch": "delete"}}),
        json!({"spec": {}}),
    );
}

#[test]
fn only_kept_members_stay() {
    check(
        "api.apps.v1.DeploymentSpec",
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
        json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
        json!({"strategy": {"type": "Recreate"}}),
    );
    let refused = patched(
        "api.apps.v1.DeploymentSpec",
        json!({}),
        &json!({"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}),
    );
    assert_eq!(refused.map_err(|refused| refused.code()), Err(400));
}

#[test]
fn plain_lists_unite_and_lose_what_is_deleted() {
    const META: &str = "apimachinery.pkg.apis.meta.v1.ObjectMeta";
    check(
        META,
        json!({"finalizers": ["a", "b"]}),
        json!({"finalizers": ["b", "c"]}),
        json!({"finalizers": ["a", "b", "c"]}),
    );
    check(
        META,
        json!({"finalizers": ["a", "b"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["a"]}),
        json!({"finalizers": ["b"]}),
    );
    check(
        META,
        json!({"finalizers": ["a", "b", "x"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]}),
        json!({"finalizers": ["c", "b", "x"]}),
    );
}

#[test]
fn an_order_is_followed_and_what_it_leaves_out_keeps_its_place() {
    let names = |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
    check(
        POD,
        json!({"containers": names(&["a", "side", "b"])}),
        json!({"$setElementOrder/containers": names(&["b", "a", "c"]), "containers": names(&["c"])}),
        json!({"containers": names(&["side", "b", "a", "c"])}),
    );
    check(
        POD,
        json!({"containers": names(&["a", "b"])}),
        json!({"$setElementOrder/containers": names(&["b", "a"])}),
        json!({"containers": names(&["b", "a"])}),
    );
    let stray = json!({"$setElementOrder/containers": names(&["a"]), "containers": names(&["z"])});
    assert_eq!(patched(POD, json!({}), &stray).map_err(|refused| refused.code()), Err(400));
}

#[test]
fn an_item_without_its_key_is_refused() {
    let refused = patched(POD, json!({}), &json!({"containers": [{"image": "x"}]})).expect_err("no name");
    assert_eq!(refused.message, "map: map[image:x] does not contain declared merge key: name");
}

mod property {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Containers = Vec<(String, String, BTreeMap<String, String>)>;

    fn containers() -> impl Strategy<Value = Containers> {
        let env = proptest::collection::btree_map("[A-C]", "[0-2]", 0..3);
        let one = ("[1-3]", env);
        let named = proptest::collection::btree_map("[a-e]", one, 0..5);
        let listed =
            named.prop_map(|all| all.into_iter().map(|(name, (image, env))| (name, image, env)).collect::<Vec<_>>());
        listed.prop_shuffle()
    }

    fn spec(containers: &Containers) -> Value {
        let one = |(name, image, env): &(String, String, BTreeMap<String, String>)| {
            let env: Vec<Value> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            json!({"name": name, "image": image, "env": env})
        };
        json!({"containers": containers.iter().map(one).collect::<Vec<_>>()})
    }

    fn named<'a>(list: &'a Value, name: &Value) -> Option<&'a Value> {
        list.as_array()?.iter().find(|one| one["name"] == *name)
    }

    /// What kubectl would send to turn one list of named objects into another.
    fn difference(live: &Value, target: &Value, field: &str) -> Members {
        let items = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let mut patch = Vec::new();
        for item in items(target) {
            match named(live, &item["name"]) {
                Some(before) if *before == item => {}
                Some(before) => {
                    let mut change = json!({"name": item["name"]});
                    for (member, value) in item.as_object().into_iter().flatten() {
                        if member == "env" {
                            let inner = difference(&before["env"], value, "env");
                            change.as_object_mut().expect("an object").extend(inner);
                        } else if before.get(member) != Some(value) {
                            change[member] = value.clone();
                        }
                    }
                    patch.push(change);
                }
                None => patch.push(item),
            }
        }
        let gone = items(live).into_iter().filter(|item| named(target, &item["name"]).is_none());
        patch.extend(gone.map(|item| json!({"$patch": "delete", "name": item["name"]})));
        let order: Vec<Value> = items(target).iter().map(|item| json!({"name": item["name"]})).collect();
        let mut members = Members::new();
        members.insert(field.into(), patch.into());
        members.insert(format!("$setElementOrder/{field}"), order.into());
        members
    }

    proptest! {
        #[test]
        fn the_patch_of_a_difference_leads_to_the_target(live in containers(), target in containers()) {
            let (live, target) = (spec(&live), spec(&target));
            let patch = Value::Object(difference(&live["containers"], &target["containers"], "containers"));
            prop_assert_eq!(patched(POD, live, &patch), Ok(target));
        }
    }
}
