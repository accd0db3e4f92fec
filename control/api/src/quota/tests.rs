use serde_json::{Value, json};

use super::*;
use crate::{GroupKind, catalog};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn object(kind: GroupKind, name: &str, rest: Value) -> Object {
    let names = catalog::by_kind(kind).expect("in the catalog").names();
    let mut value = json!({"apiVersion": names.api_version(), "kind": names.kind});
    value.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    value["metadata"]["name"] = name.into();
    value["metadata"]["namespace"] = "shop".into();
    Object::from_value(kind, &value).expect("an object")
}

/// A quota called `team` with this spec, of which nothing but `used` is used.
fn quota(spec: Value, used: Value) -> Object {
    let mut all: serde_json::Map<String, Value> =
        spec["hard"].as_object().expect("hard").keys().map(|name| (name.clone(), json!("0"))).collect();
    all.extend(used.as_object().expect("used").clone());
    let status = json!({"hard": spec["hard"], "used": all});
    object(kinds::RESOURCE_QUOTA, "team", json!({"spec": spec, "status": status}))
}

/// A pod with a container of these resources, and more in its spec.
fn pod(resources: Value, more: Value) -> Object {
    let mut spec = json!({"containers": [{"name": "c", "resources": resources}]});
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    object(kinds::POD, "web", json!({"spec": spec}))
}

/// What comes of charging the quota: what it says is used then, or the refusal.
fn charged(quota: &Object, old: Option<&Object>, new: &Object) -> String {
    let names = catalog::by_kind(new.key().kind()).expect("in the catalog").names();
    match charge([quota].into_iter(), names, old, new, NOW) {
        Err(refusal) => refusal.message,
        Ok(charged) => {
            charged.iter().map(|(_, after)| after.to_value().expect("JSON")["status"]["used"].to_string()).collect()
        }
    }
}

#[test]
fn what_comes_is_counted_or_refused() {
    let check = |spec: Value, used: Value, new: Object, expected: &str| {
        assert_eq!(charged(&quota(spec, used), None, &new), expected);
    };
    let hard = |hard: Value| json!({"hard": hard});
    let small = json!({"requests": {"cpu": "300m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}});
    check(hard(json!({"pods": "2"})), json!({"pods": "1"}), pod(json!({}), json!({})), r#"{"pods":"2"}"#);
    check(
        hard(json!({"pods": "2"})),
        json!({"pods": "2"}),
        pod(json!({}), json!({})),
        "pods \"web\" is forbidden: exceeded quota: team, requested: pods=1, used: pods=2, limited: pods=2",
    );
    check(
        hard(json!({"requests.cpu": "1", "limits.memory": "1Gi", "pods": "9"})),
        json!({"requests.cpu": "800m", "limits.memory": "1000Mi"}),
        pod(small.clone(), json!({})),
        "pods \"web\" is forbidden: exceeded quota: team, requested: limits.memory=128Mi,requests.cpu=300m, used: limits.memory=1000Mi,requests.cpu=800m, limited: limits.memory=1Gi,requests.cpu=1",
    );
    check(
        hard(json!({"cpu": "1", "limits.memory": "1Gi"})),
        json!({}),
        pod(json!({"requests": {"memory": "1Mi"}}), json!({})),
        "pods \"web\" is forbidden: failed quota: team: must specify cpu for: c; limits.memory for: c",
    );
    check(hard(json!({"requests.ephemeral-storage": "1Gi"})), json!({}), pod(json!({}), json!({})), "");
    check(hard(json!({"count/jobs.batch": "1"})), json!({}), pod(json!({}), json!({})), "");
    check(
        hard(json!({"count/jobs.batch": "1"})),
        json!({"count/jobs.batch": "1"}),
        object(kinds::JOB, "pi", json!({})),
        "jobs.batch \"pi\" is forbidden: exceeded quota: team, requested: count/jobs.batch=1, used: count/jobs.batch=1, limited: count/jobs.batch=1",
    );
    check(hard(json!({"secrets": "3"})), json!({}), object(kinds::SECRET, "s", json!({})), r#"{"secrets":"1"}"#);
    let ports = json!([{"port": 80}, {"port": 81}]);
    let balancer = object(kinds::SERVICE, "web", json!({"spec": {"type": "LoadBalancer", "ports": ports}}));
    check(
        hard(json!({"services": "5", "services.nodeports": "5", "services.loadbalancers": "1"})),
        json!({"services": "2"}),
        balancer,
        r#"{"services":"3","services.loadbalancers":"1","services.nodeports":"2"}"#,
    );
    let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "3Gi"}}}});
    check(
        hard(
            json!({"requests.storage": "10Gi", "fast.storageclass.storage.k8s.io/requests.storage": "5Gi", "slow.storageclass.storage.k8s.io/requests.storage": "1Gi"}),
        ),
        json!({}),
        object(kinds::PERSISTENT_VOLUME_CLAIM, "data", claim),
        r#"{"fast.storageclass.storage.k8s.io/requests.storage":"3Gi","requests.storage":"3Gi","slow.storageclass.storage.k8s.io/requests.storage":"0"}"#,
    );
}

#[test]
fn a_quota_that_was_never_counted_refuses() {
    let quota = object(kinds::RESOURCE_QUOTA, "team", json!({"spec": {"hard": {"pods": "5"}}}));
    let told = "pods \"web\" is forbidden: status unknown for quota: team, resources: pods";
    assert_eq!(charged(&quota, None, &pod(json!({}), json!({}))), told);
}

#[test]
fn scopes_choose_pods() {
    let check = |spec: Value, more: Value, covered: bool| {
        let mut whole = json!({"hard": {"pods": "1"}});
        whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
        let told = charged(&quota(whole, json!({})), None, &pod(json!({}), more));
        assert_eq!(!told.is_empty(), covered, "{spec}: {told}");
    };
    check(json!({"scopes": ["BestEffort"]}), json!({}), true);
    check(json!({"scopes": ["NotBestEffort"]}), json!({}), false);
    check(json!({"scopes": ["Terminating"]}), json!({"activeDeadlineSeconds": 5}), true);
    check(json!({"scopes": ["NotTerminating"]}), json!({"activeDeadlineSeconds": 5}), false);
    let class = |operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
    let high = json!({"priorityClassName": "high"});
    check(class("In", json!(["high"])), high.clone(), true);
    check(class("In", json!(["low"])), high.clone(), false);
    check(class("NotIn", json!(["low"])), high.clone(), true);
    check(class("Exists", json!([])), json!({}), false);
    check(class("DoesNotExist", json!([])), json!({}), true);
    let elsewhere = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "k", "namespaces": ["b"]}]}}});
    check(json!({"scopes": ["CrossNamespacePodAffinity"]}), elsewhere, true);
    check(json!({"scopes": ["CrossNamespacePodAffinity"]}), json!({}), false);
}

#[test]
fn a_change_costs_what_it_adds() {
    let service = |kind: &str| object(kinds::SERVICE, "web", json!({"spec": {"type": kind, "ports": [{"port": 80}]}}));
    let quota = quota(json!({"hard": {"services": "1", "services.nodeports": "1"}}), json!({"services": "1"}));
    let (plain, open) = (service("ClusterIP"), service("NodePort"));
    assert_eq!(charged(&quota, Some(&plain), &open), r#"{"services":"1","services.nodeports":"1"}"#);
    assert_eq!(charged(&quota, Some(&open), &plain), "");
}

#[test]
fn a_pod_takes_what_it_needs_at_most_and_nothing_once_it_has_ended() {
    let one = |name: &str, cpu: &str, more: Value| {
        let mut container = json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
        container.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        container
    };
    let first = one("first", "900m", json!({}));
    let beside = one("beside", "200m", json!({"restartPolicy": "Always"}));
    let pod = |phase: &str| {
        let spec = json!({"initContainers": [beside, first], "containers": [one("c", "300m", json!({}))]});
        object(kinds::POD, "web", json!({"spec": spec, "status": {"phase": phase}}))
    };
    let typed = quota(json!({"hard": {"requests.cpu": "9", "count/pods": "9"}}), json!({}));
    let typed = typed.decode::<ResourceQuota>().expect("a quota");
    let told = |phase: &str| {
        let used = used(&typed, Resource { group: "", plural: "pods" }, &pod(phase), NOW);
        used.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told("Running"), "count/pods=1 requests.cpu=1100m");
    assert_eq!(told("Succeeded"), "count/pods=1");
}

#[test]
fn a_resize_is_charged_and_gives_back_when_the_node_has() {
    let sized = |cpu: &str, status: Value| {
        let pod = pod(json!({"requests": {"cpu": cpu}}), json!({})).to_value().expect("JSON");
        let mut pod = pod;
        pod["status"] = status;
        Object::from_value(kinds::POD, &pod).expect("an object")
    };
    let told = |cpu: &str| {
        let status = json!({"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResources": {"cpu": cpu}, "resources": {"requests": {"cpu": cpu}}});
        json!({"containerStatuses": [status]})
    };
    let team = quota(json!({"hard": {"requests.cpu": "1"}}), json!({"requests.cpu": "300m"}));
    let old = sized("300m", told("300m"));
    assert_eq!(charged(&team, Some(&old), &sized("900m", told("300m"))), r#"{"requests.cpu":"900m"}"#);
    assert_eq!(
        charged(&team, Some(&old), &sized("1100m", told("300m"))),
        "pods \"web\" is forbidden: exceeded quota: team, requested: requests.cpu=800m, used: requests.cpu=300m, limited: requests.cpu=1"
    );
    let counted = |pod: &Object| {
        let team = team.decode::<ResourceQuota>().expect("a quota");
        used(&team, Resource { group: "", plural: "pods" }, pod, NOW)["requests.cpu"].to_string()
    };
    assert_eq!(counted(&sized("100m", told("300m"))), "300m");
    assert_eq!(counted(&sized("100m", told("100m"))), "100m");
}
