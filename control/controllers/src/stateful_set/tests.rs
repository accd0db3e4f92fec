//! What becomes of `web` when people and agents do something, in a few words.
//!
//! `3` asks for so many replicas, `v2` for another image, `partition 1` and so on for what they say; `ready`, `ready 0`, `unready 0`,
//! `fail 0`, `end 0`, `gone 0` and `gone` tell what agents do to pods. After each word, or words joined by `&`, the controller
//! looks until it is quiet.
//! A world reads `0:v1+ 1:v1-`: ordinals, images, and `+` for ready, `-` for not, `~` for on the way out, `!` for failed.

use api::{Object, Revision, kinds};
use jiff::SignedDuration;
use serde_json::{Value, json};
use state::{Change, Event, Snapshot, Txn};

use super::StatefulSets;
use crate::notation::{noon, object, owner};
use crate::{Controller, Look};

struct World {
    view: Snapshot,
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

// === impl World ===

impl World {
    fn new() -> Self {
        let container = json!({"name": "c", "image": "app:v1"});
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}});
        let spec = json!({"replicas": 1, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
            "podManagementPolicy": "OrderedReady", "template": template,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}});
        let set = object(kinds::STATEFUL_SET, "default/web", json!({"apiVersion": "apps/v1", "spec": spec}));
        let home = object(kinds::NAMESPACE, "default", json!({}));
        let account = object(kinds::SERVICE_ACCOUNT, "default/default", json!({}));
        let view = Snapshot::load(Revision(1), [set, home, account].map(|it| it.at(Revision(1))));
        Self { view, looks: 0 }
    }

    fn act(&mut self, word: &str) {
        let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
        match (verb, rest) {
            ("parallel", _) => self.spec("podManagementPolicy", json!("Parallel")),
            ("on-delete", _) => self.spec("updateStrategy", json!({"type": "OnDelete"})),
            ("partition", count) => self.spec("updateStrategy/rollingUpdate/partition", number(count)),
            ("unavailable", count) => self.spec("updateStrategy/rollingUpdate/maxUnavailable", number(count)),
            ("start", first) => self.spec("ordinals", json!({"start": number(first)})),
            ("patient", seconds) => self.spec("minReadySeconds", number(seconds)),
            ("history", count) => self.spec("revisionHistoryLimit", number(count)),
            ("claims", _) => {
                let wanted = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
                self.spec("volumeClaimTemplates", json!([{"metadata": {"name": "data"}, "spec": wanted}]));
            }
            ("when-scaled", policy) => self.spec("persistentVolumeClaimRetentionPolicy/whenScaled", json!(policy)),
            ("when-deleted", policy) => self.spec("persistentVolumeClaimRetentionPolicy/whenDeleted", json!(policy)),
            ("stranger", ordinal) => {
                let name = format!("default/web-{ordinal}");
                let spec = json!({"containers": [{"name": "c", "image": "app:other"}]});
                self.put(&object(kinds::POD, &name, json!({"spec": spec})));
            }
            ("orphan", ordinal) => self.pod(ordinal, |pod| pod["metadata"]["ownerReferences"] = json!([])),
            ("unlabel", ordinal) => self.pod(ordinal, |pod| pod["metadata"]["labels"] = json!({"app": "web"})),
            ("relabel", ordinal) => self.pod(ordinal, |pod| pod["metadata"]["labels"] = json!({"app": "db"})),
            ("ready", ordinal) => self.pod(ordinal, |pod| says(pod, "Running", true)),
            ("unready", ordinal) => self.pod(ordinal, |pod| says(pod, "Running", false)),
            ("fail", ordinal) => self.pod(ordinal, |pod| says(pod, "Failed", false)),
            ("end", ordinal) => self.pod(ordinal, |pod| says(pod, "Succeeded", false)),
            ("delete", ordinal) => self.pod(ordinal, |pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T12:00:30Z");
            }),
            ("gone", ordinal) => self.gone(ordinal),
            (image, "") if image.starts_with('v') => {
                self.spec("template/spec/containers/0/image", json!(format!("app:{image}")));
            }
            (replicas, _) => self.spec("replicas", number(replicas)),
        }
    }

    fn spec(&mut self, path: &str, value: Value) {
        self.edit(&kinds::STATEFUL_SET.key("default", "web"), |set| {
            let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
            let mut at = &mut set["spec"];
            for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
                at = match parent.parse::<usize>() {
                    Ok(place) => &mut at[place],
                    Err(_) => &mut at[parent],
                };
            }
            at[name] = value;
        });
    }

    /// Changes the pod at an ordinal, or all of them.
    fn pod(&mut self, ordinal: &str, edit: impl Fn(&mut Value)) {
        let pods: Vec<Object> = self.view.list(kinds::POD).cloned().collect();
        for pod in pods.iter().filter(|pod| ordinal.is_empty() || pod.key().name() == format!("web-{ordinal}")) {
            self.edit(pod.key(), &edit);
        }
    }

    fn gone(&mut self, ordinal: &str) {
        let pods: Vec<Object> = self.view.list(kinds::POD).cloned().collect();
        let named = |pod: &&Object| pod.key().name() == format!("web-{ordinal}");
        for pod in pods.iter().filter(|pod| if ordinal.is_empty() { pod.meta().is_terminating() } else { named(pod) }) {
            self.view = self.view.apply(&Txn::default().remove(pod.key().clone())).expect("no guard").0;
        }
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

    /// Looks until nothing is left to do.
    fn settle(&mut self) {
        let set = kinds::STATEFUL_SET.key("default", "web");
        for _ in 0..50 {
            self.looks += 1;
            let plan = StatefulSets.reconcile(&set, &self.view, Look::new(noon(), self.looks));
            if plan.txns.is_empty() {
                return;
            }
            for txn in &plan.txns {
                self.view = self.view.apply(txn).expect("every guard holds in the world that was looked at").0;
            }
        }
        panic!("the controller does not come to rest: {}", self.pods());
    }

    fn pods(&self) -> String {
        let told = self.view.list(kinds::POD).map(|pod| {
            let value = pod.to_value().expect("JSON");
            let image = value["spec"]["containers"][0]["image"].as_str().unwrap_or_default().trim_start_matches("app:");
            let sign = match (pod.meta().is_terminating(), value["status"]["phase"].as_str()) {
                (true, _) => "~",
                (false, Some("Failed" | "Succeeded")) => "!",
                _ if value["status"]["conditions"][0]["status"] == "True" => "+",
                _ => "-",
            };
            format!("{}:{image}{sign}", pod.key().name().trim_start_matches("web-"))
        });
        told.collect::<Vec<_>>().join(" ")
    }

    fn status(&self, fields: &[&str]) -> String {
        let set = self.view.get(&kinds::STATEFUL_SET.key("default", "web")).expect("it is there");
        let value = set.to_value().expect("JSON");
        fields.iter().map(|field| value["status"][field].to_string()).collect::<Vec<_>>().join(" ")
    }

    /// What has been told, without repetition.
    fn told(&self, reason: &str) -> Vec<String> {
        let events = self.view.list(kinds::EVENT).map(|event| event.to_value().expect("JSON"));
        let of_reason = events.filter(|event| event["reason"] == reason);
        let mut told: Vec<String> =
            of_reason.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect();
        told.sort();
        told
    }

    /// Claims and who owns them.
    fn claims(&self) -> String {
        let told = self.view.list(kinds::PERSISTENT_VOLUME_CLAIM).map(|claim| {
            let owners = claim.meta().owner_references.iter().map(|owner| format!("<{}", owner.name));
            format!("{}{}", claim.key().name(), owners.collect::<String>())
        });
        told.collect::<Vec<_>>().join(" ")
    }

    /// The images in the history, by their numbers.
    fn history(&self) -> String {
        let mut told: Vec<String> = self
            .view
            .list(kinds::CONTROLLER_REVISION)
            .map(|revision| {
                let value = revision.to_value().expect("JSON");
                let image = &value["data"]["spec"]["template"]["spec"]["containers"][0]["image"];
                format!("{} {}", value["revision"], image.as_str().unwrap_or_default())
            })
            .collect();
        told.sort();
        told.join(", ")
    }
}

fn number(text: &str) -> Value {
    json!(text.parse::<i64>().unwrap_or_else(|_| panic!("{text:?} is no number")))
}

fn says(pod: &mut Value, phase: &str, ready: bool) {
    pod["spec"]["nodeName"] = json!("n1");
    let ready = json!({"type": "Ready", "status": if ready { "True" } else { "False" },
        "lastTransitionTime": "2026-11-21T11:59:50Z"});
    pod["status"] = json!({"phase": phase, "conditions": [ready]});
}

#[test]
fn pods_come_one_after_the_other() {
    check("3", "0:v1-");
    check("3; ready", "0:v1+ 1:v1-");
    check("3; ready; ready; ready", "0:v1+ 1:v1+ 2:v1+");
    check("3; ready; unready 0", "0:v1- 1:v1-");
    check("3; patient 60; ready", "0:v1+");
    check("start 5 & 2; ready; ready", "5:v1+ 6:v1+");
}

#[test]
fn parallel_pods_come_at_once_and_go_at_once() {
    check("parallel; 3", "0:v1- 1:v1- 2:v1-");
    check("parallel; 3; ready; 1", "0:v1+ 1:v1~ 2:v1~");
    check("parallel; 3; ready; 1; gone", "0:v1+");
}

#[test]
fn pods_go_from_the_highest_one_after_the_other() {
    check("3; ready; ready; ready; 1", "0:v1+ 1:v1+ 2:v1~");
    check("3; ready; ready; ready; 1; gone", "0:v1+ 1:v1~");
    check("3; ready; ready; ready; 1; gone; gone", "0:v1+");
    check("3; ready; ready; ready; unready 0; 1", "0:v1- 1:v1+ 2:v1+");
    check("3; ready; ready; ready; 1; gone; 3", "0:v1+ 1:v1~");
    check("3; ready; ready; ready; unready 2; 1", "0:v1+ 1:v1+ 2:v1~");
}

#[test]
fn a_name_is_taken_until_its_pod_is_gone() {
    check("1; ready; delete 0", "0:v1~");
    check("1; ready; delete 0; gone", "0:v1-");
    let world = check("stranger 0; 1", "0:other-");
    assert_eq!(
        world.told("FailedCreate"),
        ["create Pod web-0 in StatefulSet web failed error: pods \"web-0\" already exists"]
    );
    check("stranger 0; 1; gone 0", "0:v1-");
}

#[test]
fn pods_that_have_ended_are_made_anew() {
    let world = check("1; ready; fail 0", "0:v1-");
    assert_eq!(world.told("RecreatingFailedPod"), ["StatefulSet default/web is recreating failed Pod web-0"]);
    check("1; ready; end 0", "0:v1-");
    check("parallel; 2; ready; fail 0", "0:v1- 1:v1+");
    check("3; ready; ready; ready; fail 2 & fail 1 & 1", "0:v1+");
}

#[test]
fn pods_are_updated_from_the_highest() {
    check("2; ready; ready; v2", "0:v1+ 1:v1~");
    check("2; ready; ready; v2; gone", "0:v1+ 1:v2-");
    check("2; ready; ready; v2; gone; ready", "0:v1~ 1:v2+");
    let world = check("2; ready; ready; v2; gone; ready; gone; ready", "0:v2+ 1:v2+");
    assert_eq!(world.history(), "1 app:v1, 2 app:v2");
    assert_eq!(world.status(&["replicas", "readyReplicas", "currentReplicas", "updatedReplicas"]), "2 2 2 2");
    assert_eq!(world.status(&["currentRevision"]), world.status(&["updateRevision"]));
}

#[test]
fn an_update_stops_at_the_partition() {
    let words = "3; ready; ready; ready; partition 2; v2; gone; ready";
    let world = check(words, "0:v1+ 1:v1+ 2:v2+");
    assert_eq!(world.status(&["currentReplicas", "updatedReplicas"]), "2 1");
    assert_ne!(world.status(&["currentRevision"]), world.status(&["updateRevision"]));
    // Below it pods stay what they were, even if they have to be made anew.
    check(&format!("{words}; delete 0; gone"), "0:v1- 1:v1+ 2:v2+");
    check(&format!("{words}; partition 1"), "0:v1+ 1:v1~ 2:v2+");
    check(&format!("start 3; {words}; delete 3; gone"), "3:v1- 4:v1+ 5:v2+");
}

#[test]
fn as_many_are_updated_at_a_time_as_may_be_missing() {
    check("parallel; 4; ready; unavailable 2; v2", "0:v1+ 1:v1+ 2:v1~ 3:v1~");
    check("parallel; 4; ready; unavailable 2; unready 0; v2", "0:v1~ 1:v1+ 2:v1+ 3:v1~");
    check("parallel; 4; ready; partition 1; unavailable 2; unready 0; v2", "0:v1- 1:v1+ 2:v1+ 3:v1~");
}

#[test]
fn on_delete_people_decide() {
    check("on-delete; 2; ready; ready; v2", "0:v1+ 1:v1+");
    check("on-delete; 2; ready; ready; v2; delete 0; gone", "0:v2- 1:v1+");
}

#[test]
fn a_template_that_comes_back_takes_its_revision_up_again() {
    let world = check("on-delete; v2; v3; v1", "0:v1-");
    assert_eq!(world.history(), "2 app:v2, 3 app:v3, 4 app:v1");
    let world = check("history 1; on-delete; v2; v3; v4", "0:v1-");
    assert_eq!(world.history(), "1 app:v1, 3 app:v3, 4 app:v4");
}

#[test]
fn orphans_are_taken_back_and_strangers_let_go() {
    let world = check("1; ready; orphan 0", "0:v1+");
    assert_eq!(world.view.owned_by("web").filter(|it| it.key().kind() == kinds::POD).count(), 1);
    let world = check("1; ready; relabel 0", "0:v1+");
    assert_eq!(world.view.owned_by("web").filter(|it| it.key().kind() == kinds::POD).count(), 0);
    let world = check("partition 1; 1; ready; unlabel 0", "0:v1+");
    let pod = world.view.get(&kinds::POD.key("default", "web-0")).expect("it is there");
    assert_eq!(pod.meta().labels["statefulset.kubernetes.io/pod-name"], "web-0");
}

#[test]
fn a_pod_knows_its_name() {
    let world = check("3; ready", "0:v1+ 1:v1-");
    let pod = world.view.get(&kinds::POD.key("default", "web-1")).expect("it is there").to_value().expect("JSON");
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-1"), &json!("web")));
    let labels = &pod["metadata"]["labels"];
    assert_eq!((&labels["apps.kubernetes.io/pod-index"], &labels["app"]), (&json!("1"), &json!("web")));
    assert_eq!(labels["controller-revision-hash"].to_string(), world.status(&["updateRevision"]));
    assert_eq!(pod["metadata"]["ownerReferences"], owner("StatefulSet", "web"));
    assert_eq!(world.told("SuccessfulCreate").len(), 2);
    assert_eq!(world.told("SuccessfulCreate")[0], "create Pod web-0 in StatefulSet web successful");
}

#[test]
fn claims_outlive_their_pods() {
    let world = check("claims; 2; ready; ready; 1; gone", "0:v1+");
    assert_eq!(world.claims(), "data-web-0 data-web-1");
    assert_eq!(world.told("SuccessfulCreate")[0], "create Claim data-web-0 Pod web-0 in StatefulSet web success");
    let pod = world.view.get(&kinds::POD.key("default", "web-0")).expect("it is there").to_value().expect("JSON");
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-web-0");
}

#[test]
fn claims_go_when_the_policy_says_so() {
    let claims = |words: &str, pods: &str, expected: &str| assert_eq!(check(words, pods).claims(), expected);
    let two = "claims; 2; ready; ready";
    claims(&format!("when-deleted Delete; {two}"), "0:v1+ 1:v1+", "data-web-0<web data-web-1<web");
    claims(&format!("{two}; when-deleted Delete"), "0:v1+ 1:v1+", "data-web-0<web data-web-1<web");
    claims(&format!("{two}; when-deleted Delete; when-deleted Retain"), "0:v1+ 1:v1+", "data-web-0 data-web-1");
    claims(&format!("when-scaled Delete; {two}; 1"), "0:v1+ 1:v1~", "data-web-0 data-web-1<web-1");
    claims(
        &format!("when-scaled Delete; when-deleted Delete; {two}; 1"),
        "0:v1+ 1:v1~",
        "data-web-0<web data-web-1<web-1",
    );
    // Decided otherwise while the pod ends, the claim stays; and goes if that is decided then.
    claims(&format!("when-scaled Delete; {two}; 1; 2"), "0:v1+ 1:v1~", "data-web-0 data-web-1");
    claims(&format!("{two}; 1; when-scaled Delete"), "0:v1+ 1:v1~", "data-web-0 data-web-1<web-1");
    // The claim of a pod that is gone is about to go: the next pod waits for a new one.
    claims(&format!("when-scaled Delete; {two}; 1; gone; 2"), "0:v1+", "data-web-0 data-web-1<web-1");
}

#[test]
fn an_event_leads_to_the_sets_that_it_matters_to() {
    let world = check("claims; 1", "0:v1-");
    let check = |kind: api::GroupKind, name: &str, expected: &[&str]| {
        let object = object(kind, &format!("default/{name}"), json!({}));
        let event = Event { revision: Revision(9), change: Change::Added(object) };
        let keys = StatefulSets.affected(&event, &world.view);
        assert_eq!(keys.iter().map(api::Key::name).collect::<Vec<_>>(), expected, "{name}");
    };
    check(kinds::POD, "web-7", &["web"]);
    check(kinds::POD, "db-7", &[]);
    check(kinds::PERSISTENT_VOLUME_CLAIM, "data-web-3", &["web"]);
    check(kinds::PERSISTENT_VOLUME_CLAIM, "logs-web-3", &[]);
    check(kinds::SERVICE_ACCOUNT, "default", &["web"]);
}

#[test]
fn a_refusal_is_told_once_and_tried_again() {
    let mut world = check("stranger 0; 1", "0:other-");
    let set = kinds::STATEFUL_SET.key("default", "web");
    let later = noon() + SignedDuration::from_secs(60);
    let plan = StatefulSets.reconcile(&set, &world.view, Look::new(later, 1));
    assert_eq!((plan.txns.len(), plan.again), (0, Some(later + crate::refusal::AGAIN)));
    world.settle();
}
