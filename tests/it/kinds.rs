//! Every kind is served, whether somebody acts on it or not: stored as it came, shown as kubectl prints it, judged in Kubernetes'
//! words.

use harness::{Cluster, kubectl_is_there};
use serde_json::Value;

use crate::with;

/// One object of each kind, with what `kubectl get` says of it, a merge patch and where it shows, and a patch that is refused.
struct Story {
    /// As it is applied.
    manifest: &'static str,
    /// As kubectl names it, such as `statefulset.apps/db`.
    name: &'static str,
    /// The headings, and what the row begins with.
    table: [&'static str; 2],
    /// A field that `kubectl explain` knows, and its type.
    field: [&'static str; 2],
    /// A merge patch, the path it changes, and what is there then.
    patch: [&'static str; 3],
    /// A merge patch, and the words it is refused in.
    wrong: [&'static str; 2],
}

const PODS: &str =
    "{metadata: {labels: {app: web}}, spec: {restartPolicy: POLICY, containers: [{name: main, image: 'web:v1'}]}}";

const WORKLOADS: &[Story] = &[
    Story {
        manifest: "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}, spec: {serviceName: db, replicas: 2, selector: {matchLabels: {app: web}}, template: ALWAYS}}",
        name: "statefulset.apps/db",
        table: ["NAME   READY   AGE", "db     0/2"],
        field: ["statefulset.spec.podManagementPolicy", "<string>"],
        patch: [r#"{"spec":{"replicas":0}}"#, "{.spec.replicas}/{.metadata.generation}", "0/2"],
        wrong: [
            r#"{"spec":{"serviceName":"other"}}"#,
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas'",
        ],
    },
    Story {
        manifest: "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: probe}, spec: {selector: {matchLabels: {app: web}}, template: ALWAYS}}",
        name: "daemonset.apps/probe",
        table: ["NAME    DESIRED   CURRENT   READY   UP-TO-DATE   AVAILABLE   NODE SELECTOR   AGE", "probe   "],
        field: ["daemonset.spec.updateStrategy.rollingUpdate.maxSurge", "<IntOrString>"],
        patch: [r#"{"spec":{"minReadySeconds":5}}"#, "{.spec.minReadySeconds}", "5"],
        wrong: [
            r#"{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":0}}}}"#,
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ],
    },
    Story {
        manifest: "{apiVersion: apps/v1, kind: ControllerRevision, metadata: {name: db-1}, data: {spec: {}}, revision: 1}",
        name: "controllerrevision.apps/db-1",
        table: ["NAME   CONTROLLER   REVISION   AGE", "db-1   <none>       1"],
        field: ["controllerrevision.revision", "<integer>"],
        patch: [r#"{"revision":2}"#, "{.revision}", "2"],
        wrong: [r#"{"data":{"spec":{"a":1}}}"#, "data: Invalid value: {\"spec\":{\"a\":1}}: field is immutable"],
    },
    Story {
        manifest: "{apiVersion: batch/v1, kind: Job, metadata: {name: pi}, spec: {template: NEVER}}",
        name: "job.batch/pi",
        table: ["NAME   STATUS    COMPLETIONS   DURATION   AGE", "pi     Running   0/1"],
        field: ["job.spec.backoffLimit", "<integer>"],
        patch: [r#"{"spec":{"suspend":true}}"#, "{.spec.suspend}", "true"],
        wrong: [r#"{"spec":{"completions":4}}"#, "spec.completions: Invalid value: 4: field is immutable"],
    },
    Story {
        manifest: "{apiVersion: batch/v1, kind: CronJob, metadata: {name: tidy}, spec: {schedule: '@daily', jobTemplate: {spec: {template: NEVER}}}}",
        name: "cronjob.batch/tidy",
        table: [
            "NAME   SCHEDULE   TIMEZONE   SUSPEND   ACTIVE   LAST SCHEDULE   AGE",
            "tidy   @daily     <none>     False     0        <none>",
        ],
        field: ["cronjob.spec.jobTemplate.spec.completionMode", "<string>"],
        patch: [r#"{"spec":{"schedule":"0 3 * * sun"}}"#, "{.spec.schedule}", "0 3 * * sun"],
        wrong: [
            r#"{"spec":{"schedule":"* * *"}}"#,
            "spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]",
        ],
    },
    Story {
        manifest: "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: web}, spec: {minAvailable: 50%, selector: {matchLabels: {app: web}}}}",
        name: "poddisruptionbudget.policy/web",
        table: [
            "NAME   MIN AVAILABLE   MAX UNAVAILABLE   ALLOWED DISRUPTIONS   AGE",
            "web    50%             N/A               0",
        ],
        field: ["pdb.spec.minAvailable", "<IntOrString>"],
        patch: [r#"{"spec":{"minAvailable":1}}"#, "{.spec.minAvailable}", "1"],
        wrong: [r#"{"spec":{"maxUnavailable":1}}"#, "minAvailable and maxUnavailable cannot be both set"],
    },
    Story {
        manifest: "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: web}, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 5}}",
        name: "horizontalpodautoscaler.autoscaling/web",
        table: [
            "NAME   REFERENCE        TARGETS              MINPODS   MAXPODS   REPLICAS   AGE",
            "web    Deployment/web   cpu: <unknown>/80%   1         5         0",
        ],
        field: ["hpa.spec.behavior.scaleUp.selectPolicy", "<string>"],
        patch: [r#"{"spec":{"minReplicas":2}}"#, "{.spec.minReplicas}", "2"],
        wrong: [
            r#"{"spec":{"maxReplicas":1,"minReplicas":3}}"#,
            "spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`",
        ],
    },
];

const CORE: &[Story] = &[
    Story {
        manifest: "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}",
        name: "persistentvolumeclaim/data",
        table: [
            "NAME   STATUS    VOLUME   CAPACITY   ACCESS MODES   STORAGECLASS   VOLUMEATTRIBUTESCLASS   AGE",
            "data   Pending",
        ],
        field: ["pvc.spec.accessModes", "<[]string>"],
        patch: [r#"{"metadata":{"labels":{"a":"b"}}}"#, "{.metadata.labels.a}", "b"],
        wrong: [
            r#"{"spec":{"accessModes":["ReadWriteMany"]}}"#,
            "spec: Forbidden: spec is immutable after creation except resources.requests",
        ],
    },
    Story {
        manifest: "{apiVersion: v1, kind: PersistentVolume, metadata: {name: disk}, spec: {capacity: {storage: 5Gi}, accessModes: [ReadWriteOnce, ReadOnlyMany], hostPath: {path: /data}}}",
        name: "persistentvolume/disk",
        table: [
            "   CLAIM   STORAGECLASS   VOLUMEATTRIBUTESCLASS   REASON   AGE",
            "disk   5Gi        RWO,ROX        Retain           ",
        ],
        field: ["pv.spec.persistentVolumeReclaimPolicy", "<string>"],
        patch: [
            r#"{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}"#,
            "{.spec.persistentVolumeReclaimPolicy}",
            "Delete",
        ],
        wrong: [
            r#"{"spec":{"hostPath":{"path":"/other"}}}"#,
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
        ],
    },
    Story {
        manifest: "{apiVersion: v1, kind: ReplicationController, metadata: {name: old}, spec: {template: ALWAYS}}",
        name: "replicationcontroller/old",
        table: ["NAME   DESIRED   CURRENT   READY   AGE", "old    1 "],
        field: ["rc.spec.selector", "<map[string]string>"],
        patch: [r#"{"spec":{"replicas":3}}"#, "{.spec.replicas}", "3"],
        wrong: [
            r#"{"spec":{"selector":{"app":"db"}}}"#,
            "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"web\"}: `selector` does not match template `labels`",
        ],
    },
    Story {
        manifest: "{apiVersion: v1, kind: ResourceQuota, metadata: {name: team}, spec: {hard: {pods: 10, limits.cpu: 4}}}",
        name: "resourcequota/team",
        table: ["NAME   REQUEST      LIMIT             AGE", "team   pods: 0/10   limits.cpu: 0/4"],
        field: ["quota.spec.hard", "<map[string]Quantity>"],
        patch: [r#"{"spec":{"hard":{"pods":"20"}}}"#, "{.spec.hard.pods}", "20"],
        wrong: [
            r#"{"spec":{"hard":{"pods":"-1"}}}"#,
            "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    },
    Story {
        manifest: "{apiVersion: v1, kind: LimitRange, metadata: {name: sizes}, spec: {limits: [{type: Container, max: {memory: 1Gi}}]}}",
        name: "limitrange/sizes",
        table: ["NAME    CREATED AT", "sizes   20"],
        field: ["limits.spec.limits.maxLimitRequestRatio", "<map[string]Quantity>"],
        patch: [
            r#"{"spec":{"limits":[{"type":"Container","max":{"memory":"2Gi"}}]}}"#,
            "{.spec.limits[0].defaultRequest.memory}",
            "2Gi",
        ],
        wrong: [
            r#"{"spec":{"limits":[{"type":"Pod","min":{"cpu":"2"},"max":{"cpu":"1"}}]}}"#,
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
        ],
    },
    Story {
        manifest: "{apiVersion: v1, kind: PodTemplate, metadata: {name: kept}, template: ALWAYS}",
        name: "podtemplate/kept",
        table: ["NAME   CONTAINERS   IMAGES   POD LABELS", "kept   main         web:v1   app=web"],
        field: ["podtemplate.template.spec.containers.image", "<string>"],
        patch: [r#"{"template":{"metadata":{"labels":{"app":"db"}}}}"#, "{.template.metadata.labels.app}", "db"],
        wrong: [r#"{"template":{"spec":{"containers":[]}}}"#, "template.spec.containers: Required value"],
    },
];

const OTHERS: &[Story] = &[
    Story {
        manifest: "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}, provisioner: example.com/disk}",
        name: "storageclass.storage.k8s.io/fast",
        table: [
            "NAME   PROVISIONER        RECLAIMPOLICY   VOLUMEBINDINGMODE   ALLOWVOLUMEEXPANSION   AGE",
            "fast   example.com/disk   Delete          Immediate           false",
        ],
        field: ["sc.volumeBindingMode", "<string>"],
        patch: [r#"{"allowVolumeExpansion":true}"#, "{.allowVolumeExpansion}", "true"],
        wrong: [r#"{"provisioner":"other"}"#, "provisioner: Forbidden: updates to provisioner are forbidden."],
    },
    Story {
        manifest: "{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotClass, metadata: {name: kept}, driver: example.com/disk, deletionPolicy: Delete}",
        name: "volumesnapshotclass.snapshot.storage.k8s.io/kept",
        table: ["NAME   DRIVER             DELETIONPOLICY   AGE", "kept   example.com/disk   Delete"],
        field: ["vsclass.deletionPolicy", "<string>"],
        patch: [r#"{"parameters":{"a":"b"}}"#, "{.parameters.a}", "b"],
        wrong: [
            r#"{"deletionPolicy":"Keep"}"#,
            "deletionPolicy: Unsupported value: \"Keep\": supported values: \"Delete\", \"Retain\"",
        ],
    },
    Story {
        manifest: "{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshotContent, metadata: {name: far}, spec: {driver: example.com/disk, deletionPolicy: Retain, source: {snapshotHandle: x}, volumeSnapshotRef: {namespace: default, name: s}}}",
        name: "volumesnapshotcontent.snapshot.storage.k8s.io/far",
        table: [
            "NAME   READYTOUSE   RESTORESIZE   DELETIONPOLICY   DRIVER             VOLUMESNAPSHOTCLASS   VOLUMESNAPSHOT   VOLUMESNAPSHOTNAMESPACE   AGE",
            "far",
        ],
        field: ["vsc.spec.source.volumeHandle", "<string>"],
        patch: [r#"{"spec":{"deletionPolicy":"Delete"}}"#, "{.spec.deletionPolicy}", "Delete"],
        wrong: [r#"{"spec":{"source":{"snapshotHandle":"y"}}}"#, "spec.source: Forbidden: is immutable"],
    },
    Story {
        manifest: "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000}",
        name: "priorityclass.scheduling.k8s.io/high",
        table: ["NAME   VALUE   GLOBAL-DEFAULT   AGE", "high   1000    false"],
        field: ["pc.preemptionPolicy", "<string>"],
        patch: [r#"{"description":"first"}"#, "{.description}", "first"],
        wrong: [r#"{"value":5}"#, "value: Forbidden: may not be changed in an update."],
    },
    Story {
        manifest: "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: 'app:reader'}, rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]}",
        name: "role.rbac.authorization.k8s.io/app:reader",
        table: ["NAME         CREATED AT", "app:reader   20"],
        field: ["role.rules.verbs", "<[]string>"],
        patch: [
            r#"{"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]}"#,
            "{.rules[0].verbs}",
            r#"["get","list"]"#,
        ],
        wrong: [
            r#"{"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":[]}]}"#,
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ],
    },
    Story {
        manifest: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: watcher}, rules: [{nonResourceURLs: [/metrics], verbs: [get]}]}",
        name: "clusterrole.rbac.authorization.k8s.io/watcher",
        table: ["NAME      CREATED AT", "watcher   20"],
        field: ["clusterrole.aggregationRule.clusterRoleSelectors", "<[]LabelSelector>"],
        patch: [r#"{"metadata":{"labels":{"a":"b"}}}"#, "{.metadata.labels.a}", "b"],
        wrong: [
            r#"{"rules":[{"nonResourceURLs":["/x"],"resources":["pods"],"verbs":["get"]}]}"#,
            "rules cannot apply to both regular resources and non-resource URLs",
        ],
    },
    Story {
        manifest: "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: readers}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: 'app:reader'}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]}",
        name: "rolebinding.rbac.authorization.k8s.io/readers",
        table: ["NAME      ROLE              AGE", "readers   Role/app:reader"],
        field: ["rolebinding.roleRef.kind", "<string>"],
        patch: [
            r#"{"subjects":[{"kind":"Group","name":"ops"}]}"#,
            "{.subjects[0].apiGroup}",
            "rbac.authorization.k8s.io",
        ],
        wrong: [r#"{"roleRef":{"name":"other"}}"#, "cannot change roleRef"],
    },
    Story {
        manifest: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: watchers}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: watcher}, subjects: [{kind: ServiceAccount, name: robot, namespace: default}]}",
        name: "clusterrolebinding.rbac.authorization.k8s.io/watchers",
        table: ["NAME       ROLE                  AGE", "watchers   ClusterRole/watcher"],
        field: ["clusterrolebinding.subjects.namespace", "<string>"],
        patch: [r#"{"metadata":{"labels":{"a":"b"}}}"#, "{.metadata.labels.a}", "b"],
        wrong: [r#"{"subjects":[{"kind":"ServiceAccount","name":"robot"}]}"#, "subjects[0].namespace: Required value"],
    },
    Story {
        manifest: "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: wasm}, handler: wasmtime}",
        name: "runtimeclass.node.k8s.io/wasm",
        table: ["NAME   HANDLER    AGE", "wasm   wasmtime"],
        field: ["runtimeclass.overhead.podFixed", "<map[string]Quantity>"],
        patch: [r#"{"overhead":{"podFixed":{"memory":"1Mi"}}}"#, "{.overhead.podFixed.memory}", "1Mi"],
        wrong: [r#"{"handler":"other"}"#, "handler: Invalid value: \"other\": field is immutable"],
    },
];

fn apply(cluster: &Cluster, story: &Story, namespace: &str) -> String {
    let manifest = story.manifest.replace("ALWAYS", &PODS.replace("POLICY", "Always"));
    let manifest = manifest.replace("NEVER", &PODS.replace("POLICY", "Never"));
    cluster.kubectl_in(&["apply", "-n", namespace, "-f", "-"], &manifest).ok()
}

/// The object but for what controllers write while people watch: its status, and the version that this moves.
fn wanted(cluster: &Cluster, story: &Story) -> Value {
    let told = cluster.kubectl(&["get", story.name, "-o", "json"]).ok();
    let mut value: Value = serde_json::from_str(&told).expect("an object");
    value.as_object_mut().expect("an object").remove("status");
    value["metadata"]["resourceVersion"] = Value::Null;
    value
}

fn tell(cluster: &Cluster, story: &Story) {
    let k = |words: &[&str]| cluster.kubectl(words);
    let contains = |text: &str, part: &str| assert!(text.contains(part), "{part:?} is missing in\n{text}");
    assert_eq!(apply(cluster, story, "default"), format!("{} created\n", story.name));
    // kubectl tells of a change wherever a patch replaces a whole field, as that of a budget's selector does.
    let first = wanted(cluster, story);
    apply(cluster, story, "default");
    assert_eq!(wanted(cluster, story), first, "the same again changes nothing");
    let table = k(&["get", story.name]).ok();
    for part in story.table {
        contains(&table, part);
    }
    contains(&k(&["explain", story.field[0]]).ok(), story.field[1]);
    let [patch, path, expect] = story.patch;
    contains(&k(&["patch", story.name, "--type=merge", "-p", patch]).ok(), "patched");
    assert_eq!(k(&["get", story.name, "-o", &format!("jsonpath={path}")]).ok(), expect);
    let before = wanted(cluster, story);
    let [wrong, words] = story.wrong;
    contains(&k(&["patch", story.name, "--type=merge", "-p", wrong]).refused(), words);
    assert_eq!(wanted(cluster, story), before, "nothing of it is stored");
    contains(&k(&["describe", story.name]).ok(), "Name:");
    contains(&k(&["delete", story.name]).ok(), "deleted");
}

fn check(stories: &[Story]) {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    for story in stories {
        tell(&cluster, story);
    }
}

#[test]
fn workloads_are_applied_shown_explained_patched_and_judged() {
    check(WORKLOADS);
}

#[test]
fn kinds_of_the_core_are_applied_shown_explained_patched_and_judged() {
    check(CORE);
}

#[test]
fn kinds_of_other_groups_are_applied_shown_explained_patched_and_judged() {
    check(OTHERS);
}

#[test]
fn generators_of_kubectl_make_them() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let check = |words: &str, expect: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(cluster.kubectl(&words).ok(), format!("{expect}\n"));
    };
    check("create job pi --image=pi:v1", "job.batch/pi created");
    check("create cronjob tidy --image=tidy:v1 --schedule=@yearly", "cronjob.batch/tidy created");
    check("create job now --from=cronjob/tidy", "job.batch/now created");
    check("create pdb web --selector=app=web --min-available=1", "poddisruptionbudget.policy/web created");
    check("create quota team --hard=pods=3", "resourcequota/team created");
    check("create priorityclass high --value=10", "priorityclass.scheduling.k8s.io/high created");
    check("create role reader --verb=get --resource=pods", "role.rbac.authorization.k8s.io/reader created");
    check("create clusterrole all --verb=* --resource=*", "clusterrole.rbac.authorization.k8s.io/all created");
    check("create rolebinding r --role=reader --user=jane", "rolebinding.rbac.authorization.k8s.io/r created");
    let bound = "clusterrolebinding.rbac.authorization.k8s.io/c created";
    check("create clusterrolebinding c --clusterrole=all --serviceaccount=default:robot", bound);
    let all = cluster.kubectl(&["get", "cronjobs,jobs", "-o", "name"]).ok();
    assert_eq!(all, "cronjob.batch/tidy\njob.batch/now\njob.batch/pi\n");
}

#[test]
fn commands_of_kubectl_reach_them() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let check = |words: &str, expect: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(cluster.kubectl(&words).ok(), format!("{expect}\n"));
    };
    let is = |words: &str, expect: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(cluster.kubectl(&words).ok(), expect);
    };
    for story in WORKLOADS.iter().chain(CORE) {
        apply(&cluster, story, "default");
    }
    check("create deployment d --image=web:v1 --replicas=0", "deployment.apps/d created");
    check("autoscale deployment d --max=3 --cpu-percent=50", "horizontalpodautoscaler.autoscaling/d autoscaled");
    is("get hpa d -o jsonpath={.spec.metrics[0].resource.target.averageUtilization}", "50");
    for name in ["statefulset.apps/db", "replicationcontroller/old"] {
        check(&format!("scale {name} --replicas=4"), &format!("{name} scaled"));
        is(&format!("get {name} -o jsonpath={{.spec.replicas}}"), "4");
    }
    for name in ["statefulset.apps/db", "daemonset.apps/probe", "replicationcontroller/old", "cronjob.batch/tidy"] {
        check(&format!("set image {name} main=web:v2"), &format!("{name} image updated"));
    }
    check("rollout restart daemonset/probe", "daemonset.apps/probe restarted");
    is("get jobs --field-selector status.successful=0 -o name", "job.batch/pi\n");
    is("get rc --field-selector status.replicas=7 -o name", "");
    is("get sts db --subresource=status -o jsonpath={.metadata.name}", "db");
    let all = cluster.kubectl(&["get", "all", "-o", "name"]).ok();
    for name in ["replicationcontroller/old", "daemonset.apps/probe", "statefulset.apps/db", "cronjob.batch/tidy"] {
        assert!(all.contains(name), "{name} is missing in {all}");
    }
}

#[test]
fn a_namespace_takes_them_with_it() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    let k = |words: &[&str]| cluster.kubectl(words);
    k(&["create", "namespace", "shop"]).ok();
    for story in WORKLOADS.iter().chain(CORE) {
        apply(&cluster, story, "shop");
    }
    let kinds = "sts,ds,controllerrevisions,jobs,cj,pdb,hpa,pvc,rc,quota,limits,podtemplates";
    // Those that controllers make come on top of them.
    let there = k(&["get", kinds, "-n", "shop", "-o", "name"]).ok();
    assert!(there.lines().count() >= 12, "{there}");
    assert_eq!(k(&["delete", "namespace", "shop"]).ok(), "namespace \"shop\" deleted\n");
    assert_eq!(k(&["get", kinds, "-n", "shop", "-o", "name"]).ok(), "");
    assert_eq!(k(&["get", "pv", "-o", "name"]).ok(), "persistentvolume/disk\n", "what is in no namespace stays");
}
