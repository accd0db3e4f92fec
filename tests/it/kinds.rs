//! Kinds that nobody acts on yet are served all the same: stored as they came, shown as kubectl prints them, judged in
//! Kubernetes' words.

use harness::{Cluster, kubectl_is_there};

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

const STORIES: &[Story] = &[
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
        table: ["NAME    DESIRED   CURRENT   READY   UP-TO-DATE   AVAILABLE   NODE SELECTOR   AGE", "probe   0"],
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
];

fn tell(cluster: &Cluster, story: &Story) {
    let k = |words: &[&str]| cluster.kubectl(words);
    let contains = |text: &str, part: &str| assert!(text.contains(part), "{part:?} is missing in\n{text}");
    let manifest = story.manifest.replace("ALWAYS", &PODS.replace("POLICY", "Always"));
    let manifest = manifest.replace("NEVER", &PODS.replace("POLICY", "Never"));
    assert_eq!(cluster.kubectl_in(&["apply", "-f", "-"], &manifest).ok(), format!("{} created\n", story.name));
    // kubectl tells of a change wherever a patch replaces a whole field, as that of a budget's selector does.
    let version = || k(&["get", story.name, "-o", "jsonpath={.metadata.resourceVersion}"]).ok();
    let first = version();
    cluster.kubectl_in(&["apply", "-f", "-"], &manifest).ok();
    assert_eq!(version(), first, "the same again changes nothing");
    let table = k(&["get", story.name]).ok();
    for part in story.table {
        contains(&table, part);
    }
    contains(&k(&["explain", story.field[0]]).ok(), story.field[1]);
    let [patch, path, expect] = story.patch;
    contains(&k(&["patch", story.name, "--type=merge", "-p", patch]).ok(), "patched");
    assert_eq!(k(&["get", story.name, "-o", &format!("jsonpath={path}")]).ok(), expect);
    let before = k(&["get", story.name, "-o", "yaml"]).ok();
    let [wrong, words] = story.wrong;
    contains(&k(&["patch", story.name, "--type=merge", "-p", wrong]).refused(), words);
    assert_eq!(k(&["get", story.name, "-o", "yaml"]).ok(), before, "nothing of it is stored");
    contains(&k(&["describe", story.name]).ok(), "Name:");
    contains(&k(&["delete", story.name]).ok(), "deleted");
}

#[test]
fn every_kind_is_applied_shown_explained_patched_and_judged() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with(&[]);
    for story in STORIES {
        tell(&cluster, story);
    }
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
    check("create cronjob tidy --image=tidy:v1 --schedule=@hourly", "cronjob.batch/tidy created");
    check("create job now --from=cronjob/tidy", "job.batch/now created");
    check("create pdb web --selector=app=web --min-available=1", "poddisruptionbudget.policy/web created");
    let all = cluster.kubectl(&["get", "cronjobs,jobs", "-o", "name"]).ok();
    assert_eq!(all, "cronjob.batch/tidy\njob.batch/now\njob.batch/pi\n");
}
