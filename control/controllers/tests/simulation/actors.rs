//! Everyone but the controllers: people, agents, machines.

use api::{GroupKind, Key, Object, kinds};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::storage;
use crate::world::World;

/// Something that somebody does. Numbers choose among what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Apply { name: u8, replicas: u8, image: u8, surge: u8, unavailable: u8 },
    SetImage { name: u8, image: u8 },
    Scale { name: u8, replicas: u8 },
    Pause { name: u8, paused: bool },
    Recreate { name: u8 },
    Delete { name: u8, how: How },
    DeleteNamespace,
    DeletePod { pod: u8 },
    DeleteSet { set: u8 },
    FailPod { pod: u8 },
    EndPod { pod: u8 },
    RelabelPod { pod: u8 },
    Agents { lazy: bool },
    KillNode { node: u8 },
    DeleteNode { node: u8 },
    Cordon { node: u8, cordoned: bool },
    Revive,
    ApplyJob { job: u8, shape: Shape },
    ScaleJob { job: u8, parallelism: u8, suspend: bool },
    EndJobPod { pod: u8, code: u8 },
    DeleteJob { job: u8, how: How },
    ApplyCron { every: u8, policy: u8, deadline: Option<u8>, limit: u8 },
    SuspendCron { suspend: bool },
    DeleteOneJob { job: u8 },
    WriteRole { role: u8, parts_of: u8, rules: u8, made_of: u8 },
    DeleteRole { role: u8 },
    Store(storage::Act),
    Pass { seconds: i64 },
}

/// What becomes of what the deleted object owns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Background,
    Foreground,
    Orphan,
}

/// What a job is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// None is a queue of work.
    pub(crate) completions: Option<u8>,
    pub(crate) parallelism: u8,
    pub(crate) indexed: bool,
    pub(crate) limit: u8,
    pub(crate) limit_per_index: Option<u8>,
    pub(crate) replaces_ended_only: bool,
    pub(crate) ignores: bool,
    pub(crate) deadline: Option<u8>,
    pub(crate) ttl: Option<u8>,
}

/// A step of a world of jobs.
pub(crate) fn job_step() -> impl Strategy<Value = Step> {
    let (job, which, parallelism) = (0_u8..2, 0_u8..16, 0_u8..4);
    let how = prop_oneof![Just(How::Background), Just(How::Foreground), Just(How::Orphan)];
    prop_oneof![
        3 => (job.clone(), shape()).prop_map(|(job, shape)| Step::ApplyJob { job, shape }),
        2 => (job.clone(), parallelism, any::<bool>())
            .prop_map(|(job, parallelism, suspend)| Step::ScaleJob { job, parallelism, suspend }),
        8 => (which.clone(), prop_oneof![Just(0_u8), Just(0), Just(1), Just(42)])
            .prop_map(|(pod, code)| Step::EndJobPod { pod, code }),
        1 => (job, how).prop_map(|(job, how)| Step::DeleteJob { job, how }),
        2 => which.prop_map(|pod| Step::DeletePod { pod }),
        6 => any::<bool>().prop_map(|lazy| Step::Agents { lazy }),
        1 => (1_u8..3).prop_map(|node| Step::KillNode { node }),
        1 => (1_u8..3).prop_map(|node| Step::DeleteNode { node }),
        1 => Just(Step::DeleteNamespace),
        1 => Just(Step::Revive),
        5 => (1_i64..60).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// A step of a world in which jobs recur.
pub(crate) fn cron_step() -> impl Strategy<Value = Step> {
    let deadline = proptest::option::weighted(0.3, 10_u8..100);
    prop_oneof![
        2 => (1_u8..4, 0_u8..3, deadline, 0_u8..3)
            .prop_map(|(every, policy, deadline, limit)| Step::ApplyCron { every, policy, deadline, limit }),
        1 => any::<bool>().prop_map(|suspend| Step::SuspendCron { suspend }),
        1 => (0_u8..8).prop_map(|job| Step::DeleteOneJob { job }),
        2 => (0_u8..8, 0_u8..2).prop_map(|(pod, code)| Step::EndJobPod { pod, code }),
        5 => any::<bool>().prop_map(|lazy| Step::Agents { lazy }),
        8 => (1_i64..200).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let some = |range: std::ops::Range<u8>| proptest::option::weighted(0.3, range);
    let counts = (proptest::option::weighted(0.8, 0_u8..5), 0_u8..4, 0_u8..3);
    (counts, any::<(bool, bool, bool)>(), some(0..3), some(20..120), some(0..100)).prop_map(
        |((completions, parallelism, limit), (indexed, replaces_ended_only, ignores), per_index, deadline, ttl)| {
            let indexed = indexed && completions.is_some();
            let limit_per_index = per_index.filter(|_| indexed);
            let limit = if limit_per_index.is_some() { 100 } else { limit };
            Shape {
                completions,
                parallelism,
                indexed,
                limit,
                limit_per_index,
                replaces_ended_only,
                ignores,
                deadline,
                ttl,
            }
        },
    )
}

/// Any step, the common ones more often.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let (name, few, small, which) = (0_u8..3, 0_u8..6, 0_u8..3, 0_u8..32);
    let how = prop_oneof![Just(How::Background), Just(How::Foreground), Just(How::Orphan)];
    prop_oneof![
        4 => (name.clone(), few.clone(), small.clone(), small.clone(), small.clone())
            .prop_map(|(name, replicas, image, surge, unavailable)| Step::Apply { name, replicas, image, surge, unavailable }),
        4 => (name.clone(), small).prop_map(|(name, image)| Step::SetImage { name, image }),
        3 => (name.clone(), few).prop_map(|(name, replicas)| Step::Scale { name, replicas }),
        1 => (name.clone(), any::<bool>()).prop_map(|(name, paused)| Step::Pause { name, paused }),
        1 => name.clone().prop_map(|name| Step::Recreate { name }),
        2 => (name, how).prop_map(|(name, how)| Step::Delete { name, how }),
        1 => Just(Step::DeleteNamespace),
        2 => which.clone().prop_map(|pod| Step::DeletePod { pod }),
        1 => which.clone().prop_map(|set| Step::DeleteSet { set }),
        2 => which.clone().prop_map(|pod| Step::FailPod { pod }),
        1 => which.clone().prop_map(|pod| Step::EndPod { pod }),
        1 => which.prop_map(|pod| Step::RelabelPod { pod }),
        8 => any::<bool>().prop_map(|lazy| Step::Agents { lazy }),
        1 => (1_u8..3).prop_map(|node| Step::KillNode { node }),
        1 => (1_u8..3).prop_map(|node| Step::DeleteNode { node }),
        1 => (1_u8..3, any::<bool>()).prop_map(|(node, cordoned)| Step::Cordon { node, cordoned }),
        2 => (0_u8..4, 0_u8..8, 0_u8..8, 0_u8..4)
            .prop_map(|(role, parts_of, rules, made_of)| Step::WriteRole { role, parts_of, rules, made_of }),
        1 => (0_u8..4).prop_map(|role| Step::DeleteRole { role }),
        4 => (1_i64..120).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

fn role_key(role: u8) -> Key {
    kinds::CLUSTER_ROLE.cluster_key(&format!("role-{role}"))
}

/// A role that is part of others (one bit each), and perhaps made of others, even of such as are made of it.
fn write_role(world: &mut World, role: u8, parts_of: u8, rules: u8, made_of: u8) {
    let labels: serde_json::Map<String, Value> =
        (0..3).filter(|bit| parts_of & (1 << bit) != 0).map(|bit| (format!("to-{bit}"), json!("true"))).collect();
    let rule = |bit: u8| json!({"apiGroups": [""], "resources": [format!("things-{bit}")], "verbs": ["get"]});
    let rules: Vec<Value> = (0..3).filter(|bit| rules & (1 << bit) != 0).map(rule).collect();
    let key = role_key(role);
    let mut value = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": key.name(), "uid": key.name(), "labels": labels}, "rules": rules,
    });
    if made_of < 3 {
        let chosen = json!({"matchLabels": {format!("to-{made_of}"): "true"}});
        value["aggregationRule"] = json!({"clusterRoleSelectors": [chosen]});
    }
    world.put(Object::from_value(kinds::CLUSTER_ROLE, &value).expect("an object"));
}

/// `web` and `db` in one namespace, another `web` in one that may end.
fn deployment_key(name: u8) -> Key {
    let (namespace, name) = [("default", "web"), ("default", "db"), ("shop", "web")][usize::from(name)];
    kinds::DEPLOYMENT.key(namespace, name)
}

pub(crate) fn act(world: &mut World, step: &Step) {
    match step {
        Step::Apply { name, replicas, image, surge, unavailable } => {
            apply(world, &deployment_key(*name), *replicas, *image, *surge, *unavailable);
        }
        Step::ApplyJob { job, shape } => apply_job(world, &job_key(*job), *shape),
        Step::ScaleJob { job, parallelism, suspend } => world.edit(&job_key(*job), |it| {
            it["spec"]["parallelism"] = json!(parallelism);
            it["spec"]["suspend"] = json!(suspend);
        }),
        Step::EndJobPod { pod, code } => {
            if let Some(key) = nth(world, kinds::POD, *pod) {
                end_pod(world, &key, *code);
            }
        }
        Step::ApplyCron { every, policy, deadline, limit } => apply_cron(world, *every, *policy, *deadline, *limit),
        Step::SuspendCron { suspend } => world.edit(&cron_key(), |it| it["spec"]["suspend"] = json!(suspend)),
        Step::DeleteOneJob { job } => {
            if let Some(key) = nth(world, kinds::JOB, *job) {
                delete(world, &key, How::Background);
            }
        }
        Step::DeleteJob { job, how } => delete(world, &job_key(*job), *how),
        Step::WriteRole { role, parts_of, rules, made_of } => write_role(world, *role, *parts_of, *rules, *made_of),
        Step::Store(act) => storage::carry_out(world, act),
        Step::DeleteRole { role } => world.remove(&role_key(*role)),
        Step::SetImage { name, image } => world.edit(&deployment_key(*name), |it| {
            it["spec"]["template"]["spec"]["containers"][0]["image"] = json!(format!("app:{image}"));
        }),
        Step::Scale { name, replicas } => {
            world.edit(&deployment_key(*name), |it| it["spec"]["replicas"] = json!(replicas));
        }
        Step::Pause { name, paused } => world.edit(&deployment_key(*name), |it| it["spec"]["paused"] = json!(paused)),
        Step::Recreate { name } => {
            world.edit(&deployment_key(*name), |it| it["spec"]["strategy"] = json!({"type": "Recreate"}));
        }
        Step::Delete { name, how } => delete(world, &deployment_key(*name), *how),
        Step::DeleteNamespace => {
            let now = seconds(world.now);
            world.edit(&kinds::NAMESPACE.cluster_key("shop"), |it| it["metadata"]["deletionTimestamp"] = now);
        }
        Step::DeletePod { pod } => {
            if let Some(key) = nth(world, kinds::POD, *pod) {
                delete_pod(world, &key);
            }
        }
        Step::DeleteSet { set } => {
            if let Some(key) = nth(world, kinds::REPLICA_SET, *set) {
                delete(world, &key, How::Background);
            }
        }
        Step::FailPod { pod } => {
            // One that has ended stays so, whatever it last said of itself.
            let runs = |key: &Key| world.view.get(key).is_some_and(|pod| tree(pod)["status"]["phase"] == "Running");
            if let Some(key) = nth(world, kinds::POD, *pod).filter(|key| runs(key) && ready(world, key)) {
                say_ready(world, &key, false);
            }
        }
        Step::EndPod { pod } => {
            if let Some(key) = nth(world, kinds::POD, *pod) {
                world.edit(&key, |it| it["status"] = json!({"phase": "Failed", "reason": "Evicted"}));
            }
        }
        Step::RelabelPod { pod } => {
            if let Some(key) = nth(world, kinds::POD, *pod) {
                world.edit(&key, |it| it["metadata"]["labels"] = json!({"app": "somebody-elses"}));
            }
        }
        Step::Agents { lazy } => agents(world, *lazy),
        Step::KillNode { node } => world.dead.push(format!("n{node}")),
        Step::DeleteNode { node } => world.remove(&kinds::NODE.cluster_key(&format!("n{node}"))),
        Step::Cordon { node, cordoned } => {
            world.edit(&kinds::NODE.cluster_key(&format!("n{node}")), |it| {
                it["spec"]["unschedulable"] = json!(cordoned);
            });
        }
        Step::Revive => {
            world.dead.clear();
            for name in ["n0", "n1", "n2"] {
                let key = kinds::NODE.cluster_key(name);
                let now = world.now;
                if world.view.get(&key).is_some() {
                    world.edit(&key, |it| {
                        it["status"]["conditions"] = node_conditions(now);
                        it["spec"]["unschedulable"] = Value::Null;
                    });
                } else {
                    world.put(node(name, now));
                }
            }
            for key in [0, 1, 2].map(deployment_key) {
                world.edit(&key, |it| it["spec"]["paused"] = json!(false));
            }
        }
        Step::Pass { seconds } => pass(world, *seconds),
    }
}

/// Time passes in small pieces, in which living agents renew their leases.
fn pass(world: &mut World, seconds: i64) {
    let mut left = seconds;
    while left > 0 {
        world.now += SignedDuration::from_secs(left.min(10));
        left -= 10;
        for name in ["n0", "n1", "n2"] {
            if !world.dead.iter().any(|dead| dead == name) && world.view.get(&kinds::NODE.cluster_key(name)).is_some() {
                let lease = lease(name, world.now);
                world.put(lease);
            }
        }
        world.look(8);
    }
}

fn apply(world: &mut World, key: &Key, replicas: u8, image: u8, surge: u8, unavailable: u8) {
    let home = world.view.get(&kinds::NAMESPACE.cluster_key(key.namespace()));
    if home.is_none_or(|home| home.meta().is_terminating()) {
        return;
    }
    let name = key.name();
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "progressDeadlineSeconds": 60,
        "revisionHistoryLimit": 2,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers":
            [{"name": "c", "image": format!("app:{image}"), "ports": [{"containerPort": 80}]}]}}});
    if world.view.get(key).is_some() {
        world.edit(key, |it| it["spec"] = spec);
        return;
    }
    let (uid, now) = (world.draw(), seconds(world.now));
    world.put(object(
        key,
        &json!({"apiVersion": "apps/v1", "metadata":
        {"uid": format!("d-{uid:x}"), "generation": 1, "creationTimestamp": now}, "spec": spec}),
    ));
    let service = key.sibling(kinds::SERVICE, name);
    if world.view.get(&service).is_none() {
        world.put(object(
            &service,
            &json!({"apiVersion": "v1", "metadata": {"uid": format!("s-{uid:x}")},
            "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": 80, "protocol": "TCP"}]}}),
        ));
    }
}

/// One job beside the deployments, one in the namespace that may end.
fn job_key(job: u8) -> Key {
    kinds::JOB.key(["default", "shop"][usize::from(job)], "work")
}

fn apply_job(world: &mut World, key: &Key, shape: Shape) {
    let home = world.view.get(&kinds::NAMESPACE.cluster_key(key.namespace()));
    if world.view.get(key).is_some() || home.is_none_or(|home| home.meta().is_terminating()) {
        return;
    }
    let uid = format!("j-{:x}", world.draw());
    let labels = json!({"batch.kubernetes.io/controller-uid": uid});
    let rules = json!([{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [42]}}]);
    let spec = json!({
        "completions": shape.completions, "parallelism": shape.parallelism, "backoffLimit": shape.limit,
        "backoffLimitPerIndex": shape.limit_per_index, "suspend": false,
        "completionMode": if shape.indexed { "Indexed" } else { "NonIndexed" },
        "podReplacementPolicy": if shape.replaces_ended_only { "Failed" } else { "TerminatingOrFailed" },
        "podFailurePolicy": if shape.ignores { json!({"rules": rules}) } else { Value::Null },
        "activeDeadlineSeconds": shape.deadline, "ttlSecondsAfterFinished": shape.ttl,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "work:1"}]}},
    });
    let now = seconds(world.now);
    world.put(object(
        key,
        &json!({"apiVersion": "batch/v1", "metadata": {"uid": uid, "generation": 1, "creationTimestamp": now}, "spec": spec}),
    ));
}

pub(crate) fn cron_key() -> Key {
    kinds::CRON_JOB.key("default", "tidy")
}

fn apply_cron(world: &mut World, every: u8, policy: u8, deadline: Option<u8>, limit: u8) {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "tidy:1"}]}});
    let policy = ["Allow", "Forbid", "Replace"][usize::from(policy)];
    let spec = json!({
        "schedule": format!("*/{every} * * * *"), "startingDeadlineSeconds": deadline, "suspend": false,
        "concurrencyPolicy": policy,
        "successfulJobsHistoryLimit": limit, "failedJobsHistoryLimit": limit,
        "jobTemplate": {"spec": {"template": template, "backoffLimit": 1}},
    });
    let key = cron_key();
    if world.view.get(&key).is_some() {
        return world.edit(&key, |it| it["spec"] = spec);
    }
    let now = seconds(world.now);
    let metadata = json!({"uid": "cron", "generation": 1, "creationTimestamp": now});
    world.put(object(&key, &json!({"apiVersion": "batch/v1", "metadata": metadata, "spec": spec})));
}

/// The containers of a pod of a job end.
fn end_pod(world: &mut World, key: &Key, code: u8) {
    let now = seconds(world.now);
    let runs = world.view.get(key).is_some_and(|pod| is_of_job(pod) && node_of(pod).is_some());
    world.edit(key, |it| {
        if runs && it["status"]["phase"] != "Succeeded" && it["status"]["phase"] != "Failed" {
            it["status"]["phase"] = json!(if code == 0 { "Succeeded" } else { "Failed" });
            let ended = json!({"exitCode": code, "finishedAt": now});
            it["status"]["containerStatuses"] = json!([{"name": "c", "ready": false, "restartCount": 0,
                "image": "", "imageID": "", "state": {"terminated": ended}}]);
        }
    });
}

pub(crate) fn is_of_job(pod: &Object) -> bool {
    pod.meta().controller().is_some_and(|owner| owner.kind == "Job")
}

pub(crate) fn delete(world: &mut World, key: &Key, how: How) {
    let now = seconds(world.now);
    let finalizer = match how {
        How::Background => return world.remove(key),
        How::Foreground => "foregroundDeletion",
        How::Orphan => "orphan",
    };
    world.edit(key, |it| {
        if it["metadata"]["deletionTimestamp"].is_null() {
            it["metadata"]["deletionTimestamp"] = now;
            it["metadata"]["finalizers"] = json!([finalizer]);
        }
    });
}

pub(crate) fn delete_pod(world: &mut World, key: &Key) {
    let bound = world.view.get(key).is_some_and(|pod| node_of(pod).is_some() && is_active(pod));
    if !bound {
        return world.remove(key);
    }
    let at = seconds(world.now + SignedDuration::from_secs(30));
    world.edit(key, |it| {
        it["metadata"]["deletionTimestamp"] = at;
        it["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    });
}

/// Agents start pods, bring them up and take them down. Lazy ones do some of it.
fn agents(world: &mut World, lazy: bool) {
    if !lazy || world.draw().is_multiple_of(2) {
        storage::agents(world);
    }
    let pods: Vec<Object> = world.view.list(kinds::POD).cloned().collect();
    for pod in pods {
        let Some(node) = node_of(&pod) else { continue };
        let gone = world.view.get(&kinds::NODE.cluster_key(&node)).is_none();
        if gone || world.dead.contains(&node) || (lazy && world.draw().is_multiple_of(2)) {
            continue;
        }
        if pod.meta().is_terminating() {
            end_pod(world, pod.key(), 137);
            world.remove(pod.key());
        } else if is_of_job(&pod) && is_active(&pod) && ready(world, pod.key()) && !lazy {
            end_pod(world, pod.key(), 0);
        } else if is_active(&pod) && !ready(world, pod.key()) {
            say_ready(world, pod.key(), true);
        }
    }
    let nodes: Vec<Object> = world.view.list(kinds::NODE).cloned().collect();
    for node in nodes {
        let silenced = tree(&node)["status"]["conditions"]
            .as_array()
            .is_some_and(|list| list.iter().any(|it| it["status"] == "Unknown"));
        if silenced && !world.dead.iter().any(|dead| dead == node.key().name()) {
            let now = world.now;
            world.edit(node.key(), |it| it["status"]["conditions"] = node_conditions(now));
        }
    }
}

pub(crate) fn say_ready(world: &mut World, key: &Key, ready: bool) {
    let (now, address) = (seconds(world.now), world.draw() % 250);
    world.edit(key, |it| {
        let conditions: Vec<Value> = it["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["type"] != "Ready")
            .cloned()
            .collect();
        let status = if ready { "True" } else { "False" };
        let conditions: Vec<Value> = conditions
            .into_iter()
            .chain([json!({"type": "Ready", "status": status, "lastTransitionTime": now})])
            .collect();
        it["status"]["conditions"] = json!(conditions);
        it["status"]["phase"] = json!("Running");
        if it["status"]["podIP"].is_null() {
            it["status"]["podIP"] = json!(format!("10.42.0.{address}"));
        }
    });
}

pub(crate) fn nth(world: &World, kind: GroupKind, which: u8) -> Option<Key> {
    let count = world.view.count(kind);
    (count > 0).then(|| world.view.list(kind).nth(usize::from(which) % count).map(|it| it.key().clone()))?
}

fn ready(world: &World, key: &Key) -> bool {
    world.view.get(key).is_some_and(is_ready)
}

pub(crate) fn is_ready(pod: &Object) -> bool {
    let conditions = tree(pod)["status"]["conditions"].clone();
    conditions.as_array().is_some_and(|list| list.iter().any(|it| it["type"] == "Ready" && it["status"] == "True"))
}

pub(crate) fn is_active(pod: &Object) -> bool {
    let phase = tree(pod)["status"]["phase"].clone();
    !pod.meta().is_terminating() && phase != "Failed" && phase != "Succeeded"
}

pub(crate) fn node_of(pod: &Object) -> Option<String> {
    tree(pod)["spec"]["nodeName"].as_str().map(str::to_owned)
}

pub(crate) fn tree(object: &Object) -> Value {
    serde_json::from_slice(object.body()).expect("an object is JSON")
}

pub(crate) fn namespace(name: &str) -> Object {
    object(
        &kinds::NAMESPACE.cluster_key(name),
        &json!({"apiVersion": "v1", "metadata": {"uid": format!("ns-{name}")}, "spec": {"finalizers": ["kubernetes"]}}),
    )
}

pub(crate) fn node(name: &str, now: Timestamp) -> Object {
    let uid = format!("node-{name}-{}", now.as_second());
    object(
        &kinds::NODE.cluster_key(name),
        &json!({"apiVersion": "v1", "metadata": {"uid": uid, "creationTimestamp": seconds(now), "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "conditions": node_conditions(now)}}),
    )
}

fn node_conditions(now: Timestamp) -> Value {
    json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": seconds(now), "lastTransitionTime": seconds(now)}])
}

fn lease(name: &str, now: Timestamp) -> Object {
    let time = format!("{now:.6}");
    object(
        &kinds::LEASE.key("kube-node-lease", name),
        &json!({"apiVersion": "coordination.k8s.io/v1",
        "metadata": {"uid": format!("lease-{name}")}, "spec": {"holderIdentity": name, "renewTime": time}}),
    )
}

pub(crate) fn seconds(time: Timestamp) -> Value {
    json!(Timestamp::from_second(time.as_second()).expect("a time of our days").to_string())
}

pub(crate) fn object(key: &Key, rest: &Value) -> Object {
    let mut value = rest.clone();
    value["kind"] = json!(key.kind().kind);
    value["metadata"]["name"] = json!(key.name());
    if !key.namespace().is_empty() {
        value["metadata"]["namespace"] = json!(key.namespace());
    }
    Object::from_value(key.kind(), &value).expect("an object")
}
