//! Claims, volumes and nodes in a few words.

use serde_json::{Value, json};

use super::*;

fn object(kind: api::GroupKind, name: &str, mut value: Value) -> Object {
    let names = api::catalog::by_kind(kind).expect("in the catalog").names();
    (value["apiVersion"], value["kind"]) = (names.api_version().into(), names.kind.into());
    value["metadata"]["name"] = name.into();
    value["metadata"]["uid"] = name.into();
    if names.scope == api::Scope::Namespaced {
        value["metadata"]["namespace"] = "n".into();
    }
    Object::from_value(kind, &value).expect("an object")
}

/// `pv NAME SIZE class=… on=NODE for=CLAIM driver=…`, `pvc NAME SIZE class=… has=VOLUME chosen=NODE modes=… copies=CLAIM`, `class NAME later|at-once made|found`,
/// `node NAME`, `pod NAME on=NODE uses=CLAIM`.
fn thing(text: &str) -> Object {
    let mut words = text.split_whitespace();
    let (kind, name) = (words.next().expect("a kind"), words.next().expect("a name"));
    let (plain, said): (Vec<&str>, Vec<&str>) = words.partition(|word| !word.contains('='));
    let said = |of: &str| said.iter().find_map(|word| word.strip_prefix(of)?.strip_prefix('='));
    let modes = said("modes").unwrap_or("ReadWriteOnce");
    match kind {
        "pv" => {
            let mut spec = json!({"capacity": {"storage": plain[0]}, "accessModes": [modes], "storageClassName": said("class").unwrap_or("c")});
            if let Some(node) = said("on") {
                let here = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]);
                spec["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}});
            }
            if let Some(driver) = said("driver") {
                spec["csi"] = json!({"driver": driver, "volumeHandle": name});
            }
            if let Some(claim) = said("for") {
                spec["claimRef"] = json!({"namespace": "n", "name": claim});
            }
            let labels = said("on").map_or(json!({}), |node| json!({storage::NODE_LABEL: node}));
            let value = json!({"metadata": {"labels": labels}, "spec": spec, "status": {"phase": "Available"}});
            object(kinds::PERSISTENT_VOLUME, name, value)
        }
        "pvc" => {
            let mut value = json!({"spec": {"accessModes": [modes], "storageClassName": said("class").unwrap_or("c"),
                "resources": {"requests": {"storage": plain[0]}}}, "metadata": {"annotations": {}}});
            if let Some(volume) = said("has") {
                value["spec"]["volumeName"] = volume.into();
                value["metadata"]["annotations"][storage::BIND_COMPLETED] = "yes".into();
            }
            if let Some(node) = said("chosen") {
                value["metadata"]["annotations"][storage::SELECTED_NODE] = node.into();
            }
            if let Some(claim) = said("copies") {
                value["spec"]["dataSourceRef"] = json!({"kind": "PersistentVolumeClaim", "name": claim});
            }
            object(kinds::PERSISTENT_VOLUME_CLAIM, name, value)
        }
        "class" => {
            let mode = if plain[0] == "later" { "WaitForFirstConsumer" } else { "Immediate" };
            let maker = if plain[1] == "made" { storage::LOCAL_PATH } else { storage::NO_PROVISIONER };
            object(kinds::STORAGE_CLASS, name, json!({"provisioner": maker, "volumeBindingMode": mode}))
        }
        "node" => object(
            kinds::NODE,
            name,
            json!({"metadata": {"labels": {"kubernetes.io/hostname": name}}, "status": {"allocatable": {"pods": "9"}}}),
        ),
        _ => {
            let volumes = said("uses").unwrap_or_default().split(',').enumerate();
            let volumes: Vec<Value> = volumes
                .map(|(at, claim)| json!({"name": format!("v{at}"), "persistentVolumeClaim": {"claimName": claim}}))
                .collect();
            object(kinds::POD, name, json!({"spec": {"nodeName": said("on"), "containers": [], "volumes": volumes}}))
        }
    }
}

fn world(text: &str) -> Snapshot {
    let things = text.split(';').map(str::trim).filter(|text| !text.is_empty()).map(thing);
    Snapshot::load(api::Revision(1), things)
}

/// Where a pod goes that uses `claims`, and what becomes of those that wait for it.
fn check(text: &str, claims: &str, expected: &str) {
    let view = world(text);
    let asking = thing(&format!("pod asking uses={claims}")).decode::<Pod>().expect("a pod");
    let cluster = crate::Cluster::of(&view);
    let placed = crate::Demand::in_world(&asking, &view).and_then(|demand| Ok((cluster.place(&demand, 3)?, demand)));
    let told = match placed {
        Ok((node, demand)) => {
            let choices = cluster.choices(&node, &demand).into_iter().map(|(claim, choice)| match choice {
                Choice::Found(volume) => format!(" {}={}", claim.name(), volume.name()),
                Choice::Made => format!(" {}=made", claim.name()),
            });
            format!("{node}{}", choices.collect::<String>())
        }
        Err(no) => no.to_string().replace("0/2 nodes are available: ", "no: "),
    };
    assert_eq!(told, expected, "{claims} in {text}");
}

const NODES: &str = "node a; node b; class c later made; class s later found; class now at-once made";

#[test]
fn a_pod_goes_where_its_volumes_are() {
    let check = |things: &str, expected: &str| check(&format!("{NODES}; {things}"), "x", expected);
    check("pvc x 1Gi has=v; pv v 1Gi on=b", "b");
    check("pvc x 1Gi has=v; pv v 1Gi on=gone", "no: 2 node(s) had volume node affinity conflict.");
    check("pvc x 1Gi has=v", "no: 2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s).");
}

#[test]
fn what_every_node_reaches_is_written_from_one_at_a_time() {
    let check = |things: &str, expected: &str| {
        let store = "pv v 1Gi driver=coracle.dev/s3; pod one on=b uses=x";
        check(&format!("{NODES}; {store}; {things}"), "x", expected);
    };
    check("pvc x 1Gi has=v", "b");
    check("pvc x 1Gi has=v modes=ReadOnlyMany; pod two on=a uses=x", "b");
    let elsewhere = "no: 2 node(s) had a pod on another node that uses the same ReadWriteOnce PersistentVolumeClaim.";
    check("pvc x 1Gi has=v; pod two on=gone uses=x", elsewhere);
}

#[test]
fn claims_that_wait_get_what_the_node_has() {
    let check = |things: &str, claims: &str, expected: &str| check(&format!("{NODES}; {things}"), claims, expected);
    check("pvc x 1Gi chosen=a", "x", "a x=made");
    check("pvc x 1Gi class=s; pv v 2Gi class=s on=a", "x", "a x=v");
    check("pvc x 1Gi chosen=b; pv big 5Gi on=b; pv small 2Gi on=b; pv less 1Mi on=b", "x", "b x=small");
    check("pvc x 1Gi class=s; pvc y 1Gi class=s; pv v 1Gi class=s on=a; pv w 3Gi class=s on=a", "x,y", "a x=v y=w");
    let none = "no: 2 node(s) didn't find available persistent volumes to bind.";
    check("pvc x 1Gi class=s; pvc y 1Gi class=s; pv v 1Gi class=s on=a; pv w 3Gi class=s on=b", "x,y", none);
    check("pvc x 1Gi class=s; pv v 2Gi class=s on=a for=other", "x", none);
    check("pvc x 1Gi class=s modes=ReadWriteMany; pv v 2Gi class=s on=a", "x", none);
    check("pvc x 1Gi modes=ReadWriteMany", "x", none);
    check("pvc x 3Gi class=s; pv v 2Gi class=s on=a", "x", none);
    check("pvc x 1Gi; pv v 2Gi on=b for=x", "x", "b x=v");
}

#[test]
fn a_claim_is_filled_where_there_is_what_it_is_filled_from() {
    let check = |things: &str, expected: &str| check(&format!("{NODES}; {things}"), "x", expected);
    let source = "pvc y 1Gi has=v; pv v 1Gi on=b driver=coracle.dev/local-path";
    check(&format!("pvc x 1Gi copies=y; {source}"), "b x=made");
    // What is free holds something else; what was made for it does not.
    check(&format!("pvc x 1Gi copies=y; {source}; pv free 2Gi on=a"), "b x=made");
    check(&format!("pvc x 1Gi copies=y; {source}; pv own 2Gi on=b for=x"), "b x=own");
    let none = "no: 2 node(s) didn't find available persistent volumes to bind.";
    check(&format!("pvc x 1Gi copies=y chosen=a; {source}"), none);
    check(&format!("pvc x 1Mi copies=y; {source}"), none);
    check("pvc x 1Gi copies=y", none);
}

#[test]
fn what_is_with_the_pod_is_told_of_the_pod() {
    let check = |things: &str, expected: &str| check(&format!("{NODES}; {things}"), "x", expected);
    check("", "no: persistentvolumeclaim \"x\" not found.");
    check("pvc x 1Gi class=now", "no: pod has unbound immediate PersistentVolumeClaims.");
    check("pvc x 1Gi class=none", "no: pod has unbound immediate PersistentVolumeClaims.");
}

#[test]
fn a_claim_for_one_pod_is_one_pods() {
    let claim = "pvc x 1Gi has=v modes=ReadWriteOncePod; pv v 1Gi on=b";
    let check = |things: &str, expected: &str| check(&format!("{NODES}; {claim}; {things}"), "x", expected);
    check("", "b");
    check("pod waits uses=x", "b");
    check("pod other on=a uses=y", "b");
    check(
        "pod other on=a uses=x",
        "no: 2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode.",
    );
}

#[test]
fn a_round_gives_a_claim_for_one_pod_once() {
    let view = world(&format!("{NODES}; pvc x 1Gi has=v modes=ReadWriteOncePod; pv v 1Gi"));
    let mut cluster = crate::Cluster::of(&view);
    let asking = |name: &str| thing(&format!("pod {name} uses=x")).decode::<Pod>().expect("a pod");
    let demand = |name: &str| crate::Demand::in_world(&asking(name), &view).expect("a demand");
    let node = cluster.place(&demand("one"), 3).expect("a node");
    cluster.assume(&node, &demand("one"));
    assert!(cluster.place(&demand("two"), 3).is_err());
}
