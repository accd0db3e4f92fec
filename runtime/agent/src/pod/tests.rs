//! Stories of one pod, and properties of all of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;
use crate::fixture::shared_pod;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 5));
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2));

/// A pod, what was asked for it and not yet done, and what would run.
struct Story {
    state: PodState,
    now: Timestamp,
    open: Vec<Effect>,
    /// The run of each container, from `Start` to `Exited`.
    runs: BTreeMap<Place, u32>,
    last_run: BTreeMap<Place, u32>,
    told: Vec<String>,
    status: PodStatus,
    leaving: bool,
    deleted: bool,
}

impl Story {
    fn new(spec: &str) -> Self {
        Self::of(shared_pod(spec))
    }

    fn of(pod: Arc<Pod>) -> Self {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        let status = pod.status.clone().unwrap_or_default();
        let mut story = Self {
            state: PodState::new(pod, now),
            now,
            open: Vec::new(),
            runs: BTreeMap::new(),
            last_run: BTreeMap::new(),
            told: Vec::new(),
            status,
            leaving: false,
            deleted: false,
        };
        story.on(Happening::Tick);
        story
    }

    fn on(&mut self, happening: Happening) {
        let (state, effects) = self.state.clone().on(happening, self.now);
        self.state = state;
        for effect in effects {
            self.take(effect);
        }
        self.publish();
    }

    fn take(&mut self, effect: Effect) {
        match &effect {
            Effect::Start(place, run) => {
                assert!(!self.leaving, "nothing starts once the pod is leaving");
                assert_eq!(self.runs.insert(*place, *run), None, "one run at a time");
                self.last_run.insert(*place, *run);
            }
            Effect::Stop(place, run, _)
            | Effect::Probe(place, run, _)
            | Effect::Resize(place, run)
            | Effect::Hook(place, run, ..) => {
                assert_eq!(self.runs.get(place), Some(run), "only what runs is stopped, resized, probed or hooked");
            }
            Effect::Tell(told) => self.told.push(format!("{} {}", told.reason, told.message)),
            Effect::Delete => {
                assert!(self.runs.is_empty(), "nothing runs when the pod is deleted");
                self.deleted = true;
            }
            _ => {}
        }
        if !matches!(effect, Effect::Tell(_)) {
            self.open.push(effect);
        }
    }

    fn publish(&mut self) {
        let status = self.state.status(HOST, &self.status, self.now);
        let restarts = |status: &PodStatus| -> Vec<i32> {
            let lists = [&status.init_container_statuses, &status.container_statuses];
            lists.into_iter().flatten().flatten().map(|container| container.restart_count).collect()
        };
        let (before, after) = (restarts(&self.status), restarts(&status));
        assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "restarts are never taken back");
        assert_eq!(self.state.status(HOST, &status, self.now), status, "reporting again changes nothing");
        self.status = status;
    }

    /// Carries out what is open, everything well.
    fn do_all(&mut self) {
        while !self.open.is_empty() {
            let effect = self.open.remove(0);
            self.answer(effect, true);
        }
    }

    fn answer(&mut self, effect: Effect, well: bool) {
        let happening = match effect {
            Effect::ClaimAddress if well => Happening::Addressed(ADDRESS),
            Effect::ClaimAddress => Happening::NotAddressed("no address is free".into()),
            Effect::Mount if well => Happening::Mounted,
            Effect::Mount => Happening::NotMounted(NotMounted {
                volume: "cfg".into(),
                message: "configmap \"cfg\" not found".into(),
                unsupported: false,
                is_elsewhere: false,
            }),
            Effect::Unmount if well => Happening::Unmounted,
            Effect::Unmount => Happening::NotUnmounted(NotMounted {
                volume: "data".into(),
                message: "the store is not there".into(),
                unsupported: false,
                is_elsewhere: true,
            }),
            Effect::Pull(place) if well => Happening::Pulled(
                place,
                Pulled { image_id: "hello@sha256:00".into(), fetched: None, linked: Vec::new() },
            ),
            Effect::Pull(place) => {
                let image = "hello:v1".into();
                Happening::NotPulled(place, NotPulled { image, reason: "ErrImagePull", message: "not found".into() })
            }
            Effect::Prepare(place) if well => Happening::Prepared(place, Nature::Server),
            Effect::Prepare(place) => Happening::NotPrepared(place, "not wasm".into()),
            Effect::Start(place, run) if well => Happening::Started(place, run),
            Effect::Start(place, _) => {
                self.runs.remove(&place);
                Happening::NotStarted(place, Blocked { reason: "CreateContainerConfigError", message: "no".into() })
            }
            Effect::Stop(place, run, _) if self.runs.get(&place) == Some(&run) => {
                return self.exit(place, Exit::Stopped);
            }
            Effect::Hook(place, run, hook, _) => {
                let outcome = if well { Outcome::Passed } else { Outcome::Failed("no".into()) };
                Happening::Hooked(place, run, hook, outcome)
            }
            Effect::Allot if well => Happening::Allotted(self.state.wanted().clone()),
            Effect::Allot => {
                let why = Unfit { reason: "Deferred", message: "no room".into() };
                Happening::NotAllotted(self.state.wanted().clone(), why)
            }
            Effect::Probe(place, run, kind) => {
                let outcome = if well { Outcome::Passed } else { Outcome::Failed("no".into()) };
                Happening::Probed(place, run, kind, outcome)
            }
            Effect::Stop(..)
            | Effect::Resize(..)
            | Effect::Tell(_)
            | Effect::Vacate
            | Effect::Release
            | Effect::Delete => return,
        };
        self.on(happening);
    }

    fn exit(&mut self, place: Place, exit: Exit) {
        if let Some(run) = self.runs.remove(&place) {
            self.on(Happening::Exited(place, run, exit));
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.now = later(self.now, SignedDuration::from_secs(seconds));
        self.on(Happening::Tick);
    }

    /// The cluster wants this for a main container.
    fn size(&mut self, container: usize, resources: &str) {
        let mut pod = Pod::clone(self.state.wanted());
        if let Some(spec) = &mut pod.spec {
            spec.containers[container].resources = serde_json::from_str(resources).expect("resources");
        }
        pod.metadata.generation = Some(pod.metadata.generation.unwrap_or(1) + 1);
        self.on(Happening::Wanted(Arc::new(pod)));
    }

    /// What a container is told to have, as limits of cpu, and what it was promised.
    fn has(&self, container: usize) -> String {
        let status = &self.status.container_statuses.as_ref().expect("statuses")[container];
        let cpu = |amounts: &Option<api::pod_spec::resize::Amounts>| amounts.as_ref().map(|all| all["cpu"].0.clone());
        let holds = status.resources.as_ref().map(|resources| cpu(&resources.limits));
        format!("{} of {}", holds.flatten().unwrap_or_default(), cpu(&status.allocated_resources).unwrap_or_default())
    }

    fn resize_conditions(&self) -> Vec<String> {
        let conditions = self.status.conditions.iter().flatten().filter(|one| one.type_.starts_with("PodResize"));
        let told = conditions.map(|one| {
            [Some(one.type_.clone()), one.reason.clone(), one.message.clone()].into_iter().flatten().collect::<Vec<_>>()
        });
        told.map(|words| words.join(" ")).collect()
    }

    fn delete(&mut self) {
        let mut pod = (*self.state.pod).clone();
        pod.metadata.deletion_timestamp.get_or_insert(Time(later(self.now, SignedDuration::from_secs(30))));
        pod.metadata.deletion_grace_period_seconds = Some(30);
        self.leaving = true;
        self.on(Happening::Wanted(Arc::new(pod)));
    }

    /// Whatever was going on, a deleted pod ends.
    fn end(&mut self) {
        self.delete();
        for _ in 0..20 {
            self.do_all();
            self.pass(60);
        }
        assert!(self.state.is_gone() && self.deleted, "a deleted pod ends: {:?}", self.state);
        assert!(self.runs.is_empty(), "and takes everything with it");
    }

    fn told(&self) -> String {
        self.told.join("\n")
    }

    fn condition(&self, kind: &str) -> String {
        let conditions = self.status.conditions.as_deref().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition.type_ == kind).expect("the condition is there");
        [Some(found.status.clone()), found.reason.clone(), found.message.clone()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The pod in a line: its phase, then each container with its state and restarts.
    fn summary(&self) -> String {
        let status = &self.status;
        let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
        let containers = lists.into_iter().flatten().flatten().map(|container| {
            let state = container.state.as_ref().expect("a state");
            let word = match (&state.waiting, &state.running, &state.terminated) {
                (Some(waiting), ..) => waiting.reason.clone().unwrap_or_default(),
                (_, Some(_), _) if container.ready => "ready".into(),
                (_, Some(_), _) => "running".into(),
                (.., Some(ended)) => format!("{}({})", ended.reason.clone().unwrap_or_default(), ended.exit_code),
                _ => "?".into(),
            };
            format!(" {}={word}/{}", container.name, container.restart_count)
        });
        format!("{}{}", self.status.phase.as_deref().unwrap_or("?"), containers.collect::<String>())
    }

    fn check(&self, expected: &str) {
        assert_eq!(self.summary(), expected, "{}", self.told());
    }
}

const SERVER: &str = r#"{"containers":[{"name":"app","image":"hello:v1"}]}"#;

#[test]
fn a_pod_comes_up_and_tells_the_story() {
    let mut story = Story::new(SERVER);
    story.check("Pending app=ContainerCreating/0");
    story.do_all();
    story.check("Running app=ready/0");
    assert_eq!(story.condition("Ready"), "True");
    assert_eq!(story.condition("Initialized"), "True");
    assert_eq!(story.status.pod_ip.as_deref(), Some("10.42.0.5"));
    assert_eq!(story.status.qos_class.as_deref(), Some("BestEffort"));
    let told = "Pulled Container image \"hello:v1\" already present on machine\nCreated Created container: app\nStarted Started container app";
    assert!(story.told().ends_with(told), "{}", story.told());
}

#[test]
fn a_deleted_pod_is_unready_first_then_stops_then_is_gone() {
    let mut story = Story::new(SERVER);
    story.do_all();
    story.delete();
    story.check("Running app=running/0");
    assert_eq!(story.condition("Ready"), "False ContainersNotReady containers with unready status: [app]");
    assert!(story.open.is_empty(), "it still answers: {:?}", story.open);
    story.pass(1);
    assert_eq!(story.open, [Effect::Stop(0, 0, Duration::from_secs(29))]);
    story.do_all();
    story.check("Succeeded app=Completed(0)/0");
    assert!(story.deleted && story.state.is_gone());
}

#[test]
fn a_pod_has_not_ended_before_what_it_wrote_is_where_it_belongs() {
    let spec = r#"{"restartPolicy":"Never","containers":[{"name":"app","image":"job:v1"}],
        "volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"data"}}]}"#;
    let mut story = Story::new(spec);
    story.do_all();
    story.exit(0, Exit::Code(0));
    story.check("Running app=Completed(0)/0");
    assert_eq!(story.open, [Effect::Unmount]);
    let mut waits = Vec::new();
    for _ in 0..7 {
        let effect = story.open.remove(0);
        story.answer(effect, false);
        let until = story.state.wake_at().expect("it is tried again");
        waits.push(until.duration_since(story.now).as_secs());
        story.now = until;
        story.on(Happening::Tick);
        assert_eq!(story.open, [Effect::Unmount]);
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 120, 120]);
    let told = "FailedUnmount UnmountVolume.TearDown failed for volume \"data\" : the store is not there";
    assert!(story.told().ends_with(told), "{}", story.told());
    story.check("Running app=Completed(0)/0");
    story.do_all();
    story.check("Succeeded app=Completed(0)/0");
    story.end();
}

#[test]
fn a_crashing_container_waits_longer_each_time() {
    let mut story = Story::new(SERVER);
    story.do_all();
    story.exit(0, Exit::Code(3));
    story.check("Running app=Error(3)/0");
    story.do_all();
    story.check("Running app=ready/1");
    story.exit(0, Exit::Trapped("unreachable".into()));
    story.check("Running app=CrashLoopBackOff/1");
    let told = "BackOff Back-off restarting failed container app in pod web_shop(u1)";
    assert!(story.told().ends_with(told), "{}", story.told());
    let app = &story.status.container_statuses.as_ref().expect("statuses")[0];
    let last = app.last_state.as_ref().and_then(|last| last.terminated.as_ref()).expect("a last state");
    assert_eq!((last.exit_code, last.message.as_deref()), (134, Some("unreachable")));
    let message = app.state.as_ref().and_then(|state| state.waiting.as_ref()?.message.clone());
    assert_eq!(message.as_deref(), Some("back-off 10s restarting failed container=app pod=web_shop(u1)"));
    story.pass(9);
    story.check("Running app=CrashLoopBackOff/1");
    story.pass(1);
    story.do_all();
    story.check("Running app=ready/2");
}

#[test]
fn a_restart_policy_decides_what_an_end_means() {
    let ended = |policy: &str, exit: Exit| {
        let spec = format!(r#"{{"restartPolicy":"{policy}","containers":[{{"name":"app","image":"job:v1"}}]}}"#);
        let mut story = Story::new(&spec);
        story.do_all();
        story.exit(0, exit);
        story.do_all();
        story
    };
    ended("Never", Exit::Code(0)).check("Succeeded app=Completed(0)/0");
    ended("Never", Exit::OutOfMemory).check("Failed app=OOMKilled(137)/0");
    ended("OnFailure", Exit::Code(0)).check("Succeeded app=Completed(0)/0");
    ended("OnFailure", Exit::Code(1)).check("Running app=ready/1");
    ended("Always", Exit::Code(0)).check("Running app=ready/1");
    let failed = ended("Never", Exit::Code(1));
    assert_eq!(failed.condition("Ready"), "False PodFailed");
    assert_eq!(ended("Never", Exit::Code(0)).condition("Initialized"), "True PodCompleted");
}

#[test]
fn init_containers_run_one_after_the_other() {
    let mut story = Story::new(
        r#"{"initContainers":[{"name":"one","image":"i:v1"},{"name":"two","image":"i:v1"}],
            "containers":[{"name":"app","image":"hello:v1"}]}"#,
    );
    story.do_all();
    story.check("Pending one=running/0 two=PodInitializing/0 app=PodInitializing/0");
    assert_eq!(
        story.condition("Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [one two]"
    );
    story.exit(0, Exit::Code(0));
    story.do_all();
    story.check("Pending one=Completed(0)/0 two=running/0 app=PodInitializing/0");
    story.exit(1, Exit::Code(0));
    story.do_all();
    story.check("Running one=Completed(0)/0 two=Completed(0)/0 app=ready/0");
}

#[test]
fn an_init_container_that_fails_for_good_fails_the_pod() {
    let mut story = Story::new(
        r#"{"restartPolicy":"Never","initContainers":[{"name":"one","image":"i:v1"}],
            "containers":[{"name":"app","image":"hello:v1"}]}"#,
    );
    story.do_all();
    story.exit(0, Exit::Code(1));
    story.check("Failed one=Error(1)/0 app=PodInitializing/0");
}

#[test]
fn a_side_car_stays_until_the_others_have_ended() {
    let mut story = Story::new(
        r#"{"restartPolicy":"Never","initContainers":[{"name":"car","image":"i:v1","restartPolicy":"Always"}],
            "containers":[{"name":"app","image":"job:v1"}]}"#,
    );
    story.do_all();
    story.check("Running car=ready/0 app=ready/0");
    story.exit(1, Exit::Code(0));
    assert_eq!(story.open, [Effect::Stop(0, 0, Duration::from_secs(30))]);
    story.do_all();
    story.check("Succeeded car=Completed(0)/0 app=Completed(0)/0");
}

#[test]
fn a_failed_pull_is_told_then_waits() {
    let mut story = Story::new(SERVER);
    for well in [true, true, false] {
        let effect = story.open.remove(0);
        story.answer(effect, well);
    }
    story.check("Pending app=ErrImagePull/0");
    story.pass(3);
    story.check("Pending app=ImagePullBackOff/0");
    assert!(story.told().ends_with("BackOff Back-off pulling image \"hello:v1\"\nFailed Error: ImagePullBackOff"));
    story.pass(7);
    assert_eq!(story.open, [Effect::Pull(0)]);
}

#[test]
fn what_is_linked_is_pulled_too_and_told_by_a_condition() {
    let mut story = Story::new(SERVER);
    let take = |story: &mut Story| story.open.remove(0);
    for _ in [Effect::ClaimAddress, Effect::Mount] {
        let effect = take(&mut story);
        story.answer(effect, true);
    }
    assert_eq!(take(&mut story), Effect::Pull(0));
    let why = NotPulled { image: "prices:v1".into(), reason: "ErrImagePull", message: "not found".into() };
    story.on(Happening::NotPulled(0, why));
    assert!(
        story
            .told()
            .contains("Failed Failed to pull image \"prices:v1\": failed to pull image \"prices:v1\": not found"),
        "{}",
        story.told()
    );
    story.pass(3);
    assert!(story.told().ends_with("BackOff Back-off pulling image \"prices:v1\"\nFailed Error: ImagePullBackOff"));
    let state = story.status.container_statuses.as_ref().and_then(|statuses| statuses[0].state.clone());
    let told = state.and_then(|state| state.waiting).and_then(|waiting| waiting.message).unwrap_or_default();
    assert_eq!(
        told,
        "Back-off pulling image \"prices:v1\": ErrImagePull: failed to pull image \"prices:v1\": not found"
    );
    story.pass(7);
    assert_eq!(take(&mut story), Effect::Pull(0));
    let prices = LinkedImage { reference: "prices:v1".into(), id: "prices@sha256:01".into(), fetched: None };
    let pulled = Pulled { image_id: "hello@sha256:00".into(), fetched: None, linked: vec![prices] };
    story.on(Happening::Pulled(0, pulled));
    story.do_all();
    story.check("Running app=ready/0");
    let conditions = story.status.conditions.iter().flatten();
    let linked: Vec<_> = conditions.filter(|condition| condition.type_ == LINKED).collect();
    assert_eq!(linked.iter().map(|one| one.status.as_str()).collect::<Vec<_>>(), ["True"]);
    assert_eq!(linked[0].message.as_deref(), Some("container app: prices:v1 is prices@sha256:01"));
}

#[test]
fn an_unhealthy_container_is_restarted_and_an_unready_one_is_not() {
    let mut story = Story::new(
        r#"{"containers":[{"name":"app","image":"hello:v1","livenessProbe":{"tcpSocket":{"port":80},"failureThreshold":1},
            "readinessProbe":{"tcpSocket":{"port":80}}}]}"#,
    );
    while !story.open.iter().any(|effect| matches!(effect, Effect::Probe(..))) {
        let effect = story.open.remove(0);
        story.answer(effect, true);
    }
    story.check("Running app=running/0");
    let probes = std::mem::take(&mut story.open);
    assert_eq!(probes, [Effect::Probe(0, 0, ProbeKind::Liveness), Effect::Probe(0, 0, ProbeKind::Readiness)]);
    story.answer(probes[1].clone(), true);
    story.check("Running app=ready/0");
    story.answer(probes[0].clone(), false);
    assert!(story.told().ends_with("Killing Container app failed liveness probe, will be restarted"));
    let stop = story.open.remove(0);
    story.answer(stop, true);
    story.check("Running app=Error(137)/0");
}

const HOOKED: &str = r#"{"containers":[
    {"name":"first","image":"hello:v1","lifecycle":{"postStart":{"exec":{"command":["x"]}},"preStop":{"exec":{"command":["y"]}}}},
    {"name":"second","image":"hello:v1"}]}"#;

impl Story {
    /// Carries out what is open until a hook is due, and takes that out.
    fn until_hook(&mut self) -> Effect {
        while !self.open.is_empty() {
            let effect = self.open.remove(0);
            if matches!(effect, Effect::Hook(..)) {
                return effect;
            }
            self.answer(effect, true);
        }
        panic!("no hook is due: {}", self.told());
    }
}

#[test]
fn a_container_waits_for_the_post_start_hooks_before_it() {
    let mut story = Story::new(HOOKED);
    let hook = story.until_hook();
    assert_eq!(hook, Effect::Hook(0, 0, Hook::PostStart, None));
    story.do_all();
    story.check("Pending first=running/0 second=ContainerCreating/0");
    story.answer(hook, true);
    story.do_all();
    story.check("Running first=ready/0 second=ready/0");
}

#[test]
fn a_container_whose_post_start_hook_fails_is_restarted() {
    let mut story = Story::new(HOOKED);
    let hook = story.until_hook();
    story.answer(hook, false);
    assert!(story.told().ends_with("FailedPostStartHook PostStartHook failed: no\nKilling FailedPostStartHook"));
    let hook = story.until_hook();
    assert_eq!(hook, Effect::Hook(0, 0, Hook::PreStop, Some(Duration::from_secs(30))), "it is ended as any other");
    story.answer(hook, true);
    let stop = story.open.pop().expect("a stop");
    story.answer(stop, true);
    story.check("Pending first=Error(137)/0 second=ContainerCreating/0");
}

#[test]
fn the_grace_counts_the_pre_stop_hook() {
    let mut story = Story::new(HOOKED);
    story.do_all();
    story.delete();
    story.pass(1);
    let hook = story.until_hook();
    assert_eq!(hook, Effect::Hook(0, 0, Hook::PreStop, Some(Duration::from_secs(29))));
    story.do_all();
    story.check("Running first=running/0 second=Completed(0)/0");
    story.pass(20);
    story.answer(hook, false);
    assert!(story.told().ends_with("FailedPreStopHook PreStopHook failed: no"), "{}", story.told());
    assert_eq!(story.open, [Effect::Stop(0, 0, Duration::from_secs(9))]);
    story.do_all();
    assert!(story.deleted);
}

#[test]
fn a_pre_stop_hook_that_does_not_end_is_cut_off() {
    let mut story = Story::new(HOOKED);
    story.do_all();
    story.delete();
    story.pass(1);
    let hook = story.until_hook();
    story.do_all();
    story.pass(29);
    assert_eq!(story.open, [Effect::Stop(0, 0, Duration::from_secs(2))]);
    story.answer(hook, true);
    story.do_all();
    assert!(story.deleted, "{:?}", story.state);
}

#[test]
fn a_new_image_restarts_the_container() {
    let mut story = Story::new(SERVER);
    story.do_all();
    let mut pod = (*story.state.pod).clone();
    if let Some(spec) = &mut pod.spec {
        spec.containers[0].image = Some("hello:v2".into());
    }
    story.on(Happening::Wanted(Arc::new(pod)));
    story.do_all();
    story.check("Running app=ready/1");
    assert_eq!(story.status.container_statuses.as_ref().expect("statuses")[0].image, "hello:v2");
}

#[test]
fn a_tool_comes_into_a_pod_that_runs_and_nothing_depends_on_it() {
    let with_tool = r#"{"containers":[{"name":"app","image":"hello:v1"},{"name":"look","image":"box:v1"}],
        "ephemeralContainers":[{"name":"look","image":"box:v1"}]}"#;
    let mut story = Story::new(SERVER);
    story.do_all();
    story.on(Happening::Wanted(shared_pod(with_tool)));
    assert_eq!(story.condition("Ready"), "True", "it is not waited for");
    story.do_all();
    story.check("Running app=ready/0 look=running/0");
    story.exit(1, Exit::Code(3));
    story.pass(60);
    story.check("Running app=ready/0 look=Error(3)/0");
    assert_eq!(story.condition("Ready"), "True");
    assert_eq!(story.status.qos_class.as_deref(), Some("BestEffort"));
    story.delete();
    story.pass(1);
    story.do_all();
    story.check("Succeeded app=Completed(0)/0 look=Error(3)/0");
    // After a restart of the agent it is not run again.
    let mut pod = (*shared_pod(with_tool)).clone();
    let looked = r#"{"name":"look","image":"box:v1","imageID":"","ready":false,"restartCount":0,
        "state":{"terminated":{"exitCode":3}}}"#;
    let looked = serde_json::from_str(looked).expect("a status");
    pod.status = Some(PodStatus { ephemeral_container_statuses: Some(vec![looked]), ..PodStatus::default() });
    let mut story = Story::of(Arc::new(pod));
    story.do_all();
    assert_eq!(story.runs.keys().copied().collect::<Vec<_>>(), [0], "{}", story.told());
}

#[test]
fn a_pod_that_is_sent_off_says_why_and_stays_so() {
    let mut story = Story::new(r#"{"containers":[{"name":"app","image":"hello:v1"}]}"#);
    story.do_all();
    story.on(Happening::Evicted("The node was low on resource: memory. ".into()));
    assert!(story.open.contains(&Effect::Stop(0, 0, Duration::ZERO)), "at once");
    story.do_all();
    story.check("Failed app=Completed(0)/0");
    let told = |status: &PodStatus| (status.reason.clone(), status.message.clone());
    assert_eq!(told(&story.status).0.as_deref(), Some("Evicted"));
    let conditions = story.status.conditions.clone().unwrap_or_default();
    assert!(conditions.iter().any(|one| one.type_ == "DisruptionTarget" && one.status == "True"));
    let mut pod = Pod::clone(story.state.pod());
    pod.status = Some(story.status.clone());
    let again = Story::of(Arc::new(pod));
    assert_eq!(told(&again.status), told(&story.status), "a new agent says the same");
}

const SIZED: &str = r#"{"containers":[{"name":"app","image":"hello:v1",
    "resources":{"requests":{"cpu":"1"},"limits":{"cpu":"1"}},
    "resizePolicy":[{"resourceName":"memory","restartPolicy":"RestartContainer"}]}]}"#;
const LARGER: &str = r#"{"requests":{"cpu":"2"},"limits":{"cpu":"2"}}"#;

#[test]
fn a_container_is_resized_as_it_runs() {
    let mut story = Story::new(SIZED);
    story.do_all();
    assert_eq!(story.has(0), "1 of 1");
    story.size(0, LARGER);
    assert_eq!(story.open, [Effect::Allot]);
    assert_eq!((story.has(0), story.status.observed_generation), ("1 of 1".into(), Some(2)));
    let effect = story.open.remove(0);
    story.answer(effect, true);
    assert_eq!(story.open, [Effect::Resize(0, 0)]);
    assert_eq!((story.has(0), story.resize_conditions()), ("2 of 2".into(), vec![]));
    story.check("Running app=ready/0");
}

#[test]
fn what_the_node_does_not_promise_is_told_and_may_come_later() {
    let mut story = Story::new(SIZED);
    story.do_all();
    story.size(0, LARGER);
    let effect = story.open.remove(0);
    story.answer(effect, false);
    assert_eq!(story.resize_conditions(), ["PodResizePending Deferred no room"]);
    assert_eq!(story.has(0), "1 of 1");
    story.pass(60);
    assert!(story.open.is_empty(), "the node says when there is room: {:?}", story.open);
    let wanted = story.state.wanted().clone();
    // Somebody who was told of it begins anew.
    let mut told = Pod::clone(&wanted);
    told.status = Some(story.status.clone());
    let again = Story::of(Arc::new(told));
    assert!(again.open.contains(&Effect::Allot), "{:?}", again.open);
    assert_eq!(
        again.state.container(0).and_then(|app| app.resources.clone()),
        serde_json::from_str(r#"{"requests":{"cpu":"1"},"limits":{"cpu":"1"}}"#).expect("resources")
    );
    story.on(Happening::Allotted(wanted));
    assert_eq!((story.has(0), story.resize_conditions()), ("2 of 2".into(), vec![]));
    story.open.clear();
    story.size(0, r#"{"requests":{"cpu":"3"},"limits":{"cpu":"3"}}"#);
    let refused = story.open.remove(0);
    story.size(0, LARGER);
    story.answer(refused, false);
    story.do_all();
    assert_eq!(
        (story.has(0), story.resize_conditions()),
        ("2 of 2".into(), vec![]),
        "who wants what he has is settled"
    );
}

#[test]
fn a_container_that_says_so_is_started_again() {
    let mut story = Story::new(SIZED);
    story.do_all();
    story.size(0, r#"{"requests":{"cpu":"1"},"limits":{"cpu":"1","memory":"32Mi"}}"#);
    let effect = story.open.remove(0);
    story.answer(effect, true);
    assert_eq!(story.open, [Effect::Stop(0, 0, Duration::from_secs(30))]);
    assert_eq!(story.resize_conditions(), ["PodResizeInProgress"]);
    assert!(story.told().ends_with("Killing Container app resize requires restart"), "{}", story.told());
    story.do_all();
    story.check("Running app=ready/1");
    assert_eq!(story.resize_conditions(), [] as [&str; 0]);
}

#[test]
fn a_pod_that_the_node_does_not_take_fails() {
    let mut story = Story::new(SIZED);
    story.on(Happening::Rejected(Rejected { reason: "OutOfcpu", message: "Pod was rejected: …".into() }));
    story.do_all();
    story.check("Failed app=ContainerCreating/0");
    assert_eq!(story.status.reason.as_deref(), Some("OutOfcpu"));
}

#[test]
fn a_pod_out_of_time_fails() {
    let mut story = Story::new(r#"{"activeDeadlineSeconds":5,"containers":[{"name":"app","image":"hello:v1"}]}"#);
    story.do_all();
    story.pass(5);
    story.do_all();
    story.check("Failed app=Completed(0)/0");
    assert_eq!(story.status.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn a_new_agent_goes_on_where_the_old_one_was() {
    let mut story = Story::new(SERVER);
    story.do_all();
    story.exit(0, Exit::Code(3));
    story.do_all();
    let mut pod = (*story.state.pod).clone();
    pod.status = Some(story.status.clone());
    let mut again = Story::of(Arc::new(pod));
    again.check("Running app=Unknown(255)/1");
    again.do_all();
    again.check("Running app=ready/2");
    let container = &again.status.container_statuses.as_ref().expect("statuses")[0];
    let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref()).expect("a last state");
    assert_eq!((last.exit_code, last.reason.as_deref()), (255, Some("Unknown")));
}

#[test]
fn a_pod_that_had_ended_is_not_run_again() {
    let mut story = Story::new(r#"{"restartPolicy":"Never","containers":[{"name":"app","image":"job:v1"}]}"#);
    story.do_all();
    story.exit(0, Exit::Code(0));
    let mut pod = (*story.state.pod).clone();
    pod.status = Some(story.status.clone());
    let mut again = Story::of(Arc::new(pod));
    assert!(again.open.is_empty());
    again.check("Succeeded app=Completed(0)/0");
    assert_eq!(again.status, story.status);
    again.end();
}

/// One step of a generated history.
#[derive(Clone, Debug)]
enum Step {
    Answer(usize, bool),
    Exit(Place, Exit),
    Late(Place, u32),
    Pass(i64),
    Image(String),
    Size(u32),
    Evict,
    Delete,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let exit = prop_oneof![
        (0..3).prop_map(Exit::Code),
        Just(Exit::OutOfMemory),
        Just(Exit::Trapped("unreachable".into())),
        Just(Exit::NotStarted("no".into())),
    ];
    let step = prop_oneof![
        8 => (0usize..4, prop::bool::weighted(0.8)).prop_map(|(which, well)| Step::Answer(which, well)),
        2 => (0usize..4, exit).prop_map(|(place, exit)| Step::Exit(place, exit)),
        1 => (0usize..4, 0u32..4).prop_map(|(place, run)| Step::Late(place, run)),
        2 => (0i64..400).prop_map(Step::Pass),
        1 => "[ab]:v[12]".prop_map(Step::Image),
        1 => (1u32..4).prop_map(Step::Size),
        1 => Just(Step::Evict),
        1 => Just(Step::Delete),
    ];
    prop::collection::vec(step, 0..60)
}

fn specs() -> impl Strategy<Value = String> {
    let probe =
        r#","livenessProbe":{"tcpSocket":{"port":80}},"readinessProbe":{"tcpSocket":{"port":80},"periodSeconds":1}"#;
    let startup = r#","startupProbe":{"tcpSocket":{"port":80},"failureThreshold":2}"#;
    let hooks = r#","lifecycle":{"postStart":{"sleep":{"seconds":1}},"preStop":{"sleep":{"seconds":1}}}"#;
    let restarts = r#","resizePolicy":[{"resourceName":"cpu","restartPolicy":"RestartContainer"}]"#;
    let main = prop_oneof![Just(""), Just(probe), Just(startup), Just(hooks), Just(restarts)];
    let init = prop_oneof![Just(""), Just(r#","restartPolicy":"Always""#)];
    let policy = prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")];
    (main, init, policy).prop_map(|(main, init, policy)| {
        format!(
            r#"{{"restartPolicy":"{policy}","initContainers":[{{"name":"i","image":"a:v1"{init}}},{{"name":"j","image":"a:v1"}}],
                "containers":[{{"name":"a","image":"a:v1"{main}}},{{"name":"b","image":"b:v1"}}]}}"#
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The assertions are in the story: one run at a time, no start while leaving, no restart taken back, reports that hold still.
    #[test]
    fn whatever_happens_a_deleted_pod_ends(spec in specs(), steps in steps()) {
        let mut story = Story::new(&spec);
        for step in steps {
            match step {
                Step::Answer(which, well) if which < story.open.len() => {
                    let effect = story.open.remove(which);
                    story.answer(effect, well);
                }
                // A run that has not been reported as begun cannot end.
                Step::Exit(place, exit) if story.state.containers.get(place).is_some_and(ContainerState::is_live) => {
                    story.exit(place, exit);
                }
                Step::Late(place, run) if story.runs.get(&place) != Some(&run) => {
                    story.on(Happening::Exited(place, run, Exit::Code(1)));
                }
                Step::Pass(seconds) => story.pass(seconds),
                Step::Image(image) => {
                    let mut pod = (*story.state.pod).clone();
                    if let Some(spec) = &mut pod.spec {
                        spec.containers[0].image = Some(image);
                    }
                    story.on(Happening::Wanted(Arc::new(pod)));
                }
                Step::Size(cpu) => story.size(0, &format!(r#"{{"limits":{{"cpu":"{cpu}"}}}}"#)),
                Step::Evict => story.on(Happening::Evicted("no room".into())),
                Step::Delete => story.delete(),
                Step::Answer(..) | Step::Exit(..) | Step::Late(..) => {}
            }
        }
        story.end();
    }

    #[test]
    fn run_numbers_only_grow(spec in specs(), exits in prop::collection::vec(0usize..4, 0..12)) {
        let mut story = Story::new(&spec);
        let mut seen: BTreeMap<Place, u32> = BTreeMap::new();
        for place in exits {
            story.do_all_once();
            story.exit(place, Exit::Code(1));
            story.pass(600);
            for (place, run) in &story.last_run {
                let before = seen.insert(*place, *run).unwrap_or(0);
                prop_assert!(before <= *run);
            }
        }
    }
}

impl Story {
    /// Carries out what is open now, but not what follows from probes without end.
    fn do_all_once(&mut self) {
        for _ in 0..40 {
            if self.open.is_empty() {
                return;
            }
            let effect = self.open.remove(0);
            self.answer(effect, true);
        }
    }
}
