use api::{GroupKind, kinds};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn pod(name: &str, node: &str, address: &str) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"),
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "uid-r"}]},
        "spec": {"nodeName": node}, "status": {"podIP": address}});
    Object::from_value(kinds::POD, &value).expect("a pod")
}

fn key(name: &str) -> Key {
    kinds::POD.key("n", name)
}

fn after(view: &Snapshot, txn: &Txn) -> Snapshot {
    let (next, _) = view.apply(txn).expect("every guard holds");
    next
}

#[test]
fn a_part_of_the_world_agrees_with_it_and_holds_nothing_else() {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    let node = Object::from_value(kinds::NODE, &node).expect("a node");
    let view = after(&Snapshot::default(), &Txn::create(pod("a", "n1", "")).put(node));
    let part = view.part(&[kinds::POD, kinds::SECRET]);
    assert!(view.agrees(&part, kinds::POD) && view.agrees(&part, kinds::SECRET) && !view.agrees(&part, kinds::NODE));
    assert_eq!(part.objects().count(), 1);
    let later = after(&view, &Txn::default().put(pod("b", "n1", "")));
    assert!(!later.agrees(&part, kinds::POD));
}

fn changed(now: &Snapshot, earlier: &Snapshot) -> Vec<String> {
    let told = now.changes(earlier, kinds::POD).map(|(before, after)| {
        let at = |object: Option<&Object>| object.map_or("-".into(), |object| object.revision().to_string());
        let name = before.or(after).map_or("", |object| object.key().name());
        format!("{name} {} {}", at(before), at(after))
    });
    told.collect()
}

#[test]
fn what_has_become_of_the_objects_of_a_kind_is_told_by_two_worlds() {
    let first =
        after(&Snapshot::default(), &Txn::create(pod("a", "n1", "")).put(pod("b", "n1", "")).put(pod("d", "", "")));
    let second = after(&first, &Txn::default().put(pod("b", "n2", "")).put(pod("c", "n1", "")).remove(key("d")));
    assert_eq!(changed(&first, &Snapshot::default()), ["a - 1", "b - 2", "d - 3"]);
    assert_eq!(changed(&second, &first), ["b 2 4", "c - 5", "d 3 -"]);
    assert_eq!(changed(&second, &second), [""; 0]);
    assert_eq!(changed(&Snapshot::default(), &first).len(), 3);
    assert!(second.is_on("n2", &key("b")) && !second.is_on("n1", &key("b")) && !second.is_on("n1", &key("d")));
}

#[test]
fn what_no_controller_manages_is_found_by_kind_and_namespace() {
    let made = |kind: &'static str, place: &str, controller: Option<bool>| {
        let (namespace, name) = place.split_once('/').expect("a namespace and a name");
        let owners = controller
            .map(|is_it| json!([{"apiVersion": "v1", "kind": "Any", "name": "o", "uid": "o", "controller": is_it}]));
        let metadata =
            json!({"name": name, "namespace": namespace, "uid": place, "ownerReferences": owners.unwrap_or(json!([]))});
        let group = if kind == "ReplicaSet" { "apps" } else { "" };
        Object::from_value(
            GroupKind::new(group, kind),
            &json!({"apiVersion": "v1", "kind": kind, "metadata": metadata}),
        )
        .expect("an object")
    };
    let told =
        |view: &Snapshot, kind| view.unmanaged(kind, "n").map(|it| it.key().name().to_owned()).collect::<Vec<_>>();
    let objects = [
        made("Pod", "n/a", None),
        made("Pod", "n/b", Some(false)),
        made("Pod", "n/c", Some(true)),
        made("Pod", "m/d", None),
        made("Pod", "o/e", None),
        made("ReplicaSet", "n/f", None),
        made("Secret", "n/g", None),
    ];
    let view = after(&Snapshot::default(), &objects.into_iter().fold(Txn::default(), Txn::put));
    assert_eq!(
        (told(&view, kinds::POD), told(&view, kinds::REPLICA_SET)),
        (vec!["a".into(), "b".into()], vec!["f".into()])
    );
    assert!(told(&view, kinds::SECRET).is_empty(), "nobody adopts a secret");
    let changed = Txn::default()
        .put(made("Pod", "n/a", Some(true)))
        .put(made("Pod", "n/c", None))
        .remove(kinds::POD.key("n", "b"));
    assert_eq!(told(&after(&view, &changed), kinds::POD), ["c"]);
}

#[test]
fn each_change_takes_one_revision_and_tells_before_and_after() {
    let txn = Txn::create(pod("a", "n1", "")).put(pod("b", "n1", "")).remove(key("absent")).put(pod("b", "n1", ""));
    let (view, events) = Snapshot::default().apply(&txn).expect("applies");
    assert_eq!(view.revision(), Revision(2));
    assert_eq!(events.iter().map(|event| event.revision.0).collect::<Vec<_>>(), [1, 2]);

    let (view, events) = view.apply(&Txn::default().put(pod("a", "n2", "")).remove(key("b"))).expect("applies");
    assert_eq!(view.get(&key("a")).map(Object::revision), Some(Revision(3)));
    assert!(matches!(&events[0].change, Change::Modified { before, .. } if before.revision() == Revision(1)));
    assert!(
        matches!(&events[1].change, Change::Deleted { before, last } if before.revision() == Revision(2) && last.revision() == Revision(4))
    );
}

#[test]
fn a_guard_that_does_not_hold_changes_nothing() {
    let view = after(&Snapshot::default(), &Txn::create(pod("a", "n1", "10.42.0.2")));
    let old = view.get(&key("a")).expect("there").clone();
    assert_eq!(view.apply(&Txn::create(pod("a", "", ""))).err(), Some(Conflict::Exists(key("a"))));
    assert_eq!(
        view.apply(&Txn::delete(&old.at(Revision(9)))).err(),
        Some(Conflict::Changed { key: key("a"), found: Revision(1) })
    );
    let claim = Claim::PodIp("10.42.0.2".parse().expect("an address"));
    let taken = Txn::default().guard(Guard::Free(claim, key("b"))).put(pod("b", "n1", "10.42.0.2"));
    assert_eq!(view.apply(&taken).err(), Some(Conflict::Taken { claim, holder: key("a") }));
    assert!(view.apply(&Txn::default().guard(Guard::Free(claim, key("a")))).is_ok());
}

#[test]
fn the_index_is_a_function_of_the_objects() {
    let mut view = after(&Snapshot::default(), &Txn::create(pod("a", "n1", "10.42.0.2")).put(pod("b", "n1", "")));
    assert_eq!(view.owned_by("uid-r").count(), 2);
    assert_eq!(view.pods_on("n1").count(), 2);
    view = after(&view, &Txn::default().put(pod("a", "n2", "10.42.0.3")).remove(key("b")));
    assert_eq!(view.pods_on("n1").count(), 0);
    assert_eq!(view.by_uid("uid-b"), None);
    view = after(&view, &Txn::create(pod("c", "", "")));
    assert_eq!(view.pods_without_node().map(|pod| pod.key().clone()).collect::<Vec<_>>(), [key("c")]);
    let over = |name: &str, created: &str| {
        let mut over = pod(name, "n1", "10.42.0.9").to_value().expect("a tree");
        (over["metadata"]["creationTimestamp"], over["status"]["phase"]) = (created.into(), "Failed".into());
        Object::from_tree(kinds::POD, over).expect("a pod")
    };
    view = after(&view, &Txn::default().put(over("d", "2026-01-02T00:00:00Z")).put(over("e", "2026-01-01T00:00:00Z")));
    assert_eq!(view.ended_pods().cloned().collect::<Vec<_>>(), [key("e"), key("d")]);
    view = after(&view, &Txn::default().remove(key("e")));
    assert_eq!(view.ended_pods().len(), 1);
    let rebuilt = Snapshot::load(view.revision(), view.objects().cloned().collect::<Vec<_>>());
    assert!(rebuilt.index == view.index);
}

#[test]
fn a_namespace_lists_its_own_in_order_and_from_any_place() {
    let other = Object::from_value(
        kinds::POD,
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "z", "namespace": "m"}}),
    )
    .expect("a pod");
    let view = after(&Snapshot::default(), &Txn::create(pod("b", "", "")).put(pod("a", "", "")).put(other));
    let names = |objects: Vec<&Object>| objects.iter().map(|object| object.key().name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(view.list_in(kinds::POD, "n").collect()), ["a", "b"]);
    assert_eq!(names(view.list(kinds::POD).collect()), ["z", "a", "b"]);
    assert_eq!(names(view.list_after(kinds::POD, "n", "a").collect()), ["b"]);
}

#[test]
fn a_mirror_that_follows_every_event_is_the_world() {
    let first = after(&Snapshot::default(), &Txn::create(pod("a", "n1", "10.42.0.2")));
    let (second, events) = first.apply(&Txn::default().put(pod("b", "n1", "")).remove(key("a"))).expect("applies");
    let mirror = events.iter().fold(first, |mirror, event| mirror.follow(event));
    assert_eq!(mirror.revision(), second.revision());
    assert!(mirror.objects().eq(second.objects()));
    assert!(mirror.index == second.index);
}

#[test]
fn snapshots_agree_on_the_kinds_that_did_not_change() {
    let config = Object::from_value(
        kinds::CONFIG_MAP,
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}}),
    )
    .expect("a config map");
    let first = after(&Snapshot::default(), &Txn::create(pod("a", "n1", "")));
    let second = after(&first, &Txn::create(config));
    assert!(second.agrees(&first, kinds::POD));
    assert!(second.agrees(&first, kinds::NODE));
    assert!(!second.agrees(&first, kinds::CONFIG_MAP));
}

/// One thing somebody does to the world: a pod written anew with this node and address, or deleted; with a guard that may not hold.
fn acts() -> impl Strategy<Value = Vec<(String, String, u8, Option<u64>, bool)>> {
    prop::collection::vec(("[a-e]", "(n[12])?", 0..4u8, prop::option::of(0..12u64), any::<bool>()), 1..40)
}

proptest! {
    #[test]
    fn whatever_happens_the_index_is_that_of_the_objects_and_the_events_tell_all(acts in acts()) {
        let (mut view, mut mirror) = (Snapshot::default(), Snapshot::default());
        for (name, node, address, guarded, deletes) in acts {
            let address = if address == 0 { String::new() } else { format!("10.42.0.{address}") };
            let txn = match guarded {
                Some(revision) => Txn::default().guard(Guard::Unchanged(key(&name), Revision(revision))),
                None => Txn::default(),
            };
            let txn = if deletes { txn.remove(key(&name)) } else { txn.put(pod(&name, &node, &address)) };
            let held = guarded.is_none_or(|revision| view.get(&key(&name)).is_some_and(|pod| pod.revision() == Revision(revision)));
            match view.apply(&txn) {
                Ok((next, events)) => {
                    prop_assert!(held);
                    prop_assert_eq!(next.revision().0, view.revision().0 + events.len() as u64);
                    mirror = events.iter().fold(mirror, |mirror, event| mirror.follow(event));
                    view = next;
                }
                Err(_) => prop_assert!(!held),
            }
            let rebuilt = Snapshot::load(view.revision(), view.objects().cloned().collect::<Vec<_>>());
            prop_assert!(rebuilt.index == view.index);
            prop_assert!(mirror.index == view.index && mirror.objects().eq(view.objects()));
        }
    }
}
