use api::Object;
use proptest::prelude::*;
use serde_json::{Value, json};
use state::Txn;

use super::*;
use crate::Resources;

/// `name key=value… cpu=2 memory=1Gi pods=10 taint=k:v:Effect cordoned`, nodes apart by `;`.
pub(crate) fn nodes(text: &str) -> Vec<Object> {
    text.split(';').map(str::trim).filter(|text| !text.is_empty()).map(node).collect()
}

fn node(text: &str) -> Object {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a node has a name");
    let mut allocatable = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let (mut labels, mut taints, mut cordoned) = (json!({}), vec![], false);
    for word in words {
        match word.split_once('=') {
            None => cordoned = word == "cordoned",
            Some((resource @ ("cpu" | "memory" | "pods"), amount)) => allocatable[resource] = amount.into(),
            Some(("taint", taint)) => {
                let parts: Vec<&str> = taint.split(':').collect();
                taints.push(json!({"key": parts[0], "value": parts[1], "effect": parts[2]}));
            }
            Some((label, value)) => labels[label] = value.into(),
        }
    }
    let value = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints, "unschedulable": cordoned}, "status": {"allocatable": allocatable}});
    Object::from_value(kinds::NODE, &value).expect("a node")
}

/// `name cpu=… memory=… owner=… on=node label:value ended`, and the rest of the spec as JSON after a `{`, `ports` being its container's.
pub(crate) fn pod(text: &str) -> Object {
    let (words, spec) = text.find('{').map_or((text, "{}"), |at| text.split_at(at));
    let mut spec: Value = serde_json::from_str(spec).expect("a pod's spec");
    let mut words = words.split_whitespace();
    let (mut requests, mut owners, mut labels, mut phase) = (json!({}), json!([]), json!({}), "Pending");
    let name = words.next().expect("a pod has a name");
    for word in words {
        if let Some((label, value)) = word.split_once(':') {
            labels[label] = value.into();
            continue;
        }
        match word.split_once('=') {
            None => phase = "Succeeded",
            Some(("priority", priority)) => spec["priority"] = priority.parse::<i32>().expect("a number").into(),
            Some(("owner", uid)) => {
                owners = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid, "uid": uid, "controller": true}]);
            }
            Some(("on", node)) => spec["nodeName"] = node.into(),
            Some((resource, amount)) => requests[resource] = amount.into(),
        }
    }
    let ports = spec["ports"].take();
    spec["containers"] = json!([{"name": "c", "resources": {"requests": requests}, "ports": ports}]);
    let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "labels": labels, "ownerReferences": owners},
        "spec": spec, "status": {"phase": phase}});
    Object::from_value(kinds::POD, &value).expect("a pod")
}

/// Asks for a node for `asking` where `world` holds nodes, a `|`, and pods that run already.
fn check(world: &str, asking: &str, expected: &str) {
    let (about_nodes, about_pods) = world.split_once('|').unwrap_or((world, ""));
    let pods = about_pods.split(';').map(str::trim).filter(|text| !text.is_empty()).map(pod);
    let view = Snapshot::load(api::Revision(1), nodes(about_nodes).into_iter().chain(pods));
    let asking = pod(asking).decode::<Pod>().expect("a pod");
    for seed in 0..8 {
        let found = match crate::place(&view, &asking, seed) {
            Ok(node) => node.to_string(),
            Err(reasons) => reasons.to_string(),
        };
        assert_eq!(found, expected, "with seed {seed} in {world}");
    }
}

#[test]
fn every_reason_is_told() {
    check("", "p", "no nodes available to schedule pods");
    check("a memory=1Gi", "p memory=2Gi", "0/1 nodes are available: 1 Insufficient memory.");
    check(
        "a cpu=500m memory=1Gi",
        "p cpu=1 memory=2Gi",
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.",
    );
    check(
        "a memory=1Gi; b taint=gpu:yes:NoSchedule; c taint=gpu:yes:NoExecute",
        "p memory=2Gi",
        "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {gpu: yes}.",
    );
    check("a cordoned", "p", "0/1 nodes are available: 1 node(s) were unschedulable.");
    check("a pods=1 | q on=a", "p", "0/1 nodes are available: 1 Too many pods.");
    check(
        "a disk=hdd",
        r#"p {"nodeSelector": {"disk": "ssd"}}"#,
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    );
}

#[test]
fn a_port_of_a_node_is_one_pods() {
    let check = |taken: &str, asked: &str, expected: &str| {
        let pod = |ports: &str| format!(r#"{{"ports": [{{"containerPort": 80, {ports}}}]}}"#);
        let world = format!("a; b cordoned | q on=a {}", pod(taken));
        let no = "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) were unschedulable.";
        check(&world, &format!("p {}", pod(asked)), if expected.is_empty() { no } else { expected });
    };
    check(r#""hostPort": 80"#, r#""hostPort": 80"#, "");
    check(r#""hostPort": 80, "hostIP": "192.0.2.1""#, r#""hostPort": 80"#, "");
    check(r#""hostPort": 80"#, r#""hostPort": 80, "hostIP": "192.0.2.1", "protocol": "TCP""#, "");
    check(r#""hostPort": 80, "hostIP": "192.0.2.1""#, r#""hostPort": 80, "hostIP": "192.0.2.2""#, "a");
    check(r#""hostPort": 80"#, r#""hostPort": 80, "protocol": "UDP""#, "a");
    check(r#""hostPort": 80"#, r#""hostPort": 81"#, "a");
    check(r#""name": "http""#, r#""hostPort": 80"#, "a");
}

#[test]
fn pods_that_have_ended_take_no_room() {
    check("a cpu=1 | q cpu=1 on=a", "p cpu=1", "0/1 nodes are available: 1 Insufficient cpu.");
    check("a cpu=1 | q cpu=1 on=a ended", "p cpu=1", "a");
}

#[test]
fn selectors_affinity_and_tolerations_decide() {
    check("a disk=hdd; b disk=ssd", r#"p {"nodeSelector": {"disk": "ssd"}}"#, "b");
    let affinity = |operator: &str, values: &str| {
        format!(
            r#"p {{"affinity": {{"nodeAffinity": {{"requiredDuringSchedulingIgnoredDuringExecution": {{"nodeSelectorTerms":
                [{{"matchExpressions": [{{"key": "size", "operator": "{operator}", "values": {values}}}]}}]}}}}}}}}"#
        )
    };
    check("a size=1; b size=7", &affinity("Gt", r#"["5"]"#), "b");
    check("a size=1; b", &affinity("DoesNotExist", "[]"), "b");
    check("a size=1; b size=2", &affinity("NotIn", r#"["1"]"#), "b");
    check("a taint=k:v:NoSchedule", r#"p {"tolerations": [{"operator": "Exists"}]}"#, "a");
    check("a taint=k:v:NoSchedule", r#"p {"tolerations": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}"#, "a");
    check("a taint=k:v:PreferNoSchedule; b", "p", "b");
}

/// The affinity of a pod to pods of an app; `kind` is `near`, `apart`, `rather near` or `rather apart`.
fn affinity(kind: &str, key: &str, app: &str) -> String {
    let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}});
    let which = if kind.ends_with("near") { "podAffinity" } else { "podAntiAffinity" };
    let rules = if kind.starts_with("rather") {
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]})
    } else {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
    };
    json!({"affinity": {which: rules}}).to_string()
}

const ZONES: &str = "a zone=1; b zone=1; c zone=2";

#[test]
fn pods_go_to_those_whom_they_want_near() {
    let near = affinity("near", "zone", "db");
    check(&format!("{ZONES} cpu=1 | q app:db on=c cpu=900m"), &format!("p {near}"), "c");
    let no = "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.";
    check(ZONES, &format!("p app:web {near}"), no);
    check("a; b zone=2", &format!("p app:db {near}"), "b");
    check("a cpu=1; b cpu=16 | q app:db on=a cpu=500m", &format!("p {}", affinity("rather near", "name", "db")), "b");
    let close = "a cpu=1 name=a; b cpu=16 name=b | q app:db on=a cpu=500m";
    check(close, &format!("p {}", affinity("rather near", "name", "db")), "a");
}

#[test]
fn pods_go_away_from_those_whom_they_want_far() {
    let apart = affinity("apart", "zone", "web");
    check(&format!("{ZONES} | q app:web on=a"), &format!("p {apart}"), "c");
    let no = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.";
    check(&format!("{ZONES} | q app:web on=a; r app:web on=c"), &format!("p {apart}"), no);
    let theirs = format!("{ZONES} | q on=a {apart}; r on=c {apart}");
    let no = "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules.";
    check(&theirs, "p app:web", no);
    check(&format!("{ZONES} | q on=a {apart}"), "p app:web", "c");
    let rather = affinity("rather apart", "zone", "web");
    check(&format!("{ZONES} cpu=1 | q app:web on=a"), &format!("p {rather}"), "c");
    check("a zone=1; b zone=2; c zone=3 cpu=1 | q on=a app:web; r on=b app:web", &format!("p {rather}"), "c");
}

#[test]
fn pods_of_other_namespaces_are_not_meant_unless_it_is_said() {
    let world = |rules: &str| {
        let mut other = pod("q app:web on=a").to_value().expect("a tree");
        other["metadata"]["namespace"] = "other".into();
        let other = Object::from_value(kinds::POD, &other).expect("a pod");
        let space =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other", "labels": {"team": "x"}}});
        let space = Object::from_value(kinds::NAMESPACE, &space).expect("a namespace");
        let view = Snapshot::load(api::Revision(1), nodes("a zone=1").into_iter().chain([other, space]));
        let rules: Value = serde_json::from_str(rules).expect("rules");
        let mut term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}});
        term.as_object_mut().expect("a term").extend(rules.as_object().expect("rules").clone());
        let rules =
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
        let asking = pod(&format!("p {rules}")).decode::<Pod>().expect("a pod");
        crate::place(&view, &asking, 0).is_ok()
    };
    assert!(world("{}"));
    assert!(!world(r#"{"namespaces": ["other"]}"#));
    assert!(!world(r#"{"namespaceSelector": {}}"#));
    assert!(!world(r#"{"namespaceSelector": {"matchLabels": {"team": "x"}}}"#));
    assert!(world(r#"{"namespaceSelector": {"matchLabels": {"team": "y"}}}"#));
}

#[test]
fn pods_lie_evenly() {
    let spread = |more: &str| {
        format!(
            r#"p app:web {{"topologySpreadConstraints": [{{"topologyKey": "zone", "maxSkew": 1, "labelSelector": {{"matchLabels": {{"app": "web"}}}}, {more}}}]}}"#
        )
    };
    let hard = spread(r#""whenUnsatisfiable": "DoNotSchedule""#);
    check(&format!("{ZONES} | q app:web on=a"), &hard, "c");
    check("a; b zone=1 | q app:web on=b", &hard, "b");
    let no = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints.";
    let full = "a zone=1; b zone=2 cpu=1 | q app:web on=a; r cpu=1 on=b";
    check(full, &hard.replace("p app:web", "p app:web cpu=1"), no);
    let no =
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label).";
    check("a", &hard, no);
    check("a zone=1 cpu=1; b zone=2 cpu=16 | q app:web on=b", &spread(r#""whenUnsatisfiable": "ScheduleAnyway""#), "a");
    let least = spread(r#""whenUnsatisfiable": "DoNotSchedule", "minDomains": 3"#);
    check("a zone=1; b zone=2 | q app:web on=a", &least, "b");
    let no = "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints.";
    check("a zone=1; b zone=2 | q app:web on=a; r app:web on=b", &least, no);
    let cordoned = "a zone=1; b zone=2 taint=k:v:NoSchedule | q app:web on=a";
    let no = "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) had untolerated taint {k: v}.";
    check(cordoned, &hard, no);
    check(cordoned, &spread(r#""whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "Honor""#), "a");
}

#[test]
fn siblings_go_apart_and_then_the_emptier_node_wins() {
    check("a; b | q cpu=1 on=b", "p", "a");
    check("a; b | q owner=r on=a; s cpu=2 on=b", "p owner=r", "b");
    check("a cpu=1; b cpu=16", "p cpu=1", "b");
}

#[test]
fn a_round_gives_no_port_twice() {
    let view = Snapshot::load(api::Revision(1), nodes("a; b"));
    let mut cluster = Cluster::of(&view);
    let demand = |name: &str| {
        let asking = pod(&format!(r#"{name} {{"ports": [{{"containerPort": 80, "hostPort": 80}}]}}"#));
        Demand::of(&asking.decode::<Pod>().expect("a pod"))
    };
    for name in ["p", "q"] {
        let node = cluster.place(&demand(name), 3).expect("a node");
        cluster.assume(&node, &demand(name));
    }
    assert!(cluster.place(&demand("r"), 3).is_err());
}

#[test]
fn a_round_spends_no_room_twice() {
    let view = Snapshot::load(api::Revision(1), nodes("a cpu=1; b cpu=1"));
    let mut cluster = Cluster::of(&view);
    let demand = |number: usize| {
        let asking = pod(&format!("p{number} cpu=1"));
        Demand::of(&asking.decode::<Pod>().expect("a pod"))
    };
    let mut placed = Vec::new();
    while let Ok(node) = cluster.place(&demand(placed.len()), 3) {
        cluster.assume(&node, &demand(placed.len()));
        placed.push(node.to_string());
    }
    placed.sort();
    assert_eq!(placed, ["a", "b"]);
}

#[test]
fn quantities_are_read_as_kubernetes_reads_them() {
    let room = |text: &str| {
        Resources::of(&BTreeMap::from([(
            "memory".into(),
            k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.into()),
        )]))
        .memory_bytes
    };
    assert_eq!(
        ["1Ki", "1.5k", "1e3", "128974848", "100m", "2E"].map(room),
        [1024, 1500, 1000, 128_974_848, 1, 2_000_000_000_000_000_000]
    );
}

/// What becomes of a world: pods come to nodes, leave them, end and go, and nodes change and come.
#[derive(Clone, Debug)]
enum Step {
    Pod(u8, u8, u8),
    Ends(u8, u8),
    Goes(u8),
    Node(u8, u8),
    NodeGoes(u8),
    /// A decision that is taken as carried out, and never is.
    Assumed(u8, u8),
    Dismissed(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..12_u8, 0..5_u8, 1..9_u8).prop_map(|(pod, node, cpu)| Step::Pod(pod, node, cpu)),
        1 => (0..12_u8, 0..5_u8).prop_map(|(pod, node)| Step::Ends(pod, node)),
        2 => (0..12_u8).prop_map(Step::Goes),
        2 => (0..5_u8, 1..5_u8).prop_map(|(node, cpu)| Step::Node(node, cpu)),
        1 => (0..5_u8).prop_map(Step::NodeGoes),
        3 => (0..12_u8, 0..5_u8).prop_map(|(pod, node)| Step::Assumed(pod, node)),
        2 => (0..12_u8).prop_map(Step::Dismissed),
    ];
    prop::collection::vec(step, 0..40)
}

/// All that decisions depend on but for the order of nodes, in one order.
fn told(cluster: &Cluster) -> Vec<String> {
    let of_node = |node: &Node| {
        let mut there: Vec<_> = node.residents.iter().map(|there| there.key().to_string()).collect();
        there.sort_unstable();
        let Node { name, allocatable, taken, weight, ports, .. } = node;
        format!("{name} {allocatable:?} {taken:?} {weight:?} {} {there:?}", ports.len())
    };
    let name = |place: &usize| &cluster.nodes[*place].name;
    let mut told: Vec<String> = cluster.nodes.iter().map(of_node).collect();
    told.extend(cluster.places.iter().map(|(pod, place)| format!("{pod} on {}", name(place))));
    let siblings = cluster.siblings.iter().flat_map(|(owner, counts)| counts.iter().map(move |it| (owner, it)));
    told.extend(siblings.map(|(owner, (place, count))| format!("{count} of {owner} on {}", name(place))));
    told.extend(cluster.index.iter().map(|(named, place)| format!("{named} is {}", name(place))));
    told.sort_unstable();
    told
}

proptest! {
    #[test]
    fn what_follows_is_what_is_made_anew(looks in prop::collection::vec(steps(), 1..6)) {
        let mut view = Snapshot::load(api::Revision(1), nodes("n0; n1; n2"));
        let (mut earlier, mut kept) = (view.clone(), Cluster::of(&view));
        for look in looks {
            for step in look {
                let of = |pod: u8, node: u8, rest: &str| self::pod(&format!("p{pod} owner=o{} on=n{node} {rest}", pod % 3));
                let key = |pod: u8| kinds::POD.key("n", &format!("p{pod}"));
                let txn = match step {
                    Step::Pod(pod, node, cpu) => Txn::default().put(of(pod, node, &format!("cpu={cpu}00m"))),
                    Step::Ends(pod, node) => Txn::default().put(of(pod, node, "ended")),
                    Step::Goes(pod) => Txn::default().remove(key(pod)),
                    Step::Node(node, cpu) => Txn::default().put(self::node(&format!("n{node} cpu={cpu}"))),
                    Step::NodeGoes(node) => Txn::default().remove(kinds::NODE.cluster_key(&format!("n{node}"))),
                    Step::Assumed(pod, node) => {
                        // Only of a pod that has no node anything is decided.
                        let asking = self::pod(&format!("a{pod} cpu=100m")).decode::<Pod>().expect("a pod");
                        kept.assume(&NodeName::from(format!("n{node}").as_str()), &Demand::of(&asking));
                        Txn::default()
                    }
                    Step::Dismissed(pod) => {
                        kept.dismiss(&key(pod));
                        Txn::default()
                    }
                };
                view = view.apply(&txn).expect("nothing is guarded").0;
            }
            let small = Demand::of(&self::pod("small cpu=300m").decode::<Pod>().expect("a pod"));
            let was_refused = kept.place(&small, 7).is_err();
            let gives = kept.follow(&earlier, &view).gives;
            earlier = view.clone();
            prop_assert_eq!(told(&kept), told(&Cluster::of(&view)));
            prop_assert!(gives || !was_refused || kept.place(&small, 7).is_err(), "there is room, and nothing was said");
        }
    }
}

#[test]
fn of_very_many_nodes_a_few_that_are_good_are_enough() {
    assert_eq!([10, 100, 500, 1_000, 5_000, 10_000].map(enough), [100, 100, 230, 420, 500, 500]);
    let world =
        (0..300).map(|n| format!("n{n} cpu={}", if n == 299 { "4" } else { "1" })).collect::<Vec<_>>().join(";");
    check(&world, "p cpu=2", "n299");
    check(&world, "p cpu=8", "0/300 nodes are available: 300 Insufficient cpu.");
}

#[test]
fn pods_that_ask_the_same_have_one_request() {
    let request = |text: &str| Demand::of(&pod(text).decode::<Pod>().expect("a pod")).request();
    assert_eq!(request("p cpu=1 app:web owner=r"), request("q cpu=1 app:web owner=s"));
    for other in ["p cpu=2 app:web", "p cpu=1 app:db", "p cpu=1 app:web priority=7"] {
        assert_ne!(request("p cpu=1 app:web"), request(other), "{other}");
    }
    let selects = r#"p cpu=1 app:web {"nodeSelector": {"disk": "ssd"}}"#;
    assert_ne!(request("p cpu=1 app:web"), request(selects));
    let apart = r#"p {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}}"#;
    assert_eq!(request(apart), None);
}
