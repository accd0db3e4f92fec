//! Generated histories of one DaemonSet: nodes come and go and change, pods fail, and no node is ever given two pods.

use std::collections::BTreeMap;

use api::{Object, kinds};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};
use state::Event;

use crate::actors::{self, How, delete, delete_pod, is_active, is_ready, nth, object, say_ready, seconds, tree};
use crate::world::World;

/// Something that somebody does to `probe`, to its pods or to nodes. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Apply,
    Delete { how: How },
    SetImage { image: u8 },
    Rolling { surge: u8, unavailable: u8 },
    OnDelete,
    Only { labelled: bool },
    AddNode { node: u8 },
    RemoveNode { node: u8 },
    LabelNode { node: u8, labelled: bool },
    TaintNode { node: u8, taint: u8 },
    DeletePod { pod: u8 },
    FailPod { pod: u8 },
    UnreadyPod { pod: u8 },
    FreePod { pod: u8 },
    Agents { lazy: bool },
    Pass { seconds: i64 },
}

const PROBE: &str = "probe";
/// What taints do, none among it.
const EFFECTS: [&str; 3] = ["", "NoSchedule", "NoExecute"];

fn step() -> impl Strategy<Value = Step> {
    let (node, small, which) = (0_u8..4, 0_u8..3, 0_u8..16);
    let how = prop_oneof![Just(How::Background), Just(How::Foreground), Just(How::Orphan)];
    prop_oneof![
        3 => Just(Step::Apply),
        1 => how.prop_map(|how| Step::Delete { how }),
        4 => small.clone().prop_map(|image| Step::SetImage { image }),
        2 => (small.clone(), small.clone()).prop_map(|(surge, unavailable)| Step::Rolling { surge, unavailable }),
        1 => Just(Step::OnDelete),
        1 => any::<bool>().prop_map(|labelled| Step::Only { labelled }),
        2 => node.clone().prop_map(|node| Step::AddNode { node }),
        1 => node.clone().prop_map(|node| Step::RemoveNode { node }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, labelled)| Step::LabelNode { node, labelled }),
        2 => (node, small).prop_map(|(node, taint)| Step::TaintNode { node, taint }),
        2 => which.clone().prop_map(|pod| Step::DeletePod { pod }),
        2 => which.clone().prop_map(|pod| Step::FailPod { pod }),
        2 => which.clone().prop_map(|pod| Step::UnreadyPod { pod }),
        1 => which.prop_map(|pod| Step::FreePod { pod }),
        8 => any::<bool>().prop_map(|lazy| Step::Agents { lazy }),
        3 => (1_i64..40).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

fn world(seed: u64) -> World {
    let looks = |name: &str| matches!(name, "daemonset" | "garbage-collection" | "pod-garbage");
    let mut world = World::of(seed, vec![always], looks);
    world.put(actors::namespace("default"));
    let account = json!({"apiVersion": "v1", "metadata": {"uid": "account"}});
    world.put(object(&kinds::SERVICE_ACCOUNT.key("default", "default"), &account));
    for node in 0..3 {
        act(&mut world, &Step::AddNode { node });
    }
    act(&mut world, &Step::Apply);
    world
}

fn key() -> api::Key {
    kinds::DAEMON_SET.key("default", PROBE)
}

fn node_key(node: u8) -> api::Key {
    kinds::NODE.cluster_key(&format!("n{node}"))
}

fn rolling(surge: u8, unavailable: u8) -> Value {
    let rolling = match surge {
        0 => json!({"maxSurge": 0, "maxUnavailable": unavailable.max(1)}),
        surge => json!({"maxSurge": surge, "maxUnavailable": 0}),
    };
    json!({"type": "RollingUpdate", "rollingUpdate": rolling})
}

fn apply(world: &mut World) {
    if world.view.get(&key()).is_some() {
        return;
    }
    let (uid, now) = (world.draw(), seconds(world.now));
    let container = json!({"name": "c", "image": "app:0"});
    let template = json!({"metadata": {"labels": {"app": PROBE}}, "spec": {"containers": [container]}});
    let spec = json!({"selector": {"matchLabels": {"app": PROBE}}, "template": template, "updateStrategy": rolling(0, 1),
        "revisionHistoryLimit": 2});
    let metadata = json!({"uid": format!("set-{uid:x}"), "generation": 1, "creationTimestamp": now});
    world.put(object(&key(), &json!({"apiVersion": "apps/v1", "metadata": metadata, "spec": spec})));
}

fn act(world: &mut World, step: &Step) {
    world.note(format!("{step:?}"));
    let spec = |world: &mut World, edit: &dyn Fn(&mut Value)| world.edit(&key(), |set| edit(&mut set["spec"]));
    match step {
        Step::Apply => apply(world),
        Step::Delete { how } => delete(world, &key(), *how),
        Step::SetImage { image } => spec(world, &|spec| {
            spec["template"]["spec"]["containers"][0]["image"] = json!(format!("app:{image}"));
        }),
        Step::Rolling { surge, unavailable } => {
            spec(world, &|spec| spec["updateStrategy"] = rolling(*surge, *unavailable));
        }
        Step::OnDelete => spec(world, &|spec| spec["updateStrategy"] = json!({"type": "OnDelete"})),
        Step::Only { labelled } => spec(world, &|spec| {
            spec["template"]["spec"]["nodeSelector"] = if *labelled { json!({"disk": "ssd"}) } else { Value::Null };
        }),
        Step::AddNode { node } => {
            let key = node_key(*node);
            if world.view.get(&key).is_none() {
                let node = actors::node(key.name(), world.now);
                world.put(node);
            }
        }
        Step::RemoveNode { node } => world.remove(&node_key(*node)),
        Step::LabelNode { node, labelled } => world.edit(&node_key(*node), |node| {
            node["metadata"]["labels"] = if *labelled { json!({"disk": "ssd"}) } else { json!({}) };
        }),
        Step::TaintNode { node, taint } => world.edit(&node_key(*node), |node| {
            let taint = json!([{"key": "tide", "effect": EFFECTS[usize::from(*taint)]}]);
            node["spec"]["taints"] = if taint[0]["effect"] == "" { Value::Null } else { taint };
        }),
        Step::Agents { lazy } => agents(world, *lazy),
        Step::Pass { seconds } => world.now += SignedDuration::from_secs(*seconds),
        Step::DeletePod { pod } | Step::FailPod { pod } | Step::UnreadyPod { pod } | Step::FreePod { pod } => {
            if let Some(key) = nth(world, kinds::POD, *pod) {
                act_on_pod(world, &key, step);
            }
        }
    }
}

fn act_on_pod(world: &mut World, pod: &api::Key, step: &Step) {
    match step {
        Step::DeletePod { .. } => delete_pod(world, pod),
        Step::FailPod { .. } => world.edit(pod, |it| it["status"] = json!({"phase": "Failed", "reason": "Evicted"})),
        Step::FreePod { .. } => world.edit(pod, |it| it["metadata"]["ownerReferences"] = json!([])),
        _ if world.view.get(pod).is_some_and(is_ready) => say_ready(world, pod, false),
        _ => {}
    }
}

/// The node that a pod is on, or is for.
fn node_of(pod: &Object) -> String {
    let spec = tree(pod)["spec"].clone();
    let affinity = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let wanted = &affinity["nodeSelectorTerms"][0]["matchFields"][0]["values"][0];
    spec["nodeName"].as_str().or(wanted.as_str()).unwrap_or_default().to_owned()
}

/// Agents take pods, bring them up and take them down. Lazy ones do some of it.
fn agents(world: &mut World, lazy: bool) {
    let pods: Vec<Object> = world.view.list(kinds::POD).cloned().collect();
    for pod in pods {
        let node = node_of(&pod);
        let is_there = world.view.get(&kinds::NODE.cluster_key(&node)).is_some();
        if !is_there || (lazy && world.draw().is_multiple_of(2)) {
            continue;
        }
        if pod.meta().is_terminating() {
            world.remove(pod.key());
        } else if is_active(&pod) && !is_ready(&pod) {
            world.edit(pod.key(), |it| it["spec"]["nodeName"] = json!(node));
            say_ready(world, pod.key(), true);
        }
    }
}

/// Agents act and time passes until nothing happens any more.
fn rest(world: &mut World) {
    for _ in 0..100 {
        world.drain();
        let before = world.view.revision();
        agents(world, false);
        world.now += SignedDuration::from_secs(20);
        world.drain();
        if world.view.revision() == before {
            return world.check_quiet();
        }
    }
    panic!("the world does not come to rest\n{}", world.story());
}

/// The pods that the set manages, by the nodes that they are for.
fn pods(world: &World) -> BTreeMap<String, Vec<&Object>> {
    let mut pods = BTreeMap::<String, Vec<&Object>>::new();
    let set = world.view.get(&key());
    for pod in set.into_iter().flat_map(|set| world.view.owned_by(&set.meta().uid)) {
        if pod.key().kind() == kinds::POD {
            pods.entry(node_of(pod)).or_default().push(pod);
        }
    }
    pods
}

/// The nodes that are to have a pod, and those that may have one.
fn wanted(world: &World, set: &Value) -> [Vec<String>; 2] {
    let selected = |node: &&Object| {
        set["spec"]["template"]["spec"]["nodeSelector"].is_null() || node.meta().labels.contains_key("disk")
    };
    let effect = |node: &Object| tree(node)["spec"]["taints"][0]["effect"].as_str().unwrap_or_default().to_owned();
    ["", "NoSchedule"].map(|wanted| {
        let nodes = world.view.list(kinds::NODE).filter(selected).filter(|node| effect(node) == wanted);
        nodes.map(|node| node.key().name().to_owned()).collect()
    })
}

/// At every revision: who is made is alone, or beside one of another template while an update surges.
fn always(world: &World, event: &Event) {
    let (Some(pod), None) = (event.after(), event.before()) else { return };
    let Some(set) = world.view.get(&key()).map(tree) else { return };
    if pod.key().kind() != kinds::POD {
        return;
    }
    let surge = set["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"].as_u64().unwrap_or(0);
    let there = pods(world).remove(&node_of(pod)).unwrap_or_default();
    let hash = |pod: &Object| pod.meta().labels.get("controller-revision-hash").cloned();
    let alike = there.iter().filter(|other| is_active(other) && hash(other) == hash(pod)).count();
    assert!(alike <= 1, "{} is one of {alike}\n{}", pod.key(), world.story());
    assert!(there.len() <= 1 || surge > 0, "{} is one of {}\n{}", pod.key(), there.len(), world.story());
}

/// While nobody but the agents and the controller does anything.
fn within_bounds(world: &World, event: &Event) {
    let Some(set) = world.view.get(&key()).map(tree) else { return };
    if event.key().kind() != kinds::POD {
        return;
    }
    let rolling = &set["spec"]["updateStrategy"]["rollingUpdate"];
    let [surge, unavailable] =
        ["maxSurge", "maxUnavailable"].map(|field| rolling[field].as_u64().unwrap_or(0) as usize);
    let ([wanted, _], pods) = (wanted(world, &set), pods(world));
    let active = |node: &String| -> Vec<&Object> {
        pods.get(node).into_iter().flatten().copied().filter(|pod| is_active(pod)).collect()
    };
    let missing = wanted.iter().filter(|node| !active(node).into_iter().any(is_ready)).count();
    let twice = wanted.iter().filter(|node| active(node).len() > 1).count();
    assert!(missing <= unavailable, "{missing} nodes are without, more than {unavailable}\n{}", world.story());
    assert!(twice <= surge, "{twice} nodes have two, more than {surge}\n{}", world.story());
}

/// Once nothing is left to do.
fn at_rest(world: &World) {
    let Some(set) = world.view.get(&key()) else {
        let is_lost =
            |it: &&Object| it.meta().owner_references.iter().any(|owner| world.view.by_uid(&owner.uid).is_none());
        let lost = world.view.objects().find(is_lost);
        return assert!(lost.is_none(), "{lost:?} outlives its set\n{}", world.story());
    };
    let set = tree(set);
    let told = || format!("at rest: {}\n{}", set["status"], world.story());
    let ([run, stay], pods) = (wanted(world, &set), pods(world));
    for (node, there) in &pods {
        assert!(run.contains(node) || stay.contains(node), "{node} has a pod {}", told());
        assert_eq!(there.len(), 1, "{node} {}", told());
    }
    let image = |template: &Value| template["spec"]["containers"][0]["image"].clone();
    let mut updated = 0;
    for node in &run {
        let pod = pods.get(node).unwrap_or_else(|| panic!("{node} has no pod {}", told()))[0];
        let is_updated = image(&tree(pod)) == image(&set["spec"]["template"]);
        assert!(is_ready(pod), "{node} {}", told());
        assert!(is_updated || set["spec"]["updateStrategy"]["type"] == "OnDelete", "{node} is old {}", told());
        updated += usize::from(is_updated);
    }
    let count = |field: &str| set["status"][field].as_u64().unwrap_or(0) as usize;
    let all = ["desiredNumberScheduled", "currentNumberScheduled", "numberReady", "numberAvailable"].map(count);
    assert_eq!(all, [run.len(); 4], "{}", told());
    assert!(count("updatedNumberScheduled") <= updated, "{updated} {}", told());
    assert_eq!(count("numberMisscheduled"), pods.keys().filter(|node| stay.contains(node)).count(), "{}", told());
    assert_eq!(set["status"]["observedGeneration"], set["metadata"]["generation"], "{}", told());
}

fn play(seed: u64, steps: &[Step]) {
    let mut world = world(seed);
    for one in steps {
        act(&mut world, one);
        world.look(3);
    }
    rest(&mut world);
    at_rest(&world);
}

/// Only the image changes, and agents bring pods up: the bounds hold at every revision.
fn roll(seed: u64, (surge, unavailable): (u8, u8), looks: &[u8]) {
    let mut world = world(seed);
    act(&mut world, &Step::Rolling { surge, unavailable });
    rest(&mut world);
    world.laws.push(within_bounds);
    for (round, count) in looks.iter().enumerate() {
        if round % 5 == 0 {
            act(&mut world, &Step::SetImage { image: (round / 5 + 1) as u8 });
        }
        world.look(usize::from(*count));
        agents(&mut world, true);
        world.now += SignedDuration::from_secs(5);
    }
    rest(&mut world);
    at_rest(&world);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::histories(300), failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_daemon_set_comes_to_rest_and_keeps_the_laws(seed: u64, steps in proptest::collection::vec(step(), 1..40)) {
        play(seed, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::histories(100), failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn an_update_of_a_daemon_set_stays_within_its_bounds(
        seed: u64, bounds in (0_u8..3, 1_u8..3), looks in proptest::collection::vec(0_u8..6, 1..30),
    ) {
        roll(seed, bounds, &looks);
    }
}
