mod simulation;

use api::{Revision, kinds};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::notation::{noon, object};

const CPU: &str = "cpu";

/// An autoscaler of the deployment `web`, from one to ten; `spec` says what is different.
fn scaler(spec: Value) -> Object {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let mut whole = json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 10});
    whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    let version = "autoscaling/v2";
    object(kinds::HORIZONTAL_POD_AUTOSCALER, "default/web", json!({"apiVersion": version, "spec": whole}))
}

fn utilization(percent: i32) -> Value {
    json!({"type": "Resource", "resource": {"name": CPU, "target": {"type": "Utilization", "averageUtilization": percent}}})
}

fn per_second(average: &str) -> Value {
    let metric = json!({"name": measured::REQUESTS_PER_SECOND});
    json!({"type": "Pods", "pods": {"metric": metric, "target": {"type": "AverageValue", "averageValue": average}}})
}

/// Nothing holds a change back.
fn at_once() -> Value {
    let policies = json!([{"type": "Percent", "value": 1000, "periodSeconds": 15}, {"type": "Pods", "value": 100, "periodSeconds": 15}]);
    let rules = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": policies});
    json!({"scaleUp": rules, "scaleDown": rules})
}

fn deployment(replicas: i32) -> Object {
    let resources = json!({"requests": {CPU: "1"}});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "hello:v1", "resources": resources}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    object(kinds::DEPLOYMENT, "default/web", json!({"apiVersion": "apps/v1", "spec": spec}))
}

fn service() -> Object {
    object(kinds::SERVICE, "default/web", json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}))
}

/// A pod that asks for a whole processor, and its figures. `a=300` uses so many thousandths of it, and is asked so many
/// thousandths of a request in a second; `a=?` is not measured, `a=300!` is not ready yet, `a=300-` is going, `a=?~` is pending.
fn pod(word: &str) -> Vec<Object> {
    let (name, figure) = word.split_once('=').expect("a name and a figure");
    let mark = figure.chars().last().filter(|mark| "!-~".contains(*mark));
    let figure = figure.trim_end_matches(['!', '-', '~']);
    let mut metadata = json!({"labels": {"app": "web"}});
    if mark == Some('-') {
        metadata["deletionTimestamp"] = "2026-11-21T12:00:30Z".into();
    }
    let began = "2026-11-21T11:00:00Z";
    let ready = json!({"type": "Ready", "status": if mark == Some('!') { "False" } else { "True" }, "lastTransitionTime": began});
    let phase = if mark == Some('~') { "Pending" } else { "Running" };
    let status = json!({"phase": phase, "startTime": began, "conditions": [ready]});
    let container = json!({"name": "c", "resources": {"requests": {CPU: "1"}}});
    let rest = json!({"apiVersion": "v1", "metadata": metadata, "spec": {"containers": [container]}, "status": status});
    let mut objects = vec![object(kinds::POD, &format!("default/{name}"), rest)];
    if let Ok(milli) = figure.parse::<i64>() {
        objects.extend(figures(name, milli, noon()));
    }
    objects
}

fn figures(name: &str, milli: i64, at: Timestamp) -> [Object; 2] {
    let usage = json!({CPU: format!("{milli}m"), "memory": format!("{milli}Mi")});
    let at = at.to_string();
    let used = json!({"timestamp": at, "window": "15.0s", "containers": [{"name": "c", "usage": usage}]});
    let key = kinds::POD.key("default", name);
    let asked = measured::figure("pods", &key, measured::REQUESTS_PER_SECOND, quantity(milli), &at, 15);
    let kind = api::Kind::group_kind(&measured::PODS);
    [object(kind, &format!("default/{name}"), used), asked.expect("a figure")]
}

fn quantity(milli: i64) -> api::quantity::Quantity {
    api::quantity::Quantity::millis(milli)
}

/// So many requests wait for the service `web`, or are answered by a pod.
fn counted(plural: &str, kind: api::GroupKind, name: &str, metric: &str, count: i64) -> Object {
    let key = kind.key("default", name);
    measured::figure(plural, &key, metric, quantity(count * 1000), &noon().to_string(), 0).expect("a figure")
}

fn view(objects: impl IntoIterator<Item = Object>) -> Snapshot {
    let home = object(kinds::NAMESPACE, "default", json!({}));
    Snapshot::load(Revision(1), objects.into_iter().chain([home]).map(|it| it.at(Revision(1))))
}

fn world(spec: Value, replicas: i32, pods: &str) -> Vec<Object> {
    let mut objects = vec![scaler(spec), deployment(replicas), service()];
    objects.extend(pods.split_whitespace().flat_map(pod));
    objects
}

/// Looks at `now`, carries it out, and looks again, which must change nothing.
fn looked(view: &Snapshot, now: Timestamp) -> Snapshot {
    let key = kinds::HORIZONTAL_POD_AUTOSCALER.key("default", "web");
    let plan = HorizontalPodAutoscalers.reconcile(&key, view, Look::new(now, 7));
    assert_eq!(plan.again, Some(now + PERIOD));
    plan.txns.iter().fold(view.clone(), |view, txn| view.apply(txn).expect("every guard holds").0)
}

fn replicas(view: &Snapshot) -> i64 {
    let object = view.get(&kinds::DEPLOYMENT.key("default", "web")).expect("the deployment");
    object.to_value().expect("a tree")["spec"]["replicas"].as_i64().expect("a number")
}

fn status(view: &Snapshot) -> Value {
    let object = view.get(&kinds::HORIZONTAL_POD_AUTOSCALER.key("default", "web")).expect("the autoscaler");
    object.to_value().expect("a tree")["status"].clone()
}

/// The conditions as `AbleToScale ScalingActive ScalingLimited`, each by its reason; one that is false has an `!`.
fn conditions(view: &Snapshot) -> String {
    let status = status(view);
    let says = |kind: &str| {
        let found = status["conditions"].as_array()?.iter().find(|it| it["type"] == kind)?;
        let mark = if found["status"] == "True" { "" } else { "!" };
        Some(format!("{mark}{}", found["reason"].as_str()?))
    };
    ["AbleToScale", "ScalingActive", "ScalingLimited"].map(|kind| says(kind).unwrap_or("-".into())).join(" ")
}

/// Checks how many replicas there are to be, and the conditions.
#[track_caller]
fn check(objects: Vec<Object>, expected: i64, reasons: &str) -> Snapshot {
    let after = looked(&view(objects), noon());
    assert_eq!((replicas(&after), conditions(&after).as_str()), (expected, reasons));
    after
}

const FOUND: &str = "SucceededRescale ValidMetricFound !DesiredWithinRange";
const SAME: &str = "ReadyForNewScale ValidMetricFound !DesiredWithinRange";

fn events(view: &Snapshot) -> Vec<String> {
    let told = |event: &Object| {
        let value = event.to_value().expect("a tree");
        format!("{}: {}", value["reason"].as_str().unwrap_or(""), value["message"].as_str().unwrap_or(""))
    };
    let mut told: Vec<String> = view.list(kinds::EVENT).map(told).collect();
    told.sort();
    told
}

#[test]
fn what_is_used_is_to_what_is_aimed_at_as_what_there_is_to_what_there_should_be() {
    let spec = |percent| json!({"metrics": [utilization(percent)], "behavior": at_once()});
    let after = check(world(spec(30), 3, "a=300 b=500 c=700"), 5, FOUND);
    let told = "SuccessfulRescale: New size: 5; reason: cpu resource utilization (percentage of request) above target";
    assert_eq!(events(&after), [told]);
    let current = json!([{"type": "Resource", "resource": {"name": CPU, "current": {"averageUtilization": 50, "averageValue": "500m"}}}]);
    let status = status(&after);
    assert_eq!(
        (&status["currentMetrics"], &status["currentReplicas"], &status["desiredReplicas"]),
        (&current, &json!(3), &json!(5))
    );
    assert_eq!(status["lastScaleTime"], "2026-11-21T12:00:00Z");
    let again = looked(&after, noon());
    assert_ne!(replicas(&again), 0);
    // A tenth more or less is no reason.
    check(world(spec(46), 3, "a=300 b=500 c=700"), 3, SAME);
    check(world(spec(55), 3, "a=300 b=500 c=700"), 3, SAME);
    check(world(spec(90), 3, "a=100 b=100 c=100"), 1, FOUND);
}

#[test]
fn a_look_at_what_a_look_left_changes_nothing() {
    let spec = json!({"metrics": [utilization(50)]});
    let first = looked(&view(world(spec, 2, "a=500 b=500")), noon());
    assert_eq!(looked(&first, noon() + PERIOD).revision(), first.revision());
}

#[test]
fn doubt_is_on_the_side_of_what_is_there() {
    let spec = |percent| json!({"metrics": [utilization(percent)], "behavior": at_once()});
    // Who is only starting counts as idle on the way up, and not at all on the way down.
    check(world(spec(30), 3, "a=300! b=500 c=700"), 4, FOUND);
    check(world(spec(100), 3, "a=300! b=100 c=100"), 1, FOUND);
    check(world(spec(30), 3, "a=?~ b=500 c=700"), 4, FOUND);
    // Who is not measured is as it should be on the way down, and idle on the way up.
    check(world(spec(100), 4, "a=400 b=95 c=? d=?"), 3, FOUND);
    check(world(spec(30), 3, "a=? b=500 c=700"), 4, FOUND);
    check(world(spec(50), 2, "a=? b=900"), 2, SAME);
    // Who goes is gone.
    check(world(spec(50), 3, "a=900- b=400 c=400"), 2, FOUND);
}

#[test]
fn the_most_that_any_metric_proposes_counts() {
    let memory = |amount: &str| json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": amount}}});
    let spec = |metrics: Value| json!({"metrics": metrics, "behavior": at_once()});
    let both = json!([utilization(100), memory("200Mi")]);
    check(world(spec(both), 2, "a=500 b=500"), 5, FOUND);
    let container = json!({"type": "ContainerResource", "containerResource": {"name": CPU, "container": "c", "target": {"type": "AverageValue", "averageValue": "100m"}}});
    check(world(spec(json!([container])), 1, "a=300"), 3, FOUND);
    check(world(spec(json!([per_second("100m")])), 2, "a=300 b=100"), 4, FOUND);
    // What is not known might have asked for more: nobody goes, but some may come.
    let unknown = json!({"type": "Pods", "pods": {"metric": {"name": "dreams"}, "target": {"type": "AverageValue", "averageValue": "1"}}});
    check(world(spec(json!([unknown, utilization(50)])), 2, "a=900 b=900"), 4, FOUND);
    check(
        world(spec(json!([unknown, utilization(50)])), 2, "a=100 b=100"),
        2,
        "SucceededGetScale !FailedGetPodsMetric -",
    );
}

#[test]
fn a_fall_is_held_back_for_five_minutes_where_nobody_says() {
    let mut now = noon();
    let mut world = looked(&view(world(json!({"metrics": [utilization(50)]}), 4, "a=50 b=50 c=50 d=50")), now);
    let held = "ScaleDownStabilized ValidMetricFound !DesiredWithinRange";
    while now < noon() + SignedDuration::from_secs(285) {
        assert_eq!((replicas(&world), conditions(&world).as_str()), (4, held), "at {now}");
        now += PERIOD;
        world = looked(&world, now);
    }
    now += PERIOD;
    world = looked(&world, now);
    assert_eq!(replicas(&world), 1, "at {now}");
}

#[test]
fn nothing_goes_beyond_its_bounds_or_faster_than_it_may() {
    let used = json!({"metrics": [utilization(10)]});
    check(world(used.clone(), 1, "a=900"), 4, "SucceededRescale ValidMetricFound ScaleUpLimit");
    check(
        world(used.clone(), 5, "a=900 b=900 c=900 d=900 e=900"),
        10,
        "SucceededRescale ValidMetricFound TooManyReplicas",
    );
    check(world(json!({"minReplicas": 3}), 2, "a=1 b=1"), 3, "SucceededRescale - -");
    check(world(json!({"maxReplicas": 2}), 3, "a=900 b=900"), 2, "SucceededRescale - -");
    let slowly = |up: Value, down: Value| {
        let rules = |mut rules: Value| {
            rules["stabilizationWindowSeconds"] = 0.into();
            rules
        };
        json!({"metrics": [utilization(50)], "behavior": {"scaleUp": rules(up), "scaleDown": rules(down)}})
    };
    let one = json!({"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]});
    let both = json!({"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}, {"type": "Percent", "value": 200, "periodSeconds": 60}]});
    let never = json!({"selectPolicy": "Disabled", "policies": [{"type": "Pods", "value": 9, "periodSeconds": 60}]});
    check(
        world(slowly(one.clone(), one.clone()), 2, "a=900 b=900"),
        3,
        "SucceededRescale ValidMetricFound ScaleUpLimit",
    );
    check(
        world(slowly(both.clone(), both.clone()), 2, "a=900 b=900"),
        3,
        "SucceededRescale ValidMetricFound ScaleUpLimit",
    );
    check(
        world(slowly(one.clone(), one.clone()), 3, "a=1 b=1 c=1"),
        2,
        "SucceededRescale ValidMetricFound ScaleDownLimit",
    );
    check(
        world(slowly(one.clone(), both), 4, "a=1 b=1 c=1 d=1"),
        3,
        "SucceededRescale ValidMetricFound ScaleDownLimit",
    );
    check(world(slowly(never.clone(), one), 2, "a=900 b=900"), 2, "ReadyForNewScale ValidMetricFound ScaleUpLimit");
    check(world(slowly(never.clone(), never), 2, "a=1 b=1"), 2, "ReadyForNewScale ValidMetricFound ScaleDownLimit");
}

#[test]
fn what_cannot_be_told_is_told_in_kubernetes_words() {
    let told = |objects: Vec<Object>, kind: &str, expected: &str| {
        let after = looked(&view(objects), noon());
        let status = status(&after);
        let conditions = status["conditions"].as_array().expect("conditions");
        let condition = conditions.iter().find(|it| it["type"] == kind).expect("the condition");
        assert_eq!((&condition["status"], condition["message"].as_str()), (&json!("False"), Some(expected)));
        after
    };
    let used = json!({"metrics": [utilization(50)]});
    let unable = "the HPA was unable to compute the replica count: failed to get cpu utilization: ";
    let none = "unable to get metrics for resource cpu: no metrics returned from resource metrics API";
    let after = told(world(used.clone(), 2, "a=? b=?"), "ScalingActive", &format!("{unable}{none}"));
    let first = "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization";
    assert_eq!(
        events(&after),
        [
            format!("FailedComputeMetricsReplicas: {first}: {none}"),
            format!("FailedGetResourceMetric: failed to get cpu utilization: {none}")
        ]
    );
    let mut modest = world(used.clone(), 1, "a=5");
    modest[3] = object(
        kinds::POD,
        "default/a",
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}),
    );
    told(modest, "ScalingActive", &format!("{unable}missing request for cpu in container c of Pod a"));
    let of = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "front"});
    let hits = json!({"type": "Object", "object": {"describedObject": of, "metric": {"name": "hits"}, "target": {"type": "Value", "value": "2k"}}});
    let why = "unable to get metric hits: no metrics returned from custom metrics API on default Ingress/front";
    told(
        world(json!({"metrics": [hits]}), 1, "a=5"),
        "ScalingActive",
        &format!("the HPA was unable to compute the replica count: {why}"),
    );
    told(
        world(used.clone(), 0, ""),
        "ScalingActive",
        "scaling is disabled since the replica count of the target is zero",
    );
    let missing =
        r#"the HPA controller was unable to get the target's current scale: deployments.apps "web" not found"#;
    told(vec![scaler(used.clone())], "AbleToScale", missing);
    let mut another = world(used, 1, "a=5");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    another.push(object(
        kinds::HORIZONTAL_POD_AUTOSCALER,
        "default/rival",
        json!({"apiVersion": "autoscaling/v2", "spec": {"scaleTargetRef": target, "maxReplicas": 3}}),
    ));
    let both = "pods by selector app=web are controlled by multiple HPAs: [default/rival default/web]";
    told(another, "ScalingActive", both);
}

#[test]
fn whoever_waits_is_heeded_and_whoever_is_busy_stays() {
    let spec = || json!({"minReplicas": 0, "metrics": [per_second("10")], "behavior": at_once()});
    let waiting = |count| counted("services", kinds::SERVICE, "web", measured::REQUESTS_WAITING, count);
    let in_flight = |count| counted("pods", kinds::POD, "a", measured::REQUESTS_IN_FLIGHT, count);
    let with = |mut objects: Vec<Object>, figure: Object| {
        objects.push(figure);
        objects
    };
    check(world(spec(), 1, "a=0"), 0, FOUND);
    let after = check(world(spec(), 0, ""), 0, SAME);
    assert_eq!(status(&after)["currentMetrics"][0]["pods"]["current"], json!({"averageValue": "0"}));
    check(with(world(spec(), 0, ""), waiting(1)), 1, FOUND);
    check(with(world(spec(), 0, ""), waiting(25)), 3, FOUND);
    check(with(world(spec(), 1, "a=0"), waiting(1)), 1, SAME);
    check(with(world(spec(), 1, "a=?!"), waiting(1)), 1, "SucceededGetScale - -");
    check(with(world(spec(), 1, "a=0"), in_flight(1)), 1, SAME);
    check(with(world(spec(), 1, "a=0"), in_flight(0)), 0, FOUND);
    // However slowly it grows otherwise, and whatever else is not known.
    let mut slowly = spec();
    slowly["behavior"]["scaleUp"] = json!({"stabilizationWindowSeconds": 600, "policies": [{"type": "Percent", "value": 10, "periodSeconds": 600}]});
    let woken = looked(&view(with(world(slowly, 0, ""), waiting(1))), noon());
    assert_eq!(replicas(&woken), 1);
    let mut unknown = spec();
    unknown["metrics"][0]["pods"]["metric"]["name"] = "dreams".into();
    let woken = looked(&view(with(world(unknown, 0, ""), waiting(1))), noon());
    assert_eq!(replicas(&woken), 1);
    // Where it may not go down to nothing, nothing is somebody's own wish.
    let mut never = spec();
    never["minReplicas"] = 1.into();
    check(with(world(never, 0, ""), waiting(1)), 0, "SucceededGetScale !ScalingDisabled -");
}

#[test]
fn whatever_has_a_scale_is_scaled() {
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "hello:v1"}]}});
    let labels = json!({"matchLabels": {"app": "web"}});
    for (kind, version, selector) in [
        (kinds::REPLICA_SET, "apps/v1", labels.clone()),
        (kinds::STATEFUL_SET, "apps/v1", labels),
        (kinds::REPLICATION_CONTROLLER, "v1", json!({"app": "web"})),
    ] {
        let spec = json!({"replicas": 1, "selector": selector, "template": template, "serviceName": "web"});
        let metadata = json!({"name": "web", "namespace": "default"});
        let look = Look::new(noon(), 1);
        let whole = json!({"apiVersion": version, "kind": kind.kind, "metadata": metadata, "spec": spec});
        let target = crate::created::created(kind, &whole, look).expect("valid");
        let reference = json!({"apiVersion": version, "kind": kind.kind, "name": "web"});
        let scaler = scaler(json!({"scaleTargetRef": reference, "metrics": [utilization(50)]}));
        let after = looked(&view([scaler, target.clone()].into_iter().chain(pod("a=900"))), noon());
        let value = after.get(target.key()).expect("the target").to_value().expect("a tree");
        assert_eq!(value["spec"]["replicas"], 2, "{kind}");
    }
}
