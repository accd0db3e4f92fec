use proptest::prelude::*;

use super::*;
use crate::notation::{noon, object, owner};

/// The lines that tell what becomes of a world of whose volumes nothing is there.
fn told(objects: &[Object]) -> Vec<String> {
    told_with(objects, &BTreeMap::new())
}

fn told_with(objects: &[Object], saved: &BTreeMap<String, Saved>) -> Vec<String> {
    let view = revived(Revision(7), objects.iter().map(|it| it.at(Revision(3))));
    let restoration = restoration(&view, saved, noon());
    let (after, events) = view.apply(&restoration.txn).expect("every guard holds in the world that was looked at");
    assert!(events.iter().all(|event| event.revision.0 > 7 + REVISIONS_APART), "above whatever was");
    assert!(after.list(kinds::NODE).next().is_none());
    let mut told: Vec<String> = events
        .iter()
        .map(|event| {
            let (key, value) = (event.key(), event.latest().to_value().expect("JSON"));
            match event.after() {
                None => format!("-{} {}", key.kind().kind, key.name()),
                Some(_) => {
                    format!("~{} {} {} {}", key.kind().kind, key.name(), value["spec"]["nodeName"], value["status"])
                }
            }
        })
        .collect();
    told.extend(restoration.stranded.iter().map(|(key, nodes)| format!("! {} {nodes:?}", key.name())));
    told.sort();
    told
}

fn check(objects: &[Object], expected: &[&str]) {
    assert_eq!(told(objects), expected);
}

fn pod(name: &str, more: Value) -> Object {
    let mut value = json!({"metadata": {}, "spec": {"nodeName": "n1", "containers": []},
        "status": {"phase": "Running", "qosClass": "BestEffort", "podIP": "10.42.0.9", "hostIP": "192.0.2.1"}});
    merge(&mut value, more);
    object(kinds::POD, &format!("default/{name}"), value)
}

/// What is nothing in `more` goes from `value`.
fn merge(value: &mut Value, more: Value) {
    let Value::Object(members) = more else { return *value = more };
    for (name, member) in members {
        match member {
            Value::Null => drop(value.as_object_mut().expect("an object").remove(&name)),
            member => merge(&mut value[&name], member),
        }
    }
}

#[test]
fn the_level_stays_and_the_servers_that_spoke_it_are_gone() {
    let servers = r#"{"7":{"version":"0.2.0","lowest":1,"highest":2}}"#;
    let told = object(
        kinds::CONFIG_MAP,
        "kube-system/coracle-level",
        json!({"data": {"level": "2", "servers.json": servers}}),
    );
    assert!(Standing::read(&told).is_ok_and(|standing| standing.servers.len() == 1));
    let view = revived(Revision(7), [told.at(Revision(3))]);
    let (after, _) = view.apply(&restoration(&view, &BTreeMap::new(), noon()).txn).expect("every guard holds");
    let alone = Standing { level: 2, servers: BTreeMap::new() };
    assert_eq!(after.get(&level::key()).map(Standing::read), Some(Ok(alone)));
    let (_, events) = after.apply(&restoration(&after, &BTreeMap::new(), noon()).txn).expect("every guard holds");
    assert!(events.is_empty(), "once is enough");
}

#[test]
fn nodes_go_with_what_is_theirs() {
    check(
        &[
            object(kinds::NODE, "n1", json!({})),
            object(kinds::LEASE, "kube-node-lease/n1", json!({})),
            object(kinds::LEASE, "default/leader", json!({})),
            object(kinds::EVENT, "default/ready", json!({"involvedObject": {"kind": "Node", "name": "n1"}})),
            object(kinds::EVENT, "default/pulled", json!({"involvedObject": {"kind": "Pod", "name": "a"}})),
            pod("daemon", json!({"metadata": {"ownerReferences": owner("DaemonSet", "d")}})),
            pod("static", json!({"metadata": {"annotations": {MIRROR: "x"}}})),
        ],
        &["-Event ready", "-Lease n1", "-Node n1", "-Pod daemon", "-Pod static"],
    );
}

#[test]
fn pods_that_had_not_ended_wait_for_a_node() {
    let waits = r#"null {"phase":"Pending","qosClass":"BestEffort"}"#;
    check(
        &[
            pod("bare", json!({})),
            pod("web-1", json!({"metadata": {"ownerReferences": owner("ReplicaSet", "web")}})),
            pod("pending", json!({"spec": {"nodeName": null}})),
        ],
        &[&format!("~Pod bare {waits}"), &format!("~Pod web-1 {waits}")],
    );
}

#[test]
fn pods_that_have_ended_or_were_to_end_go() {
    let terminating =
        json!({"metadata": {"deletionTimestamp": "2026-11-21T11:59:00Z", "deletionGracePeriodSeconds": 30}});
    let mut held = terminating.clone();
    held["metadata"]["finalizers"] = json!(["example.com/x"]);
    let running = r#""n1" {"hostIP":"192.0.2.1","phase":"Running","podIP":"10.42.0.9","qosClass":"BestEffort"}"#;
    check(
        &[
            pod("done", json!({"status": {"phase": "Succeeded"}})),
            pod(
                "counted",
                json!({"status": {"phase": "Succeeded"}, "metadata": {"finalizers": ["batch.kubernetes.io/job-tracking"]}}),
            ),
            pod("leaving", terminating),
            pod("held", held),
        ],
        &["-Pod done", "-Pod leaving", &format!("~Pod held {running}")],
    );
}

#[test]
fn volumes_that_lie_on_nodes_are_told_and_choices_are_forgotten() {
    let affinity = json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}]}}}});
    let chosen = json!({"metadata": {"annotations": {storage::SELECTED_NODE: "n1"}}});
    let mut bound = chosen.clone();
    bound["metadata"]["annotations"][storage::BIND_COMPLETED] = "yes".into();
    check(
        &[
            object(kinds::PERSISTENT_VOLUME, "here", affinity),
            object(kinds::PERSISTENT_VOLUME, "everywhere", json!({"spec": {}})),
            object(kinds::PERSISTENT_VOLUME_CLAIM, "default/waits", chosen),
            object(kinds::PERSISTENT_VOLUME_CLAIM, "default/has", bound),
        ],
        &[r#"! here ["n1"]"#, "~PersistentVolumeClaim waits null null"],
    );
}

#[test]
fn claims_whose_data_is_there_get_volumes_anew() {
    let hash = "0".repeat(64);
    let saved: BTreeMap<String, Saved> = ["has", "lost", "other"]
        .map(|name| (name.to_owned(), Saved { name: name.to_owned(), hash: hash.clone() }))
        .into();
    let volume = |name: &str, claim: &str, uid: &str| {
        let reference = json!({"namespace": "default", "name": claim, "uid": uid});
        let here = json!({"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}]}});
        object(
            kinds::PERSISTENT_VOLUME,
            name,
            json!({"spec": {"claimRef": reference, "nodeAffinity": here, "persistentVolumeReclaimPolicy": "Retain"}}),
        )
    };
    let claim = |name: &str, volume: &str| {
        let noted = json!({storage::BIND_COMPLETED: "yes", storage::BOUND_BY_CONTROLLER: "yes",
            storage::SELECTED_NODE: "n1", "mine": "x"});
        object(
            kinds::PERSISTENT_VOLUME_CLAIM,
            &format!("default/{name}"),
            json!({"metadata": {"uid": name, "annotations": noted}, "spec": {"volumeName": volume, "storageClassName": "local-path"},
                "status": {"phase": "Bound"}}),
        )
    };
    let objects = [
        volume("has", "data", "data"),
        claim("data", "has"),
        // Nobody has it, or somebody else.
        volume("lost", "gone", "gone"),
        volume("other", "again", "before"),
        claim("again", "other"),
        // Nothing of it is there.
        volume("not-saved", "bare", "bare"),
        claim("bare", "not-saved"),
    ];
    let expected = [
        r#"! lost ["n1"]"#,
        r#"! not-saved ["n1"]"#,
        r#"! other ["n1"]"#,
        "-PersistentVolume has",
        r#"~PersistentVolumeClaim data null {"phase":"Pending"}"#,
    ];
    assert_eq!(told_with(&objects, &saved), expected);
    let view = revived(Revision(7), objects.iter().map(|it| it.at(Revision(3))));
    let (after, _) = view.apply(&restoration(&view, &saved, noon()).txn).expect("it applies");
    let data = after.get(&kinds::PERSISTENT_VOLUME_CLAIM.key("default", "data")).expect("a claim");
    let value = data.to_value().expect("JSON");
    assert_eq!(value["spec"], json!({"storageClassName": "local-path"}));
    let noted =
        json!({"mine": "x", storage::RESTORED_FROM: format!("has@sha256:{hash}"), storage::RESTORED_POLICY: "Retain"});
    assert_eq!(value["metadata"]["annotations"], noted);
    let (_, events) = after.apply(&restoration(&after, &saved, noon()).txn).expect("it applies");
    assert!(events.is_empty(), "once is enough");
}

proptest! {
    /// What is not of a node is as it was, revisions included; and doing it twice is doing it once.
    #[test]
    fn the_rest_of_the_world_stays(names in prop::collection::btree_map("[a-z]{1,6}", 0..5_u8, 0..20)) {
        let made = |(name, sort): (&String, &u8)| {
            let name = format!("default/{name}");
            match sort {
                0 => object(kinds::NODE, name.trim_start_matches("default/"), json!({})),
                1 => pod(name.trim_start_matches("default/"), json!({})),
                2 => object(kinds::SECRET, &name, json!({"data": {"a": "Yg=="}})),
                3 => object(kinds::DEPLOYMENT, &name, json!({"spec": {"replicas": 2}})),
                _ => object(kinds::CONFIG_MAP, &name, json!({})),
            }
        };
        let objects = names.iter().map(made).enumerate().map(|(at, it)| it.at(Revision(at as u64 + 1)));
        let view = revived(Revision(40), objects);
        let (after, _) = view.apply(&restoration(&view, &BTreeMap::new(), noon()).txn).expect("it applies");
        let untouched = |view: &Snapshot| -> Vec<(Revision, Object)> {
            let is_so = |it: &&Object| !matches!(it.key().kind(), kinds::NODE | kinds::POD);
            view.objects().filter(is_so).map(|it| (it.revision(), it.clone())).collect()
        };
        prop_assert_eq!(untouched(&after), untouched(&view));
        prop_assert_eq!(after.count(kinds::POD), view.count(kinds::POD));
        prop_assert!(after.list(kinds::POD).all(|pod| view.by_uid(&pod.meta().uid).is_some()));
        let (twice, events) = after.apply(&restoration(&after, &BTreeMap::new(), noon()).txn).expect("it applies");
        prop_assert!(events.is_empty());
        prop_assert_eq!(twice.revision(), after.revision());
    }
}
