use serde_json::{Value, json};

use super::*;
use crate::notation::{check, object, owner};

fn budget(spec: Value, status: Value) -> Object {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    let metadata = json!({"generation": 2});
    let rest = json!({"apiVersion": "policy/v1", "metadata": metadata, "spec": spec, "status": status});
    object(kinds::POD_DISRUPTION_BUDGET, "default/web", rest)
}

/// A pod of the set `web-1`; a name that begins with `!` is not ready, one with `-` is being deleted.
fn pod(name: &str) -> Object {
    let ready = if name.starts_with('!') { "False" } else { "True" };
    let mut metadata = json!({"labels": {"app": "web"}, "ownerReferences": owner("ReplicaSet", "web-1")});
    if name.starts_with('-') {
        metadata["deletionTimestamp"] = "2026-11-21T12:00:30Z".into();
    }
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
    let name = name.trim_start_matches(['!', '-']);
    object(kinds::POD, &format!("default/{name}"), json!({"metadata": metadata, "status": status}))
}

fn world(budget: Object, pods: &str) -> Vec<Object> {
    let set = json!({"metadata": {"ownerReferences": owner("Deployment", "web")}, "spec": {"replicas": 2}});
    let mut objects = vec![
        budget,
        object(kinds::REPLICA_SET, "default/web-1", set),
        object(kinds::DEPLOYMENT, "default/web", json!({"spec": {"replicas": 4}})),
    ];
    objects.extend(pods.split_whitespace().map(pod));
    objects
}

const SHOW: [&str; 5] = [
    "/status/expectedPods",
    "/status/desiredHealthy",
    "/status/currentHealthy",
    "/status/disruptionsAllowed",
    "/status/conditions/0/reason",
];

/// Checks `expected desired healthy allowed reason`, and that a second look changes nothing.
fn told(spec: Value, pods: &str, expected: &str) {
    let budget = budget(spec, json!({}));
    let after = check(
        &Disruptions,
        &world(budget.clone(), pods),
        budget.key(),
        &SHOW,
        &[&format!("~PodDisruptionBudget web {expected}")],
    );
    let look = Look::new(crate::notation::noon(), 1);
    assert!(Disruptions.reconcile(budget.key(), &after, look).txns.is_empty(), "planning again changes nothing");
    let status: Value = serde_json::from_slice(after.get(budget.key()).expect("it is there").body()).expect("JSON");
    assert_eq!(status["status"]["observedGeneration"], 2);
}

#[test]
fn a_number_at_least_counts_on_the_pods_that_are_there() {
    told(json!({"minAvailable": 2}), "a b c", r#"3 2 3 1 "SufficientPods""#);
    told(json!({"minAvailable": 2}), "a b !c -d", r#"4 2 2 0 "InsufficientPods""#);
    told(json!({"minAvailable": 2}), "a", r#"1 2 1 0 "InsufficientPods""#);
}

#[test]
fn a_share_counts_on_the_pods_that_are_wanted() {
    told(json!({"minAvailable": "50%"}), "a b c d", r#"4 2 4 2 "SufficientPods""#);
    told(json!({"minAvailable": "51%"}), "a b c d", r#"4 3 4 1 "SufficientPods""#);
    told(json!({"maxUnavailable": 1}), "a b c", r#"4 3 3 0 "InsufficientPods""#);
    told(json!({"maxUnavailable": "30%"}), "a b c d", r#"4 2 4 2 "SufficientPods""#);
    told(json!({"maxUnavailable": 9}), "a", r#"4 0 1 1 "SufficientPods""#);
}

#[test]
fn an_eviction_is_believed_in_for_a_while() {
    let since = |at: &str| json!({"disruptedPods": {"a": at, "gone": "2026-11-21T11:59:50Z"}});
    let allowed = |at: &str| {
        let budget = budget(json!({"minAvailable": 2}), since(at));
        let world = world(budget.clone(), "a b c");
        let view = Snapshot::load(api::Revision(1), world.into_iter().map(|object| object.at(api::Revision(1))));
        let plan = Disruptions.reconcile(budget.key(), &view, Look::new(crate::notation::noon(), 1));
        let (after, _) = view.apply(&plan.txns[0]).expect("it applies");
        let told: Value = serde_json::from_slice(after.get(budget.key()).expect("it is there").body()).expect("JSON");
        (told["status"]["disruptionsAllowed"].clone(), told["status"]["disruptedPods"].clone(), plan.again.is_some())
    };
    assert_eq!(allowed("2026-11-21T11:59:00Z"), (json!(0), json!({"a": "2026-11-21T11:59:00Z"}), true));
    assert_eq!(allowed("2026-11-21T11:58:00Z"), (json!(1), Value::Null, false));
}

#[test]
fn pods_whose_manager_is_not_known_allow_nothing() {
    let budget = budget(json!({"maxUnavailable": 1}), json!({"disruptionsAllowed": 3}));
    let world = [budget.clone(), pod("a")];
    let show = ["/status/disruptionsAllowed", "/status/conditions/0/reason", "/status/conditions/0/message"];
    let told = r#"~PodDisruptionBudget web 0 "SyncFailed" "found no controllers for pod \"a\"""#;
    check(&Disruptions, &world, budget.key(), &show, &[told]);
}

#[test]
fn a_budget_without_pods_says_so() {
    let budget = budget(json!({"minAvailable": 1}), json!({}));
    let told = ["event NoPods: No matching pods found", r#"~PodDisruptionBudget web 0 1 0 0 "InsufficientPods""#];
    check(&Disruptions, std::slice::from_ref(&budget), budget.key(), &SHOW, &told);
}
