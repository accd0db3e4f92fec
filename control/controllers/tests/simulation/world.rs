//! The loop of `manager`, with the time and the order of everything in the hands of the test.

use std::collections::BTreeMap;

use api::{Key, Object, Revision, kinds};
use controllers::{Controller, Look, Outcome, Plan, Queue};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use state::{Change, Event, Snapshot, Txn};

use crate::actors::{self, Step};
use crate::storage;

/// What must hold after every event.
pub(crate) type Law = fn(&World, &Event);

type Task = (usize, Key);

/// The annotation of a job that tells for which time it was started.
pub(crate) const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// What holds a job's pod until it is counted.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// A cluster whose time is a number.
pub(crate) struct World {
    pub(crate) view: Snapshot,
    pub(crate) now: Timestamp,
    pub(crate) laws: Vec<Law>,
    /// Nodes whose agents do not act.
    pub(crate) dead: Vec<String>,
    /// Who wrote last.
    pub(crate) by: &'static str,
    controllers: Vec<Box<dyn Controller>>,
    queue: Queue<Task>,
    /// Looks that were made and not yet carried out, on a world that may be gone by then.
    open: Vec<(Task, Plan)>,
    chance: u64,
    /// The pods that were let go in the same transaction that wrote their job: those that it counted.
    pub(crate) counted: Vec<Object>,
    /// The times for which jobs were started.
    pub(crate) started: Vec<String>,
    /// The last things done, for whoever reads a failure.
    diary: Vec<Line>,
}

/// A line of the diary. What happened is put into words only if somebody asks.
enum Line {
    Words(String),
    Wrote(&'static str, Event),
}

impl World {
    pub(crate) fn new(seed: u64, laws: Vec<Law>) -> Self {
        let mut world = Self::of(seed, laws, |_| true);
        for name in ["default", "kube-node-lease", "shop"] {
            world.put(actors::namespace(name));
        }
        for name in ["n0", "n1", "n2"] {
            world.put(actors::node(name, world.now));
        }
        for class in storage::classes() {
            world.put(class);
        }
        world
    }

    /// An empty world in which some of the controllers look.
    pub(crate) fn of(seed: u64, laws: Vec<Law>, looks: impl Fn(&str) -> bool) -> Self {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().expect("a time");
        let mut controllers = controllers::all(&controllers::Config::starting(now));
        controllers.retain(|controller| looks(controller.name()));
        Self {
            view: Snapshot::load(Revision(1), []),
            now,
            laws,
            dead: Vec::new(),
            by: "nobody",
            controllers,
            queue: Queue::new(),
            open: Vec::new(),
            chance: seed,
            counted: Vec::new(),
            started: Vec::new(),
            diary: Vec::new(),
        }
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn act(&mut self, step: &Step) {
        self.note(format!("{step:?}"));
        actors::act(self, step);
    }

    /// Writes into the diary.
    pub(crate) fn note(&mut self, words: String) {
        self.diary.push(Line::Words(words));
    }

    /// Writes an object as a client does whose write goes through.
    pub(crate) fn put(&mut self, object: Object) {
        self.apply("client", &Txn::default().put(object));
    }

    /// Deletes an object as a client does who gives it no time: a finalizer of a job's still holds a pod.
    pub(crate) fn remove(&mut self, key: &Key) {
        let held = self.view.get(key).is_some_and(|it| it.meta().finalizers.iter().any(|one| one == TRACKING));
        if held {
            let now = self.now;
            return self.edit(key, |it| {
                if it["metadata"]["deletionTimestamp"].is_null() {
                    it["metadata"]["deletionTimestamp"] =
                        json!(Timestamp::from_second(now.as_second()).expect("a time").to_string());
                }
                it["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            });
        }
        self.apply("client", &Txn::default().remove(key.clone()));
    }

    /// Changes an object's tree.
    pub(crate) fn edit(&mut self, key: &Key, edit: impl FnOnce(&mut Value)) {
        let Some(object) = self.view.get(key) else { return };
        let mut value: Value = serde_json::from_slice(object.body()).expect("an object is JSON");
        let spec = value["spec"].clone();
        edit(&mut value);
        if value["spec"] != spec {
            value["metadata"]["generation"] = json!(value["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
        }
        self.put(Object::from_value(key.kind(), &value).expect("still an object"));
    }

    /// Lets up to `count` looks happen, begun and ended in any order.
    pub(crate) fn look(&mut self, count: usize) {
        for _ in 0..count {
            if self.draw().is_multiple_of(3) || !self.begin() {
                self.end();
            }
        }
    }

    /// Begins a look at a key that is due; what it wants is kept for later.
    fn begin(&mut self) -> bool {
        let Some(task) = self.queue.pop(self.now + SignedDuration::from_millis(20)) else { return false };
        let look = Look::new(self.now, self.draw());
        let plan = self.controllers[task.0].reconcile(&task.1, &self.view, look);
        self.open.push((task, plan));
        true
    }

    /// Ends one of the looks that were begun.
    fn end(&mut self) -> bool {
        if self.open.is_empty() {
            return false;
        }
        let which = self.draw() as usize % self.open.len();
        let (task, mut plan) = self.open.swap_remove(which);
        let name = self.controllers[task.0].name();
        let mut outcome = Outcome::Settled { again: plan.again };
        while !plan.txns.is_empty() {
            let txn = plan.txns.swap_remove(self.draw() as usize % plan.txns.len());
            if !self.apply(name, &txn) {
                outcome = Outcome::Refused;
            }
        }
        self.queue.done(task, outcome, SignedDuration::ZERO, self.now);
        true
    }

    fn apply(&mut self, by: &'static str, txn: &Txn) -> bool {
        let Ok((view, events)) = self.view.apply(txn) else { return false };
        self.view = view;
        if events.iter().any(|event| event.key().kind() == kinds::JOB) {
            let held = |pod: &&Object| pod.meta().finalizers.iter().any(|one| one == TRACKING);
            let released = events.iter().filter(|event| event.after().is_none_or(|after| !held(&after)));
            self.counted.extend(released.filter_map(Event::before).filter(held).cloned());
        }
        self.by = by;
        let begun = events.iter().filter(|event| event.key().kind() == kinds::JOB && event.before().is_none());
        self.started.extend(begun.filter_map(|event| event.latest().meta().annotations.get(SCHEDULED).cloned()));
        for event in &events {
            if event.key().kind() != kinds::LEASE {
                self.diary.push(Line::Wrote(by, event.clone()));
            }
            let laws = self.laws.clone();
            for law in laws {
                law(self, event);
            }
            self.affect(event);
        }
        true
    }

    fn affect(&mut self, event: &Event) {
        let tasks: Vec<Task> = (0..self.controllers.len())
            .flat_map(|at| self.controllers[at].affected(event, &self.view).into_iter().map(move |key| (at, key)))
            .collect();
        for task in tasks {
            let due = self.now + SignedDuration::from_millis((self.draw() % 16) as i64);
            self.queue.add(task, due);
        }
    }

    /// Everyone does what there is to do until nothing is left to do: agents act, time passes.
    pub(crate) fn rest(&mut self) {
        self.act(&Step::Revive);
        for _ in 0..40 {
            self.drain();
            self.act(&Step::Agents { lazy: false });
            self.drain();
            self.act(&Step::Pass { seconds: 12 });
        }
        self.drain();
        self.check_quiet();
    }

    /// Looks at everything again, which changes nothing.
    pub(crate) fn check_quiet(&mut self) {
        let before = self.view.clone();
        self.scan();
        self.drain();
        let changes =
            || before.objects().filter(|it| self.view.get(it.key()) != Some(it)).map(|it| it.key().to_string());
        assert_eq!(
            before.revision(),
            self.view.revision(),
            "planning again changed {:?}\n{}",
            changes().collect::<Vec<_>>(),
            self.story()
        );
    }

    fn scan(&mut self) {
        for object in self.view.clone().objects() {
            self.affect(&Event { revision: object.revision(), change: Change::Added(object.clone()) });
        }
    }

    /// Lets everything happen that is due.
    pub(crate) fn drain(&mut self) {
        let mut looks = 0;
        while self.begin() || self.end() {
            looks += 1;
            assert!(looks < 3_000, "the controllers do not come to rest\n{}", self.story());
            if self.draw().is_multiple_of(2) {
                self.end();
            }
        }
    }

    /// The last of what happened.
    pub(crate) fn story(&self) -> String {
        let last = self.diary.len().saturating_sub(120);
        let lines = self.diary[last..].iter().map(|line| match line {
            Line::Words(words) => words.clone(),
            Line::Wrote(by, event) => format!("  {by}: {}", told(event)),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The active pods by the deployment that they stand for.
    pub(crate) fn pods_by_deployment(&self) -> BTreeMap<Key, Vec<&Object>> {
        let mut pods = BTreeMap::<Key, Vec<&Object>>::new();
        for pod in self.view.list(kinds::POD).filter(|pod| actors::is_active(pod)) {
            let set = pod.meta().controller().and_then(|owner| self.view.by_uid(&owner.uid));
            if let Some(deployment) =
                set.and_then(|set| set.meta().controller()).and_then(|owner| self.view.by_uid(&owner.uid))
            {
                pods.entry(deployment.key().clone()).or_default().push(pod);
            }
        }
        pods
    }
}

fn told(event: &Event) -> String {
    let what = match &event.change {
        Change::Added(_) => "added",
        Change::Modified { .. } => "changed",
        Change::Deleted { .. } => "deleted",
    };
    let value: Value = serde_json::from_slice(event.latest().body()).unwrap_or_default();
    let note = match event.key().kind() {
        kinds::REPLICA_SET => format!("replicas {} status {}", value["spec"]["replicas"], value["status"]),
        kinds::EVENT => value["message"].to_string(),
        kinds::JOB => format!("spec {} status {}", value["spec"]["parallelism"], value["status"]),
        kinds::POD if value["metadata"]["finalizers"].is_array() => format!("{} tracked", value["status"]["phase"]),
        kinds::POD => format!("{} on {}", value["status"]["conditions"], value["spec"]["nodeName"]),
        _ => String::new(),
    };
    format!("{what} {}@{} {note}", event.key(), event.revision)
}
