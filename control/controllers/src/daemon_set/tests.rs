//! What becomes of the pods of `probe` on the nodes `a`, `b` and `c`, in a few words.
//!
//! `v2` asks for another image, `unavailable 2`, `surge 1`, `only fast` and so on for what they say; `node d`, `lose a`, `label a fast`,
//! `taint a NoExecute` and `tolerate` speak of nodes; `ready`, `ready a`, `unready a`, `fail a`, `delete a`, `gone` and `gone a` tell
//! what agents do to pods. After each word, or words joined by `&`, the controller looks until it is quiet.
//! A world reads `a:v1+ b:v1-`: nodes, images, and `+` for ready, `-` for not, `~` for on the way out, `!` for failed.

use api::{Object, Revision, kinds};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use state::{Snapshot, Txn};

use super::{DaemonSets, pod};
use crate::notation::{noon, object};
use crate::{Controller, Look};

struct World {
    view: Snapshot,
    now: Timestamp,
    looks: u64,
}

fn check(words: &str, expected: &str) -> World {
    let mut world = World::new();
    for word in words.split("; ") {
        word.split(" & ").for_each(|word| world.act(word));
        world.settle();
    }
    assert_eq!(world.pods(), expected, "after {words}");
    world
}

fn key() -> api::Key {
    kinds::DAEMON_SET.key("default", "probe")
}

// === impl World ===

impl World {
    fn new() -> Self {
        let container = json!({"name": "c", "image": "app:v1"});
        let template = json!({"metadata": {"labels": {"app": "probe"}}, "spec": {"containers": [container]}});
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
        let spec =
            json!({"selector": {"matchLabels": {"app": "probe"}}, "template": template, "updateStrategy": strategy});
        let set = object(kinds::DAEMON_SET, "default/probe", json!({"apiVersion": "apps/v1", "spec": spec}));
        let home = object(kinds::NAMESPACE, "default", json!({}));
        let account = object(kinds::SERVICE_ACCOUNT, "default/default", json!({}));
        let nodes = ["a", "b", "c"].map(|name| object(kinds::NODE, name, json!({})));
        let objects = nodes.into_iter().chain([set, home, account]);
        Self { view: Snapshot::load(Revision(1), objects.map(|it| it.at(Revision(1)))), now: noon(), looks: 0 }
    }

    fn act(&mut self, word: &str) {
        let words: Vec<&str> = word.split(' ').collect();
        match words.as_slice() {
            ["unavailable", most] => self.rolling(json!({"maxSurge": 0, "maxUnavailable": of(most)})),
            ["surge", most] => self.rolling(json!({"maxSurge": of(most), "maxUnavailable": 0})),
            ["on-delete"] => self.spec(|spec| spec["updateStrategy"] = json!({"type": "OnDelete"})),
            ["patient", seconds] => self.spec(|spec| spec["minReadySeconds"] = of(seconds)),
            ["only", label] => self.spec(|spec| spec["template"]["spec"]["nodeSelector"] = json!({*label: "yes"})),
            ["tolerate"] => self.spec(|spec| {
                spec["template"]["spec"]["tolerations"] = json!([{"key": "tide", "operator": "Exists"}]);
            }),
            ["node", name] => self.put(&object(kinds::NODE, name, json!({}))),
            ["lose", name] => self.remove(&kinds::NODE.cluster_key(name)),
            ["label", name, label] => self.node(name, |node| node["metadata"]["labels"] = json!({*label: "yes"})),
            ["taint", name, effect] => self.node(name, |node| {
                node["spec"] = json!({"taints": [{"key": "tide", "effect": effect}]});
            }),
            ["cordon", name] => self.node(name, |node| {
                let taint = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
                node["spec"] = json!({"unschedulable": true, "taints": [taint]});
            }),
            ["ready", at @ ..] => self.pod(at, |pod, node| says(pod, node, "Running", true)),
            ["unready", at @ ..] => self.pod(at, |pod, node| says(pod, node, "Running", false)),
            ["fail", at @ ..] => self.pod(at, |pod, node| says(pod, node, "Failed", false)),
            ["delete", at @ ..] => self.pod(at, |pod, _| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T12:00:30Z");
            }),
            ["gone", at @ ..] => self.gone(at),
            ["pass", seconds] => self.now += SignedDuration::from_secs(of(seconds).as_i64().expect("a number")),
            [image] => self.spec(|spec| {
                spec["template"]["spec"]["containers"][0]["image"] = json!(format!("app:{image}"));
            }),
            other => panic!("nobody can do {other:?}"),
        }
    }

    fn spec(&mut self, edit: impl FnOnce(&mut Value)) {
        self.edit(&key(), |set| edit(&mut set["spec"]));
    }

    fn rolling(&mut self, rolling: Value) {
        self.spec(|spec| spec["updateStrategy"]["rollingUpdate"] = rolling);
    }

    fn node(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        self.edit(&kinds::NODE.cluster_key(name), edit);
    }

    /// Changes the pods on a node, or all of them.
    fn pod(&mut self, at: &[&str], edit: impl Fn(&mut Value, &str)) {
        for (node, pod) in self.by_node() {
            if at.is_empty() || at.contains(&node.as_str()) {
                self.edit(pod.key(), |value| edit(value, &node));
            }
        }
    }

    fn gone(&mut self, at: &[&str]) {
        for (node, pod) in self.by_node() {
            if pod.meta().is_terminating() && (at.is_empty() || at.contains(&node.as_str())) {
                self.remove(pod.key());
            }
        }
    }

    fn by_node(&self) -> Vec<(String, Object)> {
        let node = |pod: &Object| pod::target(&pod.decode().expect("a pod")).unwrap_or_default();
        let mut pods: Vec<(String, Object)> = self.view.list(kinds::POD).map(|pod| (node(pod), pod.clone())).collect();
        pods.sort_by_key(|(node, pod)| (node.clone(), pod.meta().creation_timestamp, pod.revision()));
        pods
    }

    fn edit(&mut self, key: &api::Key, edit: impl FnOnce(&mut Value)) {
        let mut value = self.view.get(key).expect("it is there").to_value().expect("JSON");
        value["metadata"].as_object_mut().expect("an object").remove("resourceVersion");
        edit(&mut value);
        self.put(&Object::from_value(key.kind(), &value).expect("an object"));
    }

    fn put(&mut self, object: &Object) {
        self.view = self.view.apply(&Txn::default().put(object.clone())).expect("no guard").0;
    }

    fn remove(&mut self, key: &api::Key) {
        self.view = self.view.apply(&Txn::default().remove(key.clone())).expect("no guard").0;
    }

    /// Looks until nothing is left to do. Time passes, so that pods differ in age.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.looks += 1;
            let plan = DaemonSets.reconcile(&key(), &self.view, Look::new(self.now, self.looks));
            if plan.txns.is_empty() {
                self.now += SignedDuration::from_secs(1);
                return;
            }
            for txn in &plan.txns {
                self.view = self.view.apply(txn).expect("every guard holds in the world that was looked at").0;
            }
        }
        panic!("the controller does not come to rest: {}", self.pods());
    }

    fn pods(&self) -> String {
        let told = self.by_node().into_iter().map(|(node, pod)| {
            let value = pod.to_value().expect("JSON");
            let image = value["spec"]["containers"][0]["image"].as_str().unwrap_or_default().trim_start_matches("app:");
            let sign = match (pod.meta().is_terminating(), value["status"]["phase"].as_str()) {
                (true, _) => "~",
                (false, Some("Failed" | "Succeeded")) => "!",
                _ if value["status"]["conditions"][0]["status"] == "True" => "+",
                _ => "-",
            };
            format!("{node}:{image}{sign}")
        });
        told.collect::<Vec<_>>().join(" ")
    }

    /// Desired, current, ready, updated, available, unavailable, misscheduled.
    fn status(&self) -> [u64; 7] {
        let value = self.view.get(&key()).expect("it is there").to_value().expect("JSON");
        let fields = [
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "numberMisscheduled",
        ];
        fields.map(|field| value["status"][field].as_u64().unwrap_or(0))
    }
}

fn of(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number))
}

fn says(pod: &mut Value, node: &str, phase: &str, ready: bool) {
    pod["spec"]["nodeName"] = json!(node);
    let ready = json!({"type": "Ready", "status": if ready { "True" } else { "False" },
        "lastTransitionTime": "2026-11-21T12:00:00Z"});
    pod["status"] = json!({"phase": phase, "conditions": [ready]});
}

#[test]
fn every_node_gets_a_pod() {
    let world = check("v1", "a:v1- b:v1- c:v1-");
    assert_eq!(world.status(), [3, 3, 0, 3, 0, 3, 0]);
    let world = check("ready", "a:v1- b:v1- c:v1-");
    assert_eq!(world.status(), [3, 3, 0, 3, 0, 3, 0]);
    assert_eq!(check("v1; ready", "a:v1+ b:v1+ c:v1+").status(), [3, 3, 3, 3, 3, 0, 0]);
    check("v1; node d", "a:v1- b:v1- c:v1- d:v1-");
    check("v1; lose a", "b:v1- c:v1-");
}

#[test]
fn only_nodes_that_are_meant_get_one() {
    check("label b fast & only fast", "b:v1-");
    check("label b fast & only fast; label a fast", "a:v1- b:v1-");
    let world = check("taint a NoSchedule & taint b NoExecute", "c:v1-");
    assert_eq!(world.status()[0], 1);
    check("taint a NoSchedule & taint b NoExecute & tolerate", "a:v1- b:v1- c:v1-");
    check("cordon a", "a:v1- b:v1- c:v1-");
    // Who is there stays where no more may come, and goes where nobody may be.
    let world = check("v1; ready; taint a NoSchedule & taint b NoExecute; gone", "a:v1+ c:v1+");
    assert_eq!(world.status(), [1, 1, 1, 1, 1, 0, 1]);
}

#[test]
fn a_pod_is_for_its_node_from_the_start() {
    let world = check("v1", "a:v1- b:v1- c:v1-");
    let pod = world.by_node().remove(0).1.to_value().expect("JSON");
    let terms =
        &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    assert_eq!(terms, &json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]));
    let tolerations = pod["spec"]["tolerations"].as_array().expect("a list");
    assert_eq!(tolerations.len(), 6, "{tolerations:?}");
    assert!(tolerations.iter().all(|it| it["operator"] == "Exists" && it["tolerationSeconds"].is_null()));
    let labels = world.view.list(kinds::CONTROLLER_REVISION).next().expect("a history").meta().labels.clone();
    assert_eq!(pod["metadata"]["labels"]["controller-revision-hash"], labels["controller-revision-hash"]);
}

#[test]
fn a_place_is_taken_until_its_pod_is_gone() {
    check("v1; ready; delete a", "a:v1~ b:v1+ c:v1+");
    check("v1; ready; delete a; gone", "a:v1- b:v1+ c:v1+");
}

#[test]
fn pods_that_have_failed_are_made_anew_but_not_without_end() {
    check("v1; fail a", "a:v1! b:v1- c:v1-");
    let world = check("v1; fail a; pass 20", "a:v1- b:v1- c:v1-");
    let told = world.view.list(kinds::EVENT).filter(|it| it.to_value().expect("JSON")["reason"] == "FailedDaemonPod");
    assert_eq!(told.count(), 1);
}

#[test]
fn nodes_are_updated_one_after_the_other() {
    check("v1; ready; v2", "a:v1~ b:v1+ c:v1+");
    check("v1; ready; v2; gone", "a:v2- b:v1+ c:v1+");
    let world = check("v1; ready; v2; gone; ready", "a:v2+ b:v1~ c:v1+");
    assert_eq!(world.status(), [3, 3, 3, 1, 3, 0, 0]);
    check("v1; ready; v2; gone; ready; gone; ready; gone; ready", "a:v2+ b:v2+ c:v2+");
    check("v1; ready; unavailable 50%; v2", "a:v1~ b:v1~ c:v1+");
    // What serves nobody costs nothing; what is missing counts.
    check("v1; ready; unready b; v2; gone", "a:v1+ b:v2- c:v1+");
}

#[test]
fn with_a_surge_new_pods_come_first() {
    check("surge 1; ready; v2", "a:v1+ a:v2- b:v1+ c:v1+");
    check("surge 1; ready; v2; ready", "a:v1~ a:v2+ b:v1+ b:v2- c:v1+");
    check("surge 1; ready; v2; ready; gone; ready; gone; ready; gone", "a:v2+ b:v2+ c:v2+");
    check("surge 1; ready; unready b; v2", "a:v1+ a:v2- b:v1~ b:v2- c:v1+");
}

#[test]
fn on_delete_people_decide() {
    check("on-delete; ready; v2", "a:v1+ b:v1+ c:v1+");
    check("on-delete; ready; v2; delete b; gone", "a:v1+ b:v2- c:v1+");
}
