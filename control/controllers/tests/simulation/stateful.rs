//! Generated histories of one StatefulSet: people change their minds, pods fail and go, and nobody is ever there twice.

use std::collections::BTreeMap;

use api::{Object, kinds};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};
use state::Event;

use crate::actors::{self, How, delete, delete_pod, is_active, is_ready, nth, object, say_ready, seconds, tree};
use crate::world::World;

/// Something that somebody does to `web` or its pods. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Apply,
    Delete { how: How },
    Scale { replicas: u8 },
    Start { first: u8 },
    SetImage { image: u8 },
    Strategy { partition: u8, most: u8 },
    OnDelete,
    Keep { scaled: bool, deleted: bool },
    DeletePod { pod: u8 },
    FailPod { pod: u8 },
    UnreadyPod { pod: u8 },
    FreePod { pod: u8 },
    DeleteClaim { claim: u8 },
    Agents { lazy: bool },
    Pass { seconds: i64 },
}

/// What a set is for life.
#[derive(Clone, Copy, Debug)]
struct Kind {
    parallel: bool,
    claims: bool,
    patience: u8,
}

const WEB: &str = "web";

fn step() -> impl Strategy<Value = Step> {
    let (few, small, which) = (0_u8..6, 0_u8..3, 0_u8..16);
    let how = prop_oneof![Just(How::Background), Just(How::Foreground), Just(How::Orphan)];
    prop_oneof![
        4 => Just(Step::Apply),
        1 => how.prop_map(|how| Step::Delete { how }),
        4 => few.clone().prop_map(|replicas| Step::Scale { replicas }),
        1 => small.clone().prop_map(|first| Step::Start { first }),
        4 => small.clone().prop_map(|image| Step::SetImage { image }),
        2 => (few, small).prop_map(|(partition, most)| Step::Strategy { partition, most }),
        1 => Just(Step::OnDelete),
        2 => any::<(bool, bool)>().prop_map(|(scaled, deleted)| Step::Keep { scaled, deleted }),
        2 => which.clone().prop_map(|pod| Step::DeletePod { pod }),
        2 => which.clone().prop_map(|pod| Step::FailPod { pod }),
        2 => which.clone().prop_map(|pod| Step::UnreadyPod { pod }),
        1 => which.clone().prop_map(|pod| Step::FreePod { pod }),
        1 => which.prop_map(|claim| Step::DeleteClaim { claim }),
        8 => any::<bool>().prop_map(|lazy| Step::Agents { lazy }),
        3 => (1_i64..40).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    (any::<bool>(), any::<bool>(), 0_u8..2).prop_map(|(parallel, claims, patience)| Kind {
        parallel,
        claims,
        patience: patience * 10,
    })
}

fn world(seed: u64) -> World {
    let mut world =
        World::of(seed, vec![always], |name| matches!(name, "statefulset" | "garbage-collection" | "volume-binding"));
    world.put(actors::namespace("default"));
    let account = json!({"apiVersion": "v1", "metadata": {"uid": "account"}});
    world.put(object(&kinds::SERVICE_ACCOUNT.key("default", "default"), &account));
    world
}

fn key() -> api::Key {
    kinds::STATEFUL_SET.key("default", WEB)
}

fn apply(world: &mut World, kind: Kind) {
    if world.view.get(&key()).is_some() {
        return;
    }
    let (uid, now) = (world.draw(), seconds(world.now));
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let container = json!({"name": "c", "image": "app:0"});
    let template = json!({"metadata": {"labels": {"app": WEB}}, "spec": {"containers": [container]}});
    let spec = json!({"replicas": 2, "serviceName": WEB, "selector": {"matchLabels": {"app": WEB}},
        "podManagementPolicy": if kind.parallel { "Parallel" } else { "OrderedReady" }, "template": template,
        "minReadySeconds": kind.patience, "revisionHistoryLimit": 2,
        "volumeClaimTemplates": if kind.claims { json!([claim]) } else { json!([]) },
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}});
    let metadata = json!({"uid": format!("set-{uid:x}"), "generation": 1, "creationTimestamp": now});
    world.put(object(&key(), &json!({"apiVersion": "apps/v1", "metadata": metadata, "spec": spec})));
}

fn act(world: &mut World, kind: Kind, step: &Step) {
    world.note(format!("{step:?}"));
    let spec = |world: &mut World, edit: &dyn Fn(&mut Value)| world.edit(&key(), |set| edit(&mut set["spec"]));
    let pod = |world: &World, which: u8| nth(world, kinds::POD, which);
    match step {
        Step::Apply => apply(world, kind),
        Step::Delete { how } => delete(world, &key(), *how),
        Step::Scale { replicas } => spec(world, &|spec| spec["replicas"] = json!(replicas)),
        Step::Start { first } => spec(world, &|spec| spec["ordinals"] = json!({"start": first})),
        Step::SetImage { image } => spec(world, &|spec| {
            spec["template"]["spec"]["containers"][0]["image"] = json!(format!("app:{image}"));
        }),
        Step::Strategy { partition, most } => spec(world, &|spec| {
            let rolling = match most {
                0 => json!({"partition": partition}),
                most => json!({"partition": partition, "maxUnavailable": most}),
            };
            spec["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        }),
        Step::OnDelete => spec(world, &|spec| spec["updateStrategy"] = json!({"type": "OnDelete"})),
        Step::Keep { scaled, deleted } => spec(world, &|spec| {
            let policy = |keep: &bool| if *keep { "Retain" } else { "Delete" };
            let policy = json!({"whenScaled": policy(scaled), "whenDeleted": policy(deleted)});
            spec["persistentVolumeClaimRetentionPolicy"] = policy;
        }),
        Step::DeletePod { pod: which } => pod(world, *which).into_iter().for_each(|pod| delete_pod(world, &pod)),
        Step::FailPod { pod: which } => pod(world, *which).into_iter().for_each(|pod| {
            world.edit(&pod, |it| it["status"] = json!({"phase": "Failed", "reason": "Evicted"}));
        }),
        Step::UnreadyPod { pod: which } => pod(world, *which).into_iter().for_each(|pod| {
            if world.view.get(&pod).is_some_and(is_ready) {
                say_ready(world, &pod, false);
            }
        }),
        Step::FreePod { pod: which } => pod(world, *which).into_iter().for_each(|pod| {
            world.edit(&pod, |it| it["metadata"]["ownerReferences"] = json!([]));
        }),
        Step::DeleteClaim { claim } => {
            let claim = nth(world, kinds::PERSISTENT_VOLUME_CLAIM, *claim);
            if let Some(claim) = claim {
                world.remove(&claim);
            }
        }
        Step::Agents { lazy } => agents(world, *lazy),
        Step::Pass { seconds } => world.now += SignedDuration::from_secs(*seconds),
    }
}

/// Agents take pods, bring them up and take them down. Lazy ones do some of it.
fn agents(world: &mut World, lazy: bool) {
    let pods: Vec<Object> = world.view.list(kinds::POD).cloned().collect();
    for pod in pods {
        if lazy && world.draw().is_multiple_of(2) {
            continue;
        }
        if pod.meta().is_terminating() {
            world.remove(pod.key());
        } else if is_active(&pod) && !is_ready(&pod) {
            world.edit(pod.key(), |it| it["spec"]["nodeName"] = json!("n0"));
            say_ready(world, pod.key(), true);
        }
    }
}

/// Agents act and time passes until nothing happens any more.
fn rest(world: &mut World) {
    for _ in 0..200 {
        world.drain();
        let before = world.view.revision();
        agents(world, false);
        world.now += SignedDuration::from_secs(12);
        world.drain();
        if world.view.revision() == before {
            return world.check_quiet();
        }
    }
    panic!("the world does not come to rest\n{}", world.story());
}

fn ordinal(object: &Object) -> Option<i64> {
    object.key().name().rsplit_once('-')?.1.parse().ok()
}

/// The set's pods by their ordinals.
fn pods(world: &World) -> BTreeMap<i64, &Object> {
    world.view.list(kinds::POD).filter_map(|pod| Some((ordinal(pod)?, pod))).collect()
}

fn wanted(set: &Value) -> std::ops::Range<i64> {
    let start = set["spec"]["ordinals"]["start"].as_i64().unwrap_or(0);
    start..start + set["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// At every revision.
fn always(world: &World, event: &Event) {
    match (event.key().kind(), event.before(), event.after()) {
        (kinds::POD, None, Some(pod)) => has_its_claims(world, pod),
        (kinds::PERSISTENT_VOLUME_CLAIM, Some(claim), None) if world.by != "client" => {
            let owned = !claim.meta().owner_references.is_empty();
            assert!(owned, "{} was nobody's and went\n{}", claim.key(), world.story());
        }
        _ => {}
    }
}

/// A pod never comes before its storage, nor to storage that is about to go with another pod.
fn has_its_claims(world: &World, pod: &Object) {
    for volume in tree(pod)["spec"]["volumes"].as_array().into_iter().flatten() {
        let Some(name) = volume["persistentVolumeClaim"]["claimName"].as_str() else { continue };
        let claim = world.view.get(&pod.key().sibling(kinds::PERSISTENT_VOLUME_CLAIM, name));
        let claim = claim.unwrap_or_else(|| panic!("{} came before {name}\n{}", pod.key(), world.story()));
        let lost = claim.meta().owner_references.iter().any(|owner| owner.is(kinds::POD));
        assert!(!lost, "{} came to {name}, which goes\n{}", pod.key(), world.story());
    }
}

/// While nobody but the agents and the controller does anything: pods come in order, and few are missing at a time.
fn in_order(world: &World, event: &Event) {
    let Some(set) = world.view.get(&key()).map(tree) else { return };
    let (kind, pods) = (event.key().kind(), pods(world));
    if kind != kinds::POD || world.by != "statefulset" {
        return;
    }
    let is_well = |ordinal: &i64| pods.get(ordinal).is_some_and(|pod| is_ready(pod) && !pod.meta().is_terminating());
    let (ordinal, is_parallel) = (ordinal(event.latest()), set["spec"]["podManagementPolicy"] == "Parallel");
    let ordinal = ordinal.expect("the set's pods have ordinals");
    if event.before().is_none() && !is_parallel {
        let below = wanted(&set).take_while(|one| *one < ordinal);
        assert!(below.clone().all(|one| is_well(&one)), "{ordinal} came too early\n{}", world.story());
    }
    if event.before().is_some() && !wanted(&set).contains(&ordinal) && !is_parallel {
        assert!(!pods.keys().any(|one| *one > ordinal), "{ordinal} went too early\n{}", world.story());
    }
}

/// During an update: no more are missing than may be, and none below the partition is touched.
fn within_bounds(world: &World, event: &Event) {
    let Some(set) = world.view.get(&key()).map(tree) else { return };
    if event.key().kind() != kinds::POD {
        return;
    }
    let rolling = &set["spec"]["updateStrategy"]["rollingUpdate"];
    let (most, partition) =
        (rolling["maxUnavailable"].as_i64().unwrap_or(1), rolling["partition"].as_i64().unwrap_or(0));
    let pods = pods(world);
    let is_missing =
        |ordinal: &i64| !pods.get(ordinal).is_some_and(|pod| is_ready(pod) && !pod.meta().is_terminating());
    let missing: Vec<i64> = wanted(&set).filter(is_missing).collect();
    assert!(missing.len() as i64 <= most, "{missing:?} are missing, more than {most}\n{}", world.story());
    let touched = missing.iter().any(|ordinal| *ordinal < wanted(&set).start + partition);
    assert!(!touched, "{missing:?} are missing, of {partition} and up\n{}", world.story());
}

/// Once nothing is left to do.
fn at_rest(world: &World) {
    let Some(set) = world.view.get(&key()) else {
        // Who is on the way out is held by what nobody looks at here: a claim by its pod.
        let is_lost = |it: &&Object| {
            let owners = &it.meta().owner_references;
            !it.meta().is_terminating() && owners.iter().any(|owner| world.view.by_uid(&owner.uid).is_none())
        };
        let lost = world.view.objects().find(is_lost);
        return assert!(lost.is_none(), "{lost:?} outlives its set\n{}", world.story());
    };
    if set.meta().is_terminating() {
        // Whoever it waits for may itself be held: a claim by a pod that was set free.
        let held = world.view.owned_by(&set.meta().uid).next();
        return assert!(held.is_some(), "nothing holds the set\n{}", world.story());
    }
    let (set, pods) = (tree(set), pods(world));
    let told = || format!("at rest: {}\n{}", set["status"], world.story());
    assert!(pods.keys().copied().eq(wanted(&set)), "{:?} {}", pods.keys(), told());
    let rolling = &set["spec"]["updateStrategy"]["rollingUpdate"];
    let partition = wanted(&set).start + rolling["partition"].as_i64().unwrap_or(0);
    for (ordinal, pod) in &pods {
        let pod = tree(pod);
        let image = |template: &Value| template["spec"]["containers"][0]["image"].clone();
        let is_updated = image(&pod) == image(&set["spec"]["template"]);
        assert!(is_updated || rolling.is_null() || *ordinal < partition, "{ordinal} is old {}", told());
        assert_eq!(pod["spec"]["hostname"], json!(format!("{WEB}-{ordinal}")));
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let Some(name) = volume["persistentVolumeClaim"]["claimName"].as_str() else { continue };
            assert_eq!(name, format!("data-{WEB}-{ordinal}"));
        }
    }
    let count = |field: &str| set["status"][field].as_u64().unwrap_or(0) as usize;
    assert_eq!(["replicas", "readyReplicas", "availableReplicas"].map(count), [pods.len(); 3], "{}", told());
    let updated =
        pods.values().filter(|pod| set["status"]["updateRevision"] == pod.meta().labels["controller-revision-hash"]);
    assert_eq!(count("updatedReplicas"), updated.count(), "{}", told());
    assert_eq!(set["status"]["observedGeneration"], set["metadata"]["generation"], "{}", told());
    let revisions = world.view.count(kinds::CONTROLLER_REVISION);
    assert!(revisions <= 2 + 2 + pods.len(), "{revisions} revisions {}", told());
}

fn play(seed: u64, kind: Kind, steps: &[Step]) {
    let mut world = world(seed);
    apply(&mut world, kind);
    for one in steps {
        act(&mut world, kind, one);
        world.look(3);
    }
    rest(&mut world);
    at_rest(&world);
}

/// Only the wishes change, and agents bring pods up: what is promised holds at every revision.
fn roll(seed: u64, kind: Kind, replicas: u8, (partition, most): (u8, u8), looks: &[u8]) {
    let mut world = world(seed);
    world.laws.push(in_order);
    apply(&mut world, kind);
    act(&mut world, kind, &Step::Scale { replicas: replicas / 2 });
    rest(&mut world);
    act(&mut world, kind, &Step::Scale { replicas });
    rest(&mut world);
    world.laws.push(within_bounds);
    act(&mut world, kind, &Step::Strategy { partition, most });
    for (round, count) in looks.iter().enumerate() {
        if round % 5 == 0 {
            act(&mut world, kind, &Step::SetImage { image: (round / 5 + 1) as u8 });
        }
        world.look(usize::from(*count));
        agents(&mut world, true);
        world.now += SignedDuration::from_secs(5);
    }
    rest(&mut world);
    at_rest(&world);
    world.laws.pop();
    act(&mut world, kind, &Step::Scale { replicas: replicas / 2 });
    rest(&mut world);
    at_rest(&world);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::histories(300), failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_set_comes_to_rest_and_keeps_the_laws(
        seed: u64, kind in kind(), steps in proptest::collection::vec(step(), 1..40),
    ) {
        play(seed, kind, &steps);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::histories(100), failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_set_goes_in_order_and_stays_within_its_bounds(
        seed: u64, kind in kind(), replicas in 1_u8..6, bounds in (0_u8..4, 0_u8..3),
        looks in proptest::collection::vec(0_u8..6, 1..30),
    ) {
        roll(seed, kind, replicas, bounds, &looks);
    }
}
