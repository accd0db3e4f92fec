//! The tasks of Kubernetes' documentation about what a namespace may have: defaults, least and most, and quotas.

use crate::task::{Desk, has_lines};

/// A pod that sleeps in a namespace, with these resources.
fn pod(namespace: &str, name: &str, resources: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: main, image: 'box:v1', command: [sleep, infinity], resources: {resources}}}]
"
    )
}

fn limit_range(namespace: &str, limits: &str) -> String {
    format!(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {{name: demo, namespace: {namespace}}}\nspec: {{limits: [{{{limits}, type: Container}}]}}\n"
    )
}

#[test]
fn a_namespace_has_defaults_and_bounds() {
    let Some(desk) = Desk::open() else { return };
    for (name, limits) in [
        ("default-mem", "default: {memory: 512Mi}, defaultRequest: {memory: 256Mi}"),
        ("bounds-mem", "max: {memory: 1Gi}, min: {memory: 500Mi}"),
    ] {
        desk.k(&["create", "namespace", name]).ok();
        desk.apply(&limit_range(name, limits)).ok();
    }
    let given = |namespace: &str, name: &str, resources: &str| {
        desk.apply(&pod(namespace, name, resources)).ok();
        desk.k(&["get", "pod", name, "-n", namespace, "-o", "jsonpath={.spec.containers[0].resources}"]).ok()
    };
    assert_eq!(given("default-mem", "one", "{}"), r#"{"limits":{"memory":"512Mi"},"requests":{"memory":"256Mi"}}"#);
    let limit = "{limits: {memory: 1Gi}}";
    assert_eq!(given("default-mem", "two", limit), r#"{"limits":{"memory":"1Gi"},"requests":{"memory":"1Gi"}}"#);
    let request = "{requests: {memory: 128Mi}}";
    assert_eq!(
        given("default-mem", "three", request),
        r#"{"limits":{"memory":"512Mi"},"requests":{"memory":"128Mi"}}"#
    );

    let within = "{limits: {memory: 800Mi}, requests: {memory: 600Mi}}";
    assert_eq!(given("bounds-mem", "one", within), r#"{"limits":{"memory":"800Mi"},"requests":{"memory":"600Mi"}}"#);
    assert_eq!(given("bounds-mem", "four", "{}"), r#"{"limits":{"memory":"1Gi"},"requests":{"memory":"1Gi"}}"#);
    let refused = |resources: &str, why: &str| {
        let told = desk.apply(&pod("bounds-mem", "refused", resources)).refused();
        assert!(told.contains(&format!("pods \"refused\" is forbidden: {why}")), "{why:?} is missing in\n{told}");
    };
    let most = "maximum memory usage per Container is 1Gi, but limit is 1536Mi";
    refused("{limits: {memory: 1.5Gi}, requests: {memory: 800Mi}}", most);
    let least = "minimum memory usage per Container is 500Mi, but request is 100Mi";
    refused("{limits: {memory: 800Mi}, requests: {memory: 100Mi}}", least);
}

#[test]
fn a_namespace_has_so_much_memory_and_so_many_processors() {
    let Some(desk) = Desk::open() else { return };
    desk.k(&["create", "namespace", "team"]).ok();
    let hard = "--hard=requests.cpu=1,requests.memory=1Gi,limits.cpu=2,limits.memory=2Gi";
    desk.k(&["create", "quota", "mem-cpu-demo", "-n", "team", hard]).ok();
    desk.apply(&pod("team", "one", "{limits: {memory: 800Mi, cpu: 800m}, requests: {memory: 600Mi, cpu: 400m}}")).ok();
    let used = "{.status.used}";
    let one = r#"{"limits.cpu":"800m","limits.memory":"800Mi","requests.cpu":"400m","requests.memory":"600Mi"}"#;
    desk.shows("quota mem-cpu-demo -n team", used, one);
    let two = pod("team", "two", "{limits: {memory: 1Gi, cpu: 800m}, requests: {memory: 700Mi, cpu: 400m}}");
    let told = desk.apply(&two).refused();
    let why = "pods \"two\" is forbidden: exceeded quota: mem-cpu-demo, requested: requests.memory=700Mi, used: requests.memory=600Mi, limited: requests.memory=1Gi";
    assert!(told.contains(why), "{told}");
    let told = desk.apply(&pod("team", "bare", "{}")).refused();
    let why = "failed quota: mem-cpu-demo: must specify limits.cpu for: main; limits.memory for: main; requests.cpu for: main; requests.memory for: main";
    assert!(told.contains(why), "{told}");
    desk.describes("namespace team", &["mem-cpu-demo", "requests.memory  600Mi  1Gi"]);
    // What ends, or goes, is given back.
    desk.k(&["delete", "pod", "one", "-n", "team"]).ok();
    desk.apply(&two).ok();
    let done = pod("team", "done", "{limits: {memory: 1Gi, cpu: 1}, requests: {memory: 1Mi, cpu: 1m}}");
    desk.apply(&done.replace("[sleep, infinity]", "['true']").replace("  term", "  restartPolicy: Never\n  term")).ok();
    desk.shows("pod done -n team", "{.status.phase}", "Succeeded");
    desk.shows(
        "quota mem-cpu-demo -n team",
        used,
        r#"{"limits.cpu":"800m","limits.memory":"1Gi","requests.cpu":"400m","requests.memory":"700Mi"}"#,
    );
}

const WORKLOADS: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: pod-quota-demo, namespace: few}
spec:
  replicas: 3
  selector: {matchLabels: {purpose: quota-demo}}
  template:
    metadata: {labels: {purpose: quota-demo}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: 'probe:v1'}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web, namespace: few}
spec:
  serviceName: web
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: 'probe:v1'}]}
  volumeClaimTemplates:
  - metadata: {name: www}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";

#[test]
fn a_namespace_has_so_many_pods_and_claims() {
    let Some(desk) = Desk::open() else { return };
    desk.k(&["create", "namespace", "few"]).ok();
    desk.k(&["create", "quota", "pod-demo", "-n", "few", "--hard=pods=2,persistentvolumeclaims=0"]).ok();
    desk.apply(WORKLOADS).ok();
    let failure = "{.status.availableReplicas} {.status.conditions[?(@.type==\"ReplicaFailure\")].message}";
    let why = "is forbidden: exceeded quota: pod-demo, requested: pods=1, used: pods=2, limited: pods=2";
    harness::eventually(60, || {
        let path = format!("-ojsonpath={failure}");
        let told = desk.k(&["get", "deploy", "pod-quota-demo", "-n", "few", &path]).ok();
        if told.starts_with("2 pods \"pod-quota-demo-") && told.ends_with(why) { Ok(()) } else { Err(told) }
    });
    let claims = "create Claim www-web-0 for Pod web-0 in StatefulSet web failed error: persistentvolumeclaims \"www-web-0\" is forbidden: exceeded quota: pod-demo, requested: persistentvolumeclaims=1";
    desk.describes("sts web -n few", &["FailedCreate", claims]);
    let told = desk.k(&["get", "quota", "-n", "few"]).ok();
    assert!(told.contains("persistentvolumeclaims: 0/0, pods: 2/2"), "{told}");
    desk.k(&[
        "patch",
        "quota",
        "pod-demo",
        "-n",
        "few",
        "-p",
        r#"{"spec":{"hard":{"pods":"4","persistentvolumeclaims":"1"}}}"#,
    ])
    .ok();
    desk.shows("deploy pod-quota-demo -n few", failure, "3 ");
    desk.shows("sts web -n few", "{.status.readyReplicas}", "1");
    let told = desk.k(&["describe", "quota", "pod-demo", "-n", "few"]).ok();
    has_lines(&told, &["persistentvolumeclaims  1     1", "pods                    4     4"]);
}

#[test]
fn a_namespace_has_so_many_services_and_pods_of_a_class() {
    let Some(desk) = Desk::open() else { return };
    desk.k(&["create", "quota", "objects", "--hard=services.loadbalancers=1,services.nodeports=0,count/jobs.batch=1"])
        .ok();
    let told = desk.k(&["create", "service", "nodeport", "web", "--tcp=80"]).refused();
    let why = "services \"web\" is forbidden: exceeded quota: objects, requested: services.nodeports=1, used: services.nodeports=0, limited: services.nodeports=0";
    assert!(told.contains(why), "{told}");
    desk.k(&["create", "job", "one", "--image=box:v1", "--", "true"]).ok();
    let told = desk.k(&["create", "job", "two", "--image=box:v1", "--", "true"]).refused();
    assert!(
        told.contains("jobs.batch \"two\" is forbidden: exceeded quota: objects, requested: count/jobs.batch=1"),
        "{told}"
    );

    let class = "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1000\n";
    let quota = "---\napiVersion: v1\nkind: ResourceQuota\nmetadata: {name: pods-high}\nspec:\n  hard: {pods: '1'}\n  scopeSelector: {matchExpressions: [{operator: In, scopeName: PriorityClass, values: [high]}]}\n";
    desk.apply(&format!("{class}{quota}")).ok();
    let high = |name: &str| pod("default", name, "{}").replace("spec:\n", "spec:\n  priorityClassName: high\n");
    desk.apply(&high("first")).ok();
    let told = desk.apply(&high("second")).refused();
    assert!(told.contains("exceeded quota: pods-high, requested: pods=1, used: pods=1, limited: pods=1"), "{told}");
    desk.apply(&pod("default", "plain", "{}")).ok();
}
