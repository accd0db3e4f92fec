use api::Object;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;
use crate::cluster::tests::{nodes, pod};

fn world(text: &str, budgets: Vec<Object>) -> Snapshot {
    let (about_nodes, about_pods) = text.split_once('|').unwrap_or((text, ""));
    let pods = about_pods.split(';').map(str::trim).filter(|text| !text.is_empty()).map(pod);
    Snapshot::load(api::Revision(1), nodes(about_nodes).into_iter().chain(pods).chain(budgets))
}

fn budget(app: &str, allowed: i32) -> Object {
    let value = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": app, "namespace": "n"},
        "spec": {"selector": {"matchLabels": {"app": app}}}, "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    Object::from_value(kinds::POD_DISRUPTION_BUDGET, &value).expect("a budget")
}

fn preempted(view: &Snapshot, asking: &str) -> Option<Preemption> {
    let demand = Demand::of(&pod(asking).decode::<Pod>().expect("a pod"));
    let cluster = Cluster::of(view);
    assert!(cluster.place(&demand, 0).is_err(), "{asking} fits as it is");
    cluster.preempt(&demand, &Budgets::of(view))
}

/// `node: victim victim`, or nothing.
fn check(text: &str, budgets: Vec<Object>, asking: &str, expected: &str) {
    let found = preempted(&world(text, budgets), asking).map_or(String::new(), |found| {
        let victims: Vec<&str> = found.victims.iter().map(Key::name).collect();
        format!("{}: {}", found.node, victims.join(" "))
    });
    assert_eq!(found, expected, "{asking} in {text}");
}

#[test]
fn those_go_who_matter_less_and_no_more_than_must() {
    let full = "a cpu=2 | x cpu=1 priority=1 on=a; y cpu=1 priority=2 on=a";
    check(full, vec![], "p cpu=1 priority=5", "a: x");
    check(full, vec![], "p cpu=2 priority=5", "a: y x");
    check(full, vec![], "p cpu=1 priority=1", "");
    check(full, vec![], "p cpu=1 priority=2", "a: x");
    check(full, vec![], "p cpu=3 priority=5", "");
    check("a cpu=1 taint=k:v:NoSchedule | x cpu=1 on=a", vec![], "p cpu=1 priority=5", "");
    check("a pods=1 | x on=a", vec![], "p priority=5", "a: x");
}

#[test]
fn the_smallest_loss_is_chosen() {
    check("a cpu=1; b cpu=1 | x cpu=1 priority=3 on=a; y cpu=1 priority=2 on=b", vec![], "p cpu=1 priority=5", "b: y");
    let many = "a cpu=2; b cpu=2 | w cpu=1 on=a; x cpu=1 on=a; y cpu=2 on=b";
    check(many, vec![], "p cpu=2 priority=5", "b: y");
    let protected = "a cpu=1; b cpu=1 | x cpu=1 priority=1 app:db on=a; y cpu=1 priority=2 on=b";
    check(protected, vec![budget("db", 0)], "p cpu=1 priority=5", "b: y");
    check(protected, vec![budget("db", 1)], "p cpu=1 priority=5", "a: x");
    let alone = "a cpu=1 | x cpu=1 app:db on=a";
    check(alone, vec![budget("db", 0)], "p cpu=1 priority=5", "a: x");
    let mixed = "a cpu=2 | x cpu=1 priority=1 app:db on=a; y cpu=1 priority=2 on=a";
    check(mixed, vec![budget("db", 0)], "p cpu=1 priority=5", "a: y");
}

#[test]
fn whoever_is_unwanted_near_goes_too() {
    let apart = r#"{"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "db"}}}]}}}"#;
    check("a zone=1 | x app:db on=a; y on=a", vec![], &format!("p priority=5 {apart}"), "a: x");
    check("a zone=1 | x app:db priority=9 on=a; y on=a", vec![], &format!("p priority=5 {apart}"), "");
}

/// Whatever the world: only those go who matter less, the pod fits then, and it does not if one of them stays.
#[test]
fn nobody_goes_in_vain() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % most
    };
    let mut preemptions = 0;
    for _ in 0..2_000 {
        let some_pods = below(7);
        let mut some_pod = |n: u64| {
            let (cpu, priority, node) = (1 + below(2), below(4), if below(2) == 0 { "a" } else { "b" });
            format!("p{n} cpu={cpu} priority={priority} on={node} app:x{}", below(2))
        };
        let pods: Vec<String> = (0..some_pods).map(&mut some_pod).collect();
        let text = format!("a cpu=2 pods=4; b cpu=3 pods=3 | {}", pods.join("; "));
        let view = world(&text, vec![budget("x1", i32::try_from(below(2)).expect("small"))]);
        let asking = format!("p cpu={} priority={}", 1 + below(3), below(5));
        let demand = Demand::of(&pod(&asking).decode::<Pod>().expect("a pod"));
        let cluster = Cluster::of(&view);
        if cluster.place(&demand, 0).is_ok() {
            continue;
        }
        let Some(found) = cluster.preempt(&demand, &Budgets::of(&view)) else { continue };
        preemptions += 1;
        let fits_without = |victims: &[Key]| {
            let mut without = cluster.clone();
            without.vacate(&Preemption { node: found.node.clone(), victims: victims.to_vec() });
            without.place(&demand, 0).is_ok_and(|node| node == found.node)
        };
        assert!(fits_without(&found.victims), "{asking} in {text}: {found:?} is not enough");
        for spared in 0..found.victims.len() {
            let mut fewer = found.victims.clone();
            let victim = view.get(&fewer.remove(spared)).expect("a pod").decode::<Pod>().expect("a pod");
            assert!(!fits_without(&fewer), "{asking} in {text}: {found:?} is too much");
            let priority = victim.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
            assert!(priority < demand.resident.priority(), "{asking} in {text}: {found:?} matters as much");
        }
    }
    assert!(preemptions > 300, "only {preemptions} worlds asked for one");
}
