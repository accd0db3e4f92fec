use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::notation::{check, noon, object};

fn node(memory: &str) -> Object {
    object(kinds::NODE, "n1", json!({"status": {"allocatable": {"cpu": "1", "memory": memory, "pods": "10"}}}))
}

fn pod() -> Object {
    let containers = json!([{"name": "c", "resources": {"requests": {"memory": "1Gi"}}}]);
    object(kinds::POD, "default/p", json!({"spec": {"containers": containers}}))
}

#[test]
fn a_pod_gets_the_node_that_has_room_and_the_story_is_told() {
    let told = ["event Scheduled: Successfully assigned default/p to n1", "~Pod p \"n1\" \"True\""];
    check(
        &Scheduling::default(),
        &[node("2Gi"), pod()],
        &waiting_room(),
        &["/spec/nodeName", "/status/conditions/0/status"],
        &told,
    );
}

#[test]
fn a_pod_is_bound_with_an_address_of_its_node_that_nobody_has() {
    let mut home = node("9Gi").to_value().expect("a tree");
    home["spec"] = json!({"podCIDR": "10.42.3.0/29", "podCIDRs": ["10.42.3.0/29"]});
    let home = Object::from_value(kinds::NODE, &home).expect("a node");
    let bound = |name: &str, address: &str| {
        let status = json!({"phase": "Running", "podIP": address});
        object(
            kinds::POD,
            &format!("default/{name}"),
            json!({"spec": {"nodeName": "n1", "containers": []}, "status": status}),
        )
    };
    let waiting = |name: &str, on_host: bool| {
        let spec = json!({"hostNetwork": on_host, "containers": [{"name": "c"}]});
        object(kinds::POD, &format!("default/{name}"), json!({"spec": spec}))
    };
    let world = [home, bound("x", "10.42.3.5"), waiting("a", false), waiting("b", true), waiting("c", false)];
    let told = ["a", "b", "c"].map(|pod| format!("event Scheduled: Successfully assigned default/{pod} to n1"));
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    let pods = ["~Pod a \"n1\" \"10.42.3.6\"", "~Pod b \"n1\"", "~Pod c \"n1\" \"10.42.3.2\""];
    let told = [told.as_slice(), &pods].concat();
    let show = ["/spec/nodeName", "/status/podIP"];
    check(&Scheduling::default(), &world, &waiting_room(), &show, &told);
}

#[test]
fn a_pod_that_fits_nowhere_says_why_once() {
    let why = "0/1 nodes are available: 1 Insufficient memory.";
    let told = [format!("event FailedScheduling: {why}"), format!("~Pod p \"Unschedulable\" \"{why}\"")];
    let show = ["/status/conditions/0/reason", "/status/conditions/0/message"];
    let view = check(
        &Scheduling::default(),
        &[node("1Mi"), pod()],
        &waiting_room(),
        &show,
        &told.each_ref().map(String::as_str),
    );
    let after: Vec<Object> = view.objects().filter(|it| it.key().kind() != kinds::NAMESPACE).cloned().collect();
    check(&Scheduling::default(), &after, &waiting_room(), &show, &[]);
}

fn ranked(name: &str, memory: &str, priority: i32, node: Option<&str>) -> Object {
    let containers = json!([{"name": "c", "resources": {"requests": {"memory": memory}}}]);
    let spec =
        json!({"containers": containers, "priority": priority, "nodeName": node, "terminationGracePeriodSeconds": 0});
    object(kinds::POD, &format!("default/{name}"), json!({"spec": spec}))
}

/// The one that matters less goes; who comes next does not get the room, whoever is promised it does, once it is free.
#[test]
fn a_pod_that_matters_more_gets_the_room_of_one_that_matters_less() {
    let why = "0/1 nodes are available: 1 Insufficient memory.";
    let low = ranked("low", "1Gi", 1, Some("n1"));
    let told = [
        "-Pod low \"n1\"",
        &format!("event FailedScheduling: {why}"),
        "event Preempted: Preempted by pod high on node n1",
        "~Pod high \"n1\"",
    ];
    let show = ["/status/nominatedNodeName", "/spec/nodeName"];
    let world = [node("1Gi"), low, ranked("high", "1Gi", 9, None)];
    let view = check(&Scheduling::default(), &world, &waiting_room(), &show, &told);
    let after: Vec<Object> = view.objects().filter(|it| it.key().kind() != kinds::NAMESPACE).cloned().collect();
    let told = ["event Scheduled: Successfully assigned default/high to n1", "~Pod high \"n1\" \"n1\""];
    check(&Scheduling::default(), &after, &waiting_room(), &show, &told);
}

#[test]
fn while_others_leave_nobody_takes_the_room_that_was_promised() {
    let mut leaving = ranked("low", "400Mi", 1, Some("n1")).to_value().expect("a tree");
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let leaving = Object::from_value(kinds::POD, &leaving).expect("a pod");
    let mut promised = ranked("high", "1200Mi", 9, None).to_value().expect("a tree");
    promised["status"] = json!({"nominatedNodeName": "n1"});
    let promised = Object::from_value(kinds::POD, &promised).expect("a pod");
    let why = "0/1 nodes are available: 1 Insufficient memory.";
    let waiting = format!("event FailedScheduling: {why}");
    let told = [waiting.as_str(), waiting.as_str(), "~Pod high \"n1\"", "~Pod late"];
    let show = ["/status/nominatedNodeName", "/spec/nodeName"];
    let world = [node("1500Mi"), leaving, promised, ranked("late", "1000Mi", 5, None)];
    check(&Scheduling::default(), &world, &waiting_room(), &show, &told);
}

/// A world without nodes and pods, and whoever places pods in it.
struct Place {
    view: Snapshot,
    scheduling: Scheduling,
    looks: u64,
}

impl Place {
    fn of(objects: impl IntoIterator<Item = Object>) -> Self {
        let home = object(kinds::NAMESPACE, "default", json!({}));
        let view =
            Snapshot::load(api::Revision(1), objects.into_iter().chain([home]).map(|it| it.at(api::Revision(1))));
        Self { view, scheduling: Scheduling::default(), looks: 0 }
    }

    fn put(&mut self, object: Object) {
        self.apply(&Txn::default().put(object));
    }

    fn apply(&mut self, txn: &Txn) {
        self.view = self.view.apply(txn).expect("it holds").0;
    }

    /// One look; of what it wants all but every `lost`th comes about. How much it wants.
    fn look(&mut self, lost: Option<usize>) -> usize {
        self.looks += 1;
        let plan = self.scheduling.reconcile(&waiting_room(), &self.view, Look::new(noon(), self.looks));
        for (at, txn) in plan.txns.iter().enumerate().filter(|(at, _)| lost.is_none_or(|lost| at % lost != 0)) {
            self.view = self.view.apply(txn).unwrap_or_else(|conflict| panic!("{at}: {conflict}")).0;
        }
        plan.txns.len()
    }

    /// Looks until there is nothing more to do.
    fn rest(&mut self) {
        for _ in 0..20 {
            if self.look(None) == 0 {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn word_of(&self, pod: &str) -> String {
        let pod = self.view.get(&kinds::POD.key("default", pod)).expect("a pod").decode::<Pod>().expect("a pod");
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let said = conditions.into_iter().find_map(|condition| condition.message).unwrap_or_default();
        pods::node(&pod).map_or(said, |node| format!("on {node}"))
    }
}

fn sized(name: &str, cpu: u8) -> Object {
    object(
        kinds::NODE,
        name,
        json!({"status": {"allocatable": {"cpu": cpu.to_string(), "memory": "8Gi", "pods": "110"}}}),
    )
}

fn asking(name: &str, cpu: u8, priority: i32) -> Object {
    let containers = json!([{"name": "c", "resources": {"requests": {"cpu": cpu.to_string()}}}]);
    let spec = json!({"containers": containers, "priority": priority, "terminationGracePeriodSeconds": 0});
    object(kinds::POD, &format!("default/{name}"), json!({"spec": spec}))
}

#[test]
fn who_stands_aside_is_told_what_is_new_and_comes_when_there_is_room() {
    let mut place = Place::of([sized("n1", 1), asking("p", 2, 0), asking("q", 2, 0), asking("r", 3, 0)]);
    place.rest();
    assert_eq!(
        ["p", "q", "r"].map(|pod| place.word_of(pod)),
        [const { "0/1 nodes are available: 1 Insufficient cpu." }; 3]
    );
    place.put(sized("n2", 1));
    place.rest();
    assert_eq!(
        ["p", "q", "r"].map(|pod| place.word_of(pod)),
        [const { "0/2 nodes are available: 2 Insufficient cpu." }; 3]
    );
    place.put(sized("n2", 5));
    place.rest();
    assert_eq!(place.word_of("p"), "on n2");
    assert_eq!(place.word_of("q"), "on n2");
    assert_eq!(place.word_of("r"), "0/2 nodes are available: 2 Insufficient cpu.");
    place.apply(&Txn::default().remove(kinds::POD.key("default", "p")));
    place.rest();
    assert_eq!(place.word_of("r"), "on n2");
}

#[test]
fn of_a_crowd_that_asks_the_same_one_asks_for_all() {
    let crowd = (0..300).map(|n| asking(&format!("p{n:03}"), 2, 0));
    let mut place = Place::of(crowd.chain([sized("n1", 1), sized("n2", 1)]));
    place.rest();
    assert_eq!(place.word_of("p299"), "0/2 nodes are available: 2 Insufficient cpu.");
    // Another reason is told to all of them; that fewer nodes give it, only to who is asked about.
    let mut cordoned = sized("n1", 1).to_value().expect("a tree");
    cordoned["spec"] = json!({"unschedulable": true});
    place.put(Object::from_value(kinds::NODE, &cordoned).expect("a node"));
    assert_eq!(place.look(None), 300);
    place.rest();
    let mixed = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable.";
    assert_eq!([place.word_of("p000"), place.word_of("p299")], [mixed; 2]);
    place.put(sized("n2", 4));
    place.rest();
    let placed = (0..300).filter(|n| place.word_of(&format!("p{n:03}")) == "on n2").count();
    assert_eq!(placed, 2, "as many as there is room for");
}

/// What happens to a small cluster.
#[derive(Clone, Debug)]
enum Step {
    Asks(u8, u8, i32),
    Goes(u8),
    Ends(u8),
    Node(u8, u8),
    NodeGoes(u8),
    /// A look, of which some comes to nothing.
    Looks(Option<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..12_u8, 1..4_u8, 0..2_i32).prop_map(|(pod, cpu, priority)| Step::Asks(pod, cpu, priority)),
        2 => (0..12_u8).prop_map(Step::Goes),
        1 => (0..12_u8).prop_map(Step::Ends),
        2 => (0..3_u8, 1..5_u8).prop_map(|(node, cpu)| Step::Node(node, cpu)),
        1 => (0..3_u8).prop_map(Step::NodeGoes),
        4 => prop::option::of(1..4_usize).prop_map(Step::Looks),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    /// Whoever knows what was refused leaves nobody waiting whom somebody who knows nothing would place.
    #[test]
    fn nobody_is_passed_over_who_could_have_a_node(steps in steps()) {
        let mut place = Place::of([sized("n0", 2)]);
        for step in steps {
            let key = |pod: u8| kinds::POD.key("default", &format!("p{pod}"));
            match step {
                Step::Asks(pod, cpu, priority) if place.view.get(&key(pod)).is_none() => {
                    place.put(asking(&format!("p{pod}"), cpu, priority));
                }
                Step::Asks(..) => {}
                Step::Goes(pod) => place.apply(&Txn::default().remove(key(pod))),
                Step::Ends(pod) => {
                    let Some(mut ended) = place.view.get(&key(pod)).and_then(|pod| pod.to_value().ok()) else { continue };
                    ended["status"]["phase"] = "Succeeded".into();
                    place.put(Object::from_value(kinds::POD, &ended).expect("a pod"));
                }
                Step::Node(node, cpu) => place.put(sized(&format!("n{node}"), cpu)),
                Step::NodeGoes(node) => place.apply(&Txn::default().remove(kinds::NODE.cluster_key(&format!("n{node}")))),
                Step::Looks(lost) => {
                    place.look(lost);
                }
            }
        }
        place.rest();
        let anew = Scheduling::default().reconcile(&waiting_room(), &place.view, Look::new(noon(), 7));
        for txn in &anew.txns {
            let (_, events) = place.view.apply(txn).expect("it holds");
            for event in events.iter().filter(|event| event.key().kind() == kinds::POD) {
                let after = event.after().map(|pod| pod.decode::<Pod>().expect("a pod"));
                prop_assert!(after.is_some_and(|pod| pods::node(&pod).is_none()), "{} was passed over", event.key());
            }
        }
    }
}
