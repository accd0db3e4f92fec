use serde_json::{Value, json};

use super::*;
use crate::notation::{check, object};

const SHOW: [&str; 4] = ["/spec/volumeName", "/spec/claimRef/name", "/status/phase", "/status/capacity/storage"];

/// The claim `default/data` for 1Gi of the class `c`, with `edit`.
fn claim(edit: impl FnOnce(&mut Value)) -> Object {
    let mut value = json!({"metadata": {"finalizers": [storage::CLAIM_PROTECTION]}, "status": {"phase": "Pending"}, "spec":
        {"accessModes": ["ReadWriteOnce"], "storageClassName": "c", "resources": {"requests": {"storage": "1Gi"}}}});
    edit(&mut value);
    object(kinds::PERSISTENT_VOLUME_CLAIM, "default/data", value)
}

fn bound(claim: &mut Value) {
    claim["spec"]["volumeName"] = "v".into();
    claim["metadata"]["annotations"][storage::BIND_COMPLETED] = "yes".into();
    claim["status"] = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
}

fn volume(name: &str, size: &str, edit: impl FnOnce(&mut Value)) -> Object {
    let mut value = json!({"status": {"phase": "Available"}, "spec": {"capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"], "storageClassName": "c", "hostPath": {"path": "/data"}}});
    edit(&mut value);
    object(kinds::PERSISTENT_VOLUME, name, value)
}

fn kept(uid: Value) -> impl Fn(&mut Value) {
    move |volume| volume["spec"]["claimRef"] = json!({"namespace": "default", "name": "data", "uid": uid})
}

fn class(mode: &str, provisioner: &str) -> Object {
    let value = json!({"apiVersion": "storage.k8s.io/v1", "provisioner": provisioner, "volumeBindingMode": mode, "reclaimPolicy": "Delete", "allowVolumeExpansion": true});
    object(kinds::STORAGE_CLASS, "c", value)
}

fn node() -> Object {
    object(
        kinds::NODE,
        "n1",
        json!({"metadata": {"labels": {HOST_NAME: "host-1"}}, "status": {"allocatable": {"pods": "9"}}}),
    )
}

fn look(objects: &[Object], expected: &[&str]) -> Snapshot {
    let key = kinds::PERSISTENT_VOLUME_CLAIM.key("default", "data");
    check(&VolumeBinding, objects, &key, &SHOW, expected)
}

const BOUND: [&str; 2] = [r#"~PersistentVolume v "data" "Bound""#, r#"~PersistentVolumeClaim data "v" "Bound" "1Gi""#];

#[test]
fn a_claim_and_the_smallest_volume_that_fits_are_bound_at_once() {
    let larger = volume("larger", "5Gi", |_| {});
    look(&[claim(|_| {}), larger.clone(), volume("v", "1Gi", |_| {})], &BOUND);
    let other_class = volume("v", "1Gi", |it| it["spec"]["storageClassName"] = "other".into());
    let none = "event ProvisioningFailed: storageclass.storage.k8s.io \"c\" not found";
    look(&[claim(|_| {}), other_class], &[none]);
    let taken = volume("v", "1Gi", |it| it["spec"]["claimRef"] = json!({"namespace": "default", "name": "other"}));
    look(&[claim(|_| {}), taken], &[none]);
    let labelled = |it: &mut Value| it["metadata"] = json!({"labels": {"disk": "ssd"}});
    let choosy = claim(|it| it["spec"]["selector"] = json!({"matchLabels": {"disk": "ssd"}}));
    look(&[choosy.clone(), volume("v", "1Gi", |_| {})], &[none]);
    look(&[choosy, volume("v", "1Gi", labelled)], &BOUND);
}

#[test]
fn a_volume_that_was_kept_for_the_claim_comes_before_better_ones() {
    look(&[claim(|_| {}), volume("better", "1Gi", |_| {}), volume("v", "1Gi", kept(Value::Null))], &BOUND);
    let later = class("WaitForFirstConsumer", storage::LOCAL_PATH);
    look(&[claim(|_| {}), later, volume("v", "1Gi", kept(json!("data")))], &BOUND);
}

#[test]
fn a_claim_may_name_its_volume() {
    let named = || claim(|it| it["spec"]["volumeName"] = "v".into());
    look(&[named(), volume("v", "1Gi", |_| {})], &BOUND);
    look(&[named()], &[]);
    let small = "event VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small";
    look(&[named(), volume("v", "1Mi", |_| {})], &[small]);
    let taken = volume("v", "1Gi", |it| it["spec"]["claimRef"] = json!({"namespace": "default", "name": "other"}));
    look(&[named(), taken], &["event FailedBinding: volume \"v\" already bound to a different claim."]);
}

#[test]
fn a_claim_without_a_class_gets_the_default_one_or_says_that_there_is_none() {
    let bare = || claim(|it| it["spec"]["storageClassName"] = Value::Null);
    let none = "event FailedBinding: no persistent volumes available for this claim and no storage class is set";
    look(&[bare()], &[none]);
    let default = object(
        kinds::STORAGE_CLASS,
        "d",
        json!({"metadata": {"annotations": {storage::DEFAULT_CLASS: "true"}}, "provisioner": "x"}),
    );
    let view = look(&[bare(), default], &["~PersistentVolumeClaim data \"Pending\""]);
    let key = kinds::PERSISTENT_VOLUME_CLAIM.key("default", "data");
    assert_eq!(view.get(&key).expect("the claim").to_value().expect("JSON")["spec"]["storageClassName"], "d");
}

#[test]
fn a_claim_waits_for_its_first_consumer_and_then_a_volume_is_made() {
    let later = || class("WaitForFirstConsumer", storage::LOCAL_PATH);
    let told = ["event WaitForFirstConsumer: waiting for first consumer to be created before binding"];
    let view = look(&[claim(|_| {}), later(), volume("v", "1Gi", |_| {}), node()], &told);
    let after: Vec<Object> = view.objects().filter(|it| it.key().kind() != kinds::NAMESPACE).cloned().collect();
    look(&after, &[]);
    let pod =
        json!({"spec": {"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
    let pod = object(kinds::POD, "default/web", pod);
    look(&[claim(|_| {}), later(), pod], &["event WaitForPodScheduled: waiting for pod web to be scheduled"]);

    let chosen = || claim(|it| it["metadata"]["annotations"] = json!({storage::SELECTED_NODE: "n1"}));
    let made = [
        "+PersistentVolume pvc-data \"data\" \"Bound\"",
        "event ProvisioningSucceeded: Successfully provisioned volume pvc-data",
        "~PersistentVolumeClaim data \"pvc-data\" \"Bound\" \"1Gi\"",
    ];
    let view = look(&[chosen(), later(), node()], &made);
    let volume =
        view.get(&kinds::PERSISTENT_VOLUME.cluster_key("pvc-data")).expect("a volume").to_value().expect("JSON");
    assert_eq!(volume["metadata"]["finalizers"], json!([storage::LOCAL_PATH, storage::VOLUME_PROTECTION]));
    assert_eq!(volume["metadata"]["labels"], json!({storage::NODE_LABEL: "n1"}));
    let spec = &volume["spec"];
    assert_eq!(
        spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"],
        json!(["host-1"])
    );
    assert_eq!((&spec["persistentVolumeReclaimPolicy"], &spec["storageClassName"]), (&json!("Delete"), &json!("c")));

    let pod = json!({"spec": {"nodeName": "n1", "containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
    look(&[claim(|_| {}), later(), node(), object(kinds::POD, "default/web", pod)], &made);

    // Where there is one on that node, it is taken; and a node that is gone is forgotten.
    look(&[chosen(), later(), node(), super::tests::volume("v", "1Gi", |_| {})], &BOUND);
    look(&[chosen(), later()], &["~PersistentVolumeClaim data \"Pending\""]);
}

#[test]
fn a_class_that_does_not_wait_has_a_volume_made_at_once() {
    let made = [
        "+PersistentVolume pvc-data \"data\" \"Bound\"",
        "event ProvisioningSucceeded: Successfully provisioned volume pvc-data",
        "~PersistentVolumeClaim data \"pvc-data\" \"Bound\" \"1Gi\"",
    ];
    let class = |provisioner| class("Immediate", provisioner);
    look(&[claim(|_| {}), class(storage::LOCAL_PATH), node()], &made);
    let nowhere = "event ProvisioningFailed: failed to provision volume with StorageClass \"c\": no nodes available to schedule pods";
    look(&[claim(|_| {}), class(storage::LOCAL_PATH)], &[nowhere]);
    let shared = claim(|it| it["spec"]["accessModes"] = json!(["ReadWriteMany"]));
    look(
        &[shared, class(storage::LOCAL_PATH), node()],
        &[
            "event ProvisioningFailed: failed to provision volume with StorageClass \"c\": ReadWriteMany is not supported: a directory of one node is ReadWriteOnce or ReadWriteOncePod",
        ],
    );
    look(
        &[claim(|_| {}), class(storage::NO_PROVISIONER)],
        &["event ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner"],
    );
}

#[test]
fn a_volume_of_a_store_is_made_without_a_node() {
    let class = |parameters: Value| {
        let value = json!({"apiVersion": "storage.k8s.io/v1", "provisioner": storage::S3, "parameters": parameters,
            "volumeBindingMode": "Immediate", "reclaimPolicy": "Delete"});
        object(kinds::STORAGE_CLASS, "c", value)
    };
    let made = [
        "+PersistentVolume pvc-data \"data\" \"Bound\"",
        "event ProvisioningSucceeded: Successfully provisioned volume pvc-data",
        "~PersistentVolumeClaim data \"pvc-data\" \"Bound\" \"1Gi\"",
    ];
    let view = look(&[claim(|_| {}), class(json!({"bucket": "b", "prefix": "apps"}))], &made);
    let volume =
        view.get(&kinds::PERSISTENT_VOLUME.cluster_key("pvc-data")).expect("a volume").to_value().expect("JSON");
    assert_eq!(volume["metadata"]["finalizers"], json!([storage::S3, storage::VOLUME_PROTECTION]));
    assert_eq!(volume["spec"]["csi"]["volumeAttributes"]["prefix"], "apps/pvc-data");
    assert_eq!(volume["spec"]["nodeAffinity"], Value::Null);
    let why =
        |why: &str| format!("event ProvisioningFailed: failed to provision volume with StorageClass \"c\": {why}");
    look(&[claim(|_| {}), class(json!({}))], &[&why("parameters.bucket: Required value")]);
    let many = claim(|it| it["spec"]["accessModes"] = json!(["ReadWriteMany"]));
    let refused = "ReadWriteMany is not supported: objects are written from one node at a time (ReadWriteOnce, \
                   ReadWriteOncePod) or only read";
    look(&[many, class(json!({"bucket": "b"}))], &[&why(refused)]);
    let read = claim(|it| it["spec"]["accessModes"] = json!(["ReadOnlyMany"]));
    look(&[read, class(json!({"bucket": "b"}))], &made);
}

#[test]
fn what_is_bound_stays_bound_or_is_lost() {
    let bound = || claim(bound);
    let settled = |it: &mut Value| {
        kept(json!("data"))(it);
        it["status"]["phase"] = "Bound".into();
    };
    look(&[bound(), volume("v", "1Gi", settled), volume("w", "1Gi", |_| {})], &[]);
    look(
        &[bound(), volume("w", "1Gi", |_| {})],
        &[
            "event ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            "~PersistentVolumeClaim data \"v\" \"Lost\"",
        ],
    );
    look(
        &[bound(), volume("v", "1Gi", kept(json!("another")))],
        &[
            "event ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly",
            "~PersistentVolumeClaim data \"v\" \"Lost\"",
        ],
    );
}

#[test]
fn a_claim_grows_where_its_class_lets_it() {
    let asks = || {
        claim(|it| {
            bound(it);
            it["spec"]["resources"]["requests"]["storage"] = "3Gi".into();
        })
    };
    let ours = |it: &mut Value| {
        kept(json!("data"))(it);
        it["metadata"] = json!({"annotations": {storage::PROVISIONED_BY: storage::LOCAL_PATH}});
    };
    let grown = [
        "event VolumeResizeSuccessful: Resize volume succeeded",
        "~PersistentVolume v \"data\" \"Available\"",
        "~PersistentVolumeClaim data \"v\" \"Bound\" \"3Gi\"",
    ];
    let later = || class("WaitForFirstConsumer", storage::LOCAL_PATH);
    look(&[asks(), volume("v", "1Gi", ours), later()], &grown);
    look(&[asks(), volume("v", "1Gi", ours)], &[]);
    look(&[asks(), volume("v", "1Gi", kept(json!("data"))), later()], &[]);
}

#[test]
fn a_claim_in_use_is_held_and_then_let_go() {
    let ends = || {
        claim(|it| {
            bound(it);
            it["metadata"]["deletionTimestamp"] = "2026-11-21T11:00:00Z".into();
        })
    };
    let pod = |node: &str| {
        let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
        object(kinds::POD, "default/web", json!({"spec": {"nodeName": node, "containers": [], "volumes": volumes}}))
    };
    look(&[ends(), pod("n1")], &[]);
    look(&[ends(), pod("")], &["-PersistentVolumeClaim data \"v\" \"Bound\" \"1Gi\""]);
    // What its pod was given a node for is seen through.
    let open = || claim(|it| it["metadata"]["deletionTimestamp"] = "2026-11-21T11:00:00Z".into());
    look(&[open(), pod("n1"), volume("v", "1Gi", kept(json!("data")))], &BOUND);
    look(&[open(), pod(""), volume("v", "1Gi", kept(json!("data")))], &["-PersistentVolumeClaim data \"Pending\""]);
    let bare = claim(|it| it["metadata"]["finalizers"] = json!([]));
    look(&[bare], &["~PersistentVolumeClaim data \"Pending\""]);
}

const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The claim `data` of 2Gi, filled from a thing called `from`.
fn filled(kind: &str, edit: impl FnOnce(&mut Value)) -> Object {
    let group = if kind == "VolumeSnapshot" { json!("snapshot.storage.k8s.io") } else { Value::Null };
    claim(|it| {
        it["spec"]["dataSourceRef"] = json!({"apiGroup": group, "kind": kind, "name": "from"});
        it["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
        it["metadata"]["annotations"] = json!({});
        edit(it);
    })
}

/// The snapshot `from` of 1Gi on `n1`, and what it has.
fn kept_data(size: &str, edit: impl FnOnce(&mut Value)) -> [Object; 2] {
    let status = json!({"boundVolumeSnapshotContentName": "content", "readyToUse": true, "restoreSize": size});
    let mut value = json!({"status": status});
    edit(&mut value);
    let content = json!({"metadata": {"labels": {storage::NODE_LABEL: "n1"}}, "spec": {"driver": storage::LOCAL_PATH,
        "deletionPolicy": "Delete", "source": {"volumeHandle": "x"}, "volumeSnapshotRef": {"uid": "from"}},
        "status": {"snapshotHandle": format!("n1/content@sha256:{HASH}")}});
    [object(kinds::VOLUME_SNAPSHOT, "default/from", value), object(kinds::VOLUME_SNAPSHOT_CONTENT, "content", content)]
}

/// The claim `from`, and its volume `w` of 1Gi on `n1`.
fn other_claim(edit: impl FnOnce(&mut Value)) -> [Object; 2] {
    let mut value = json!({"metadata": {"annotations": {storage::BIND_COMPLETED: "yes"}}, "spec": {"volumeName": "w"}});
    edit(&mut value);
    let volume = volume("w", "1Gi", |it| {
        it["metadata"] = json!({"labels": {storage::NODE_LABEL: "n1"}});
        it["spec"]["csi"] = json!({"driver": storage::LOCAL_PATH, "volumeHandle": "w-handle"});
        it["spec"]["claimRef"] = json!({"namespace": "default", "name": "from", "uid": "from"});
    });
    [object(kinds::PERSISTENT_VOLUME_CLAIM, "default/from", value), volume]
}

#[test]
fn a_claim_is_filled_before_it_is_bound() {
    let now = || class("Immediate", storage::LOCAL_PATH);
    let with = |claim: Object, source: &[Object]| -> Vec<Object> {
        [claim, now(), node()].into_iter().chain(source.iter().cloned()).collect()
    };
    let made = [
        "+PersistentVolume pvc-data \"data\" \"Pending\"",
        "event Provisioning: External provisioner is provisioning volume for claim \"default/data\"",
    ];
    for (kind, source, origin) in [
        ("VolumeSnapshot", kept_data("1Gi", |_| {}), format!("snapshot:n1/content@sha256:{HASH}")),
        ("PersistentVolumeClaim", other_claim(|_| {}), "volume:w-handle".into()),
    ] {
        // One that is free holds something else.
        let free = volume("free", "5Gi", |_| {});
        let all: Vec<Object> = with(filled(kind, |_| {}), &source).into_iter().chain([free]).collect();
        let view = look(&all, &made);
        let volume = view.get(&kinds::PERSISTENT_VOLUME.cluster_key("pvc-data")).expect("a volume").clone();
        assert_eq!(volume.meta().annotations[storage::FILLED_FROM], origin);
        assert!(storage::is_unfilled(&volume));
        let waiting: Vec<Object> = view.objects().filter(|it| it.key().kind() != kinds::NAMESPACE).cloned().collect();
        look(&waiting, &[]);
        let rest: Vec<Object> = waiting.iter().filter(|it| it.key() != volume.key()).cloned().collect();
        let mut value = volume.to_value().expect("JSON");
        value["metadata"]["finalizers"] = json!([storage::LOCAL_PATH]);
        let whole = Object::from_value(kinds::PERSISTENT_VOLUME, &value).expect("a volume");
        let bound = [
            "event ProvisioningSucceeded: Successfully provisioned volume pvc-data",
            "~PersistentVolume pvc-data \"data\" \"Bound\"",
            "~PersistentVolumeClaim data \"pvc-data\" \"Bound\" \"2Gi\"",
        ];
        look(&rest.into_iter().chain([whole]).collect::<Vec<_>>(), &bound);
    }
}

#[test]
fn what_was_brought_back_is_filled_wherever_it_is_used() {
    let later = || class("WaitForFirstConsumer", storage::LOCAL_PATH);
    let saved = format!("v@sha256:{HASH}");
    let restored = |edit: &dyn Fn(&mut Value)| {
        claim(|it| {
            let noted = json!({storage::RESTORED_FROM: saved, storage::RESTORED_POLICY: "Retain", storage::SELECTED_NODE: "n1"});
            it["metadata"]["annotations"] = noted;
            edit(it);
        })
    };
    let made = [
        "+PersistentVolume pvc-data \"data\" \"Pending\"",
        "event Provisioning: External provisioner is provisioning volume for claim \"default/data\"",
    ];
    // One that is free holds something else, and what it was once filled from is not there any more.
    let once = |it: &mut Value| it["spec"]["dataSource"] = json!({"kind": "PersistentVolumeClaim", "name": "gone"});
    let free = volume("free", "5Gi", |_| {});
    let view = look(&[restored(&once), later(), node(), free], &made);
    let volume = view.get(&kinds::PERSISTENT_VOLUME.cluster_key("pvc-data")).expect("a volume").clone();
    assert_eq!(volume.meta().annotations[storage::FILLED_FROM], format!("backup:{saved}"));
    assert!(storage::is_unfilled(&volume));
    let value = volume.to_value().expect("JSON");
    assert_eq!(value["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    look(&[restored(&|_| {}), later(), node(), volume.clone()], &[]);

    let mut whole = value;
    whole["metadata"]["finalizers"] = json!([storage::LOCAL_PATH]);
    let whole = Object::from_value(kinds::PERSISTENT_VOLUME, &whole).expect("a volume");
    let bound = [
        "event ProvisioningSucceeded: Successfully provisioned volume pvc-data",
        "~PersistentVolume pvc-data \"data\" \"Bound\"",
        "~PersistentVolumeClaim data \"pvc-data\" \"Bound\" \"1Gi\"",
    ];
    let view = look(&[restored(&|_| {}), later(), node(), whole], &bound);
    let claim = view.get(&kinds::PERSISTENT_VOLUME_CLAIM.key("default", "data")).expect("the claim");
    assert!(!claim.meta().annotations.contains_key(storage::RESTORED_FROM), "it has that now");

    // The node goes before it was filled: so does the volume, and another is made elsewhere.
    let forgets = restored(&|it| {
        it["metadata"]["annotations"] = json!({storage::RESTORED_FROM: saved});
    });
    let view = look(&[forgets, later(), volume], &["~PersistentVolume pvc-data \"data\" \"Pending\""]);
    let volume = view.get(&kinds::PERSISTENT_VOLUME.cluster_key("pvc-data")).expect("a volume");
    assert!(volume.meta().is_terminating());
}

#[test]
fn a_claim_that_cannot_be_filled_says_why() {
    let check = |claim: Object, source: &[Object], why: &str| {
        let all: Vec<Object> = [claim, class("Immediate", storage::LOCAL_PATH), node()]
            .into_iter()
            .chain(source.iter().cloned())
            .collect();
        let why = format!("event ProvisioningFailed: failed to provision volume with StorageClass \"c\": {why}");
        look(&all, &[&why]);
    };
    let of = |kind: &str, why: &str| format!("error getting handle for DataSource Type {kind} by Name from: {why}");
    let snapshot = || filled("VolumeSnapshot", |_| {});
    let of_snapshot = |why: &str| of("VolumeSnapshot", why);
    check(snapshot(), &[], &of_snapshot("volumesnapshots.snapshot.storage.k8s.io \"from\" not found"));
    let open = kept_data("1Gi", |it| it["status"]["readyToUse"] = false.into());
    check(snapshot(), &open, &of_snapshot("snapshot from is not Ready"));
    check(snapshot(), &kept_data("1Gi", |_| {})[..1], &of_snapshot("snapshot from is not Ready"));
    let large = of_snapshot("requested volume size 2Gi is less than the size 3Gi of the snapshot");
    check(snapshot(), &kept_data("3Gi", |_| {}), &large);
    let ending = kept_data("1Gi", |it| it["metadata"] = json!({"deletionTimestamp": "2026-11-21T11:00:00Z"}));
    check(snapshot(), &ending, &of_snapshot("snapshot from is currently being deleted"));
    // A node does not speak for what lies on another.
    let [kept, content] = kept_data("1Gi", |_| {});
    let mut value = content.to_value().expect("JSON");
    value["metadata"]["labels"][storage::NODE_LABEL] = "n2".into();
    let forged = Object::from_value(kinds::VOLUME_SNAPSHOT_CONTENT, &value).expect("a content");
    check(snapshot(), &[kept, forged], &of_snapshot("snapshot from is not Ready"));

    let copy = || filled("PersistentVolumeClaim", |_| {});
    let of_claim = |why: &str| of("PersistentVolumeClaim", why);
    check(copy(), &[], &of_claim("persistentvolumeclaim \"from\" not found"));
    let unbound = other_claim(|it| it["metadata"] = json!({}));
    check(copy(), &unbound, &of_claim("the PVC from is not yet bound to a PV"));
    let small = filled("PersistentVolumeClaim", |it| it["spec"]["resources"]["requests"]["storage"] = "1Mi".into());
    let too_large = of_claim("requested volume size 1Mi is less than the size 1Gi for the source PVC");
    check(small, &other_claim(|_| {}), &too_large);
    let itself = filled("PersistentVolumeClaim", |it| it["spec"]["dataSourceRef"]["name"] = "data".into());
    let why = "error getting handle for DataSource Type PersistentVolumeClaim by Name data: a claim cannot be filled from itself";
    check(itself, &[], why);
    let elsewhere = filled("VolumeSnapshot", |it| it["spec"]["dataSourceRef"]["namespace"] = "farm".into());
    check(elsewhere, &[], "a volume cannot be filled from VolumeSnapshot \"from\" of namespace \"farm\"");
    check(filled("Disk", |_| {}), &[], "a volume cannot be filled from Disk \"from\"");
    let on = |node: &str| {
        let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
        object(kinds::POD, "default/web", json!({"spec": {"nodeName": node, "containers": [], "volumes": volumes}}))
    };
    let [kept, content] = kept_data("1Gi", |_| {});
    let elsewhere = [kept, content, object(kinds::NODE, "n2", json!({})), on("n2")];
    let why = "what it is to be filled from lies on node \"n1\", and its pod is on \"n2\"";
    check(snapshot(), &elsewhere, why);
}

#[test]
fn a_claim_is_held_while_its_data_is_kept_or_copied() {
    let ends = || {
        claim(|it| {
            bound(it);
            it["metadata"]["deletionTimestamp"] = "2026-11-21T11:00:00Z".into();
        })
    };
    let own =
        || volume("v", "1Gi", |it| it["spec"]["csi"] = json!({"driver": storage::LOCAL_PATH, "volumeHandle": "h"}));
    let content = |handle: &str, status: Value| {
        let value =
            json!({"spec": {"driver": storage::LOCAL_PATH, "source": {"volumeHandle": handle}}, "status": status});
        object(kinds::VOLUME_SNAPSHOT_CONTENT, "content", value)
    };
    let goes = ["-PersistentVolumeClaim data \"v\" \"Bound\" \"1Gi\""];
    look(&[ends(), own(), content("h", json!({}))], &[]);
    look(&[ends(), own(), content("other", json!({}))], &goes);
    look(&[ends(), own(), content("h", json!({"snapshotHandle": "x"}))], &goes);
    look(&[ends(), own(), content("h", json!({"error": {"message": "no"}}))], &goes);
    let copy = |finalizers: Value| {
        volume("w", "1Gi", move |it| {
            it["metadata"] = json!({"finalizers": finalizers, "annotations": {storage::FILLED_FROM: "volume:h"}});
        })
    };
    look(&[ends(), own(), copy(json!([storage::UNFILLED]))], &[]);
    look(&[ends(), own(), copy(json!([]))], &goes);
}
