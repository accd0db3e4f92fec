//! The engine by examples: what sets say, who is in whose way, what goes and what stays.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{StatusError, catalog};

fn shape(kind: &str) -> Shape<'static> {
    let (version, plural, group) = match kind {
        "ConfigMap" => ("v1", "configmaps", ""),
        "Service" => ("v1", "services", ""),
        "Pod" => ("v1", "pods", ""),
        _ => ("v1", "deployments", "apps"),
    };
    Shape::of(catalog::by_resource(group, version, plural).expect("in the catalog").names())
}

fn who(manager: &str) -> Who<'_> {
    Who { manager, api_version: "apps/v1", subresource: "" }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn applied(live: Option<&Applied>, manager: &str, config: &Value, force: bool) -> Result<Applied, StatusError> {
    let (object, managed) = match live {
        Some(live) => (Some(&live.object), live.managed.clone()),
        None => (None, Managed::default()),
    };
    apply(shape("Deployment"), object, managed, config.clone(), who(manager), force, at(1))
        .map_err(|refused| refused.into_status("shop/web; apps/v1, Kind=Deployment"))
}

fn updated(live: &Applied, manager: &str, change: impl FnOnce(&mut Value)) -> Applied {
    let mut object = live.object.clone();
    change(&mut object);
    let managed = update(shape("Deployment"), &live.object, &object, live.managed.clone(), who(manager), at(1));
    Applied { object, managed }
}

fn fields(applied: &Applied, manager: &str) -> Vec<String> {
    let entries = applied.managed.entries().iter().filter(|entry| entry.manager == manager);
    entries.flat_map(|entry| entry.fields.paths()).collect()
}

fn web(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

fn container(name: &str, more: Value) -> Value {
    let mut container = json!({"name": name});
    for (name, value) in more.as_object().into_iter().flatten() {
        container[name] = value.clone();
    }
    web(json!({"template": {"spec": {"containers": [container]}}}))
}

#[test]
fn a_set_says_what_is_wanted_and_nothing_that_is_the_servers() {
    let check = |kind: &str, config: Value, expect: Value| {
        let made = apply(shape(kind), None, Managed::default(), config, who("me"), false, at(1)).expect("no conflict");
        let fields = made.managed.entries().iter().map(|entry| entry.fields.to_value()).next();
        assert_eq!(fields.unwrap_or_default(), expect);
    };
    check(
        "Deployment",
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "uid": "1", "labels": {"a": "1"}, "finalizers": ["x/y"],
                "ownerReferences": [{"uid": "7", "kind": "A", "name": "a", "apiVersion": "v1"}]},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "1"}}, "strategy": {},
                "template": {"spec": {"nodeSelector": {"disk": "ssd"}, "containers": [
                    {"name": "main", "args": ["a"], "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": 1}}}]}}}}),
        json!({
            "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x/y\"": {}}, "f:ownerReferences": {"k:{\"uid\":\"7\"}": {}}},
            "f:spec": {"f:replicas": {}, "f:selector": {}, "f:strategy": {}, "f:template": {"f:spec": {
                "f:nodeSelector": {},
                "f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:name": {}, "f:args": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                    "f:resources": {"f:limits": {"f:cpu": {}}}}},
            }}},
        }),
    );
    check("ConfigMap", json!({"kind": "ConfigMap", "metadata": {"name": "c", "annotations": null}}), Value::Null);
    check("Service", json!({"spec": {"selector": {"a": "b"}}}), json!({"f:spec": {"f:selector": {}}}));
}

#[test]
fn what_is_made_otherwise_is_managed_with_all_there_is() {
    let nothing = json!({});
    let map = json!({"metadata": {"name": "c", "labels": {"a": "1"}}, "data": {"k": "v"}});
    let managed = update(shape("ConfigMap"), &nothing, &map, Managed::default(), who("curl"), at(1));
    let mut object = map;
    managed.put(&mut object);
    let expect = json!([{"manager": "curl", "operation": "Update", "apiVersion": "apps/v1", "time": "1970-01-01T00:00:01Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:labels": {".": {}, "f:a": {}}}}}]);
    assert_eq!(object["metadata"]["managedFields"], expect);
    assert_eq!(Managed::of(&object), managed);
}

#[test]
fn what_does_not_fit_the_schema_is_refused_with_its_path() {
    let check = |config: Value, expect: &str| {
        let refused = applied(None, "me", &config, true).expect_err("it does not fit");
        let told = format!("failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): {expect}");
        assert_eq!((refused.code(), refused.message), (500, told));
    };
    check(web(json!({"replica": 1})), ".spec.replica: field not declared in schema");
    check(web(json!({"template": []})), ".spec.template: expected map, got list");
    check(
        web(json!({"template": {"spec": {"containers": [{"image": "a"}]}}})),
        ".spec.template.spec.containers[0]: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)",
    );
    check(
        web(json!({"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}})),
        ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]",
    );
}

#[test]
fn a_conflict_names_who_and_where() {
    let live = applied(None, "first", &web(json!({"replicas": 1, "paused": true})), false).expect("new");
    let refused = applied(Some(&live), "second", &web(json!({"replicas": 2})), false).expect_err("a conflict");
    assert_eq!(
        (refused.code(), refused.message.as_str()),
        (409, "Apply failed with 1 conflict: conflict with \"first\": .spec.replicas")
    );
    let causes = refused.details.expect("details").causes;
    assert_eq!(
        json!(causes),
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"first\"", "field": ".spec.replicas"}])
    );

    let live = updated(&live, "kubectl-edit", |object| object["spec"]["replicas"] = 3.into());
    let both = web(json!({"replicas": 2, "paused": false}));
    let refused = applied(Some(&live), "second", &both, false).expect_err("conflicts");
    assert_eq!(
        refused.message,
        "Apply failed with 2 conflicts: conflicts with \"first\":\n- .spec.paused\nconflicts with \"kubectl-edit\" using apps/v1:\n- .spec.replicas"
    );
    let taken = applied(Some(&live), "second", &both, true).expect("by force");
    assert_eq!(fields(&taken, "second"), [".spec.paused", ".spec.replicas"]);
    assert_eq!(taken.managed.entries().len(), 1, "who manages nothing is no manager: {:?}", taken.managed);
    assert_eq!(taken.object["spec"], json!({"paused": false, "replicas": 2}));
}

#[test]
fn who_wants_the_same_shares_it() {
    let live = applied(None, "first", &web(json!({"replicas": 1})), false).expect("new");
    let shared = applied(Some(&live), "second", &web(json!({"replicas": 1})), false).expect("the same value");
    assert_eq!(
        (fields(&shared, "first"), fields(&shared, "second")),
        (vec![".spec.replicas".into()], vec![".spec.replicas".into()])
    );
    let left = applied(Some(&shared), "first", &web(json!({"paused": true})), false).expect("given up");
    assert_eq!(left.object["spec"], json!({"paused": true, "replicas": 1}));
    let gone = applied(Some(&left), "second", &web(json!({"minReadySeconds": 1})), false).expect("given up too");
    assert_eq!(gone.object["spec"], json!({"paused": true, "minReadySeconds": 1}));
}

#[test]
fn what_is_no_longer_wanted_goes_unless_another_wants_it() {
    let ports = json!({"image": "i", "ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 81}]});
    let live = applied(None, "first", &container("main", ports), false).expect("new");
    // Defaults that nobody manages go with the item they are in.
    let mut live = live;
    live.object["spec"]["template"]["spec"]["containers"][0]["ports"][1]["protocol"] = "TCP".into();
    let less = container("main", json!({"image": "i", "ports": [{"containerPort": 80}]}));
    let left = applied(Some(&live), "first", &less, false).expect("no conflict");
    assert_eq!(left.object["spec"]["template"]["spec"]["containers"][0]["ports"], json!([{"containerPort": 80}]));

    let two = web(json!({"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}));
    let both = applied(Some(&left), "second", &two, false).expect("another container");
    let gone = applied(Some(&both), "first", &web(json!({"replicas": 1})), false).expect("no conflict");
    assert_eq!(gone.object["spec"]["template"]["spec"]["containers"], json!([{"name": "side", "image": "s"}]));

    // Somebody else manages something in the item: it stays, with what names it.
    let shared = updated(&live, "editor", |object| {
        object["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
    });
    let left = applied(Some(&shared), "first", &web(json!({"replicas": 1})), false).expect("no conflict");
    assert_eq!(
        left.object["spec"]["template"]["spec"]["containers"],
        json!([{"name": "main", "env": [{"name": "A", "value": "1"}]}])
    );
}

#[test]
fn labels_go_one_by_one_and_their_map_with_the_last() {
    let labelled = |labels: Value| json!({"metadata": {"name": "web", "labels": labels}});
    let live = applied(None, "first", &labelled(json!({"a": "1", "b": "2"})), false).expect("new");
    let less = applied(Some(&live), "first", &labelled(json!({"b": "2"})), false).expect("less");
    assert_eq!(less.object["metadata"], json!({"name": "web", "labels": {"b": "2"}}));
    let none = applied(Some(&less), "first", &json!({"metadata": {"name": "web"}}), false).expect("none");
    assert_eq!(none.object["metadata"], json!({"name": "web"}));
    assert!(none.managed.is_empty());
}

#[test]
fn an_update_takes_what_it_changes_and_frees_what_it_removes() {
    let live = applied(None, "first", &web(json!({"replicas": 1, "paused": true})), false).expect("new");
    let changed = updated(&live, "second", |object| object["spec"] = json!({"replicas": 2}));
    assert!(fields(&changed, "first").is_empty());
    assert_eq!(fields(&changed, "second"), [".spec.replicas"]);
    let same = updated(&changed, "third", |_| {});
    assert_eq!(same, changed);
    let owned = update(
        shape("Deployment"),
        &changed.object,
        &json!({"spec": {"replicas": 2}, "metadata": {"name": "web"}, "status": {"replicas": 2}}),
        changed.managed,
        Who { subresource: "status", ..who("second") },
        at(2),
    );
    let told: Vec<_> = owned.entries().iter().map(|entry| (entry.subresource.as_str(), entry.fields.paths())).collect();
    assert_eq!(told, [("", vec![".spec.replicas".into()]), ("status", vec![".status.replicas".to_owned()])]);
}

#[test]
fn what_was_there_before_the_first_apply_has_a_manager() {
    let live = Applied { object: web(json!({"replicas": 1})), managed: Managed::default() };
    let refused = applied(Some(&live), "me", &web(json!({"replicas": 2})), false).expect_err("a conflict");
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn kubectl_takes_over_from_its_older_self() {
    let last = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": {}},
        "spec": {"replicas": 1, "paused": true}});
    let mut object = last.clone();
    object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last.to_string()});
    let nothing = json!({});
    let managed =
        update(shape("Deployment"), &nothing, &object, Managed::default(), who("kubectl-client-side-apply"), at(1));
    let live = Applied { object, managed };
    let taken = applied(Some(&live), "kubectl", &web(json!({"replicas": 2})), false).expect("its own fields");
    assert_eq!(taken.object["spec"]["replicas"], 2);
    let noted = taken.object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str();
    assert!(noted.is_some_and(|noted| noted.contains("\"replicas\":2") && noted.ends_with("}\n")), "{noted:?}");
    let scaled = updated(&live, "kubectl-scale", |object| object["spec"]["replicas"] = 5.into());
    let refused = applied(Some(&scaled), "kubectl", &web(json!({"replicas": 2})), false).expect_err("somebody scaled");
    assert!(refused.message.ends_with("conflict with \"kubectl-scale\" using apps/v1: .spec.replicas"));
    applied(Some(&live), "ci", &web(json!({"replicas": 2})), false).expect_err("only kubectl may");
}

#[test]
fn items_keep_their_places() {
    let names = |applied: &Applied| -> String {
        let items = applied.object["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["name"].as_str()).collect()
    };
    let of = |names: &str| {
        let items: Vec<Value> = names.chars().map(|name| json!({"name": name.to_string()})).collect();
        web(json!({"template": {"spec": {"containers": items}}}))
    };
    let check = |live: &str, config: &str, expect: &str| {
        let live = applied(None, "first", &of(live), false).expect("new");
        let merged = applied(Some(&live), "second", &of(config), false).expect("nothing differs");
        assert_eq!(names(&merged), expect, "{config} into it");
        let again = applied(Some(&merged), "second", &of(config), false).expect("nothing differs");
        assert_eq!(again, merged);
    };
    check("abc", "ba", "bac");
    check("xa", "a", "xa");
    check("axb", "bna", "bnax");
    check("bxa", "bna", "bxna");
    check("", "ab", "ab");
}

#[test]
fn clients_may_say_who_manages() {
    let check = |managers: Value, expect: Said| {
        assert_eq!(Managed::said(&json!({"metadata": {"managedFields": managers}})), expect);
    };
    check(json!([]), Said::Nothing);
    check(Value::Null, Said::Nothing);
    check(json!([{}]), Said::Reset);
    check(json!([{"manager": "a", "operation": "Guess"}]), Said::Nothing);
    check(json!([{"manager": "a", "operation": "Apply", "fieldsV1": {"x": {}}}]), Said::Nothing);
    let said = Managed::said(&json!({"metadata": {"managedFields": [
        {"manager": "a", "operation": "Apply", "fieldsV1": {"k:{\"b\":1,\"a\":2}": {}}}]}}));
    let Said::These(managed) = said else { panic!("{said:?}") };
    assert_eq!(managed.entries()[0].fields.paths(), ["[a=2,b=1]"]);
}

#[test]
fn many_updaters_become_few() {
    let mut live = Applied { object: web(json!({})), managed: Managed::default() };
    for number in 0..15 {
        live = updated(&live, &format!("m{number:02}"), |object| {
            object["metadata"]["labels"][format!("l{number:02}")] = "1".into();
        });
    }
    let managers: Vec<&str> = live.managed.entries().iter().map(|entry| entry.manager.as_str()).collect();
    assert_eq!(managers.len(), 10, "{managers:?}");
    assert!(managers.contains(&"ancient-changes") && managers.contains(&"m14"));
    assert!(fields(&live, "ancient-changes").contains(&".metadata.labels.l00".into()));
}
