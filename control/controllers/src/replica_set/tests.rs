use serde_json::{Value, json};

use super::*;
use crate::notation::{check, object, owner};

fn set(replicas: u32) -> Object {
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "hello:v1"}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    object(kinds::REPLICA_SET, "default/web", json!({"apiVersion": "apps/v1", "spec": spec}))
}

fn pod(name: &str, ready: bool, owners: Value) -> Object {
    let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
    let metadata = json!({"labels": {"app": "web"}, "ownerReferences": owners});
    let status = json!({"phase": "Running", "conditions": conditions});
    let name = format!("default/{name}");
    object(kinds::POD, &name, json!({"metadata": metadata, "spec": {"containers": []}, "status": status}))
}

#[test]
fn what_is_missing_is_made_and_counted_in_one_breath() {
    let view = check(&ReplicaSets, &[set(0)], set(0).key(), &["/status/replicas"], &["~ReplicaSet web 0"]);
    assert_eq!(view.count(kinds::POD), 0);
    let plan = ReplicaSets.reconcile(set(2).key(), &with_home(&[set(2)]), crate::Look::new(crate::notation::noon(), 1));
    assert_eq!(plan.txns.len(), 1);
    let (view, _) = with_home(&[set(2)]).apply(&plan.txns[0]).expect("every guard holds");
    assert_eq!((view.count(kinds::POD), view.count(kinds::EVENT)), (2, 2));
}

/// Ten are told of one by one, as Kubernetes has it; after that one event counts all others, however many looks they take.
#[test]
fn of_many_pods_the_first_are_told_of_and_the_others_counted() {
    let mut view = with_home(&[set(PODS_PER_LOOK_MAX as u32 + 30)]);
    for seed in 1..3 {
        let key = set(0).key().clone();
        let plan = ReplicaSets.reconcile(&key, &view, crate::Look::new(crate::notation::noon(), seed));
        view = plan.txns.iter().fold(view, |view, txn| view.apply(txn).expect("every guard holds").0);
    }
    assert_eq!(view.count(kinds::POD), PODS_PER_LOOK_MAX + 30);
    let told: Vec<Value> = view.list(kinds::EVENT).map(|event| event.to_value().expect("a tree")).collect();
    let counts: Vec<u64> = told.iter().filter_map(|event| event["count"].as_u64()).collect();
    assert_eq!((counts.len(), counts.iter().sum()), (11, PODS_PER_LOOK_MAX as u64 + 30));
    let together = told.iter().find(|event| event["count"] != 1).and_then(|event| event["message"].as_str());
    assert!(together.is_some_and(|message| message.starts_with("(combined from similar events): Created pod: web-")));
}

/// Each try has another name; what is told has none, or nothing would ever come to rest.
#[test]
fn a_refusal_is_told_once_and_tried_again_in_a_while() {
    let limits = json!([{"type": "Container", "max": {"cpu": "1"}}]);
    let range = object(kinds::LIMIT_RANGE, "default/small", json!({"spec": {"limits": limits}}));
    let mut view = with_home(&[set(2), range]);
    let now = crate::notation::noon();
    let mut revisions = Vec::new();
    for seed in 1..4 {
        let plan = ReplicaSets.reconcile(set(2).key(), &view, crate::Look::new(now, seed));
        assert_eq!(plan.again, Some(now + refusal::AGAIN));
        for txn in &plan.txns {
            (view, _) = view.apply(txn).expect("every guard holds");
        }
        revisions.push(view.revision());
    }
    assert!(revisions.windows(2).all(|pair| pair[0] == pair[1]), "{revisions:?}");
    let told = view.get(set(2).key()).expect("the set").to_value().expect("a tree");
    let told = told["status"]["conditions"][0]["message"].as_str().expect("a message").to_owned();
    assert!(told.starts_with(r#"pods "web-" is forbidden: "#), "{told}");
}

fn with_home(objects: &[Object]) -> Snapshot {
    let home =
        [object(kinds::NAMESPACE, "default", json!({})), object(kinds::SERVICE_ACCOUNT, "default/default", json!({}))];
    Snapshot::load(api::Revision(1), objects.iter().cloned().chain(home).map(|it| it.at(api::Revision(1))))
}

#[test]
fn a_replication_controller_is_a_set_of_another_name() {
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "hello:v1"}]}});
    let spec = json!({"replicas": 1, "selector": {"app": "web"}, "template": template});
    let old =
        object(kinds::REPLICATION_CONTROLLER, "default/old", json!({"metadata": {"generation": 3}, "spec": spec}));
    let account = object(kinds::SERVICE_ACCOUNT, "default/default", json!({}));
    let show = ["/metadata/ownerReferences/0/kind", "/status/replicas", "/status/observedGeneration"];
    let orphan = pod("a", true, json!([]));
    let world = [old.clone(), account.clone(), orphan];
    let view = check(&ReplicaSets, &world, old.key(), &show, &["~Pod a \"ReplicationController\""]);
    let world: Vec<Object> = view.objects().filter(|it| it.key().kind() != kinds::NAMESPACE).cloned().collect();
    check(&ReplicaSets, &world, old.key(), &show, &["~ReplicationController old 1 3"]);
    let spare = pod("b", false, owner("ReplicationController", "old"));
    let world: Vec<Object> = world.into_iter().chain([spare]).collect();
    check(&ReplicaSets, &world, old.key(), &[], &["-Pod b", "event SuccessfulDelete: Deleted pod: b"]);
}

#[test]
fn the_pod_that_serves_nobody_goes_first() {
    let ours = || owner("ReplicaSet", "web");
    let pods = [set(1), pod("a", true, ours()), pod("b", false, ours())];
    check(&ReplicaSets, &pods, set(1).key(), &[], &["-Pod b", "event SuccessfulDelete: Deleted pod: b"]);
}

#[test]
fn a_pod_without_a_manager_is_adopted() {
    let pods = [set(1), pod("a", true, json!([]))];
    check(&ReplicaSets, &pods, set(1).key(), &["/metadata/ownerReferences/0/name"], &["~Pod a \"web\""]);
}
