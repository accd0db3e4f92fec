//! Pods that are given more or less while they run.

use harness::{Cluster, Plan, eventually, kubectl_is_there};
use serde_json::Value;

use crate::{PROGRAM, example};

/// A cluster with components to be resized in, told these words besides.
fn cluster(words: &[&str]) -> Option<Cluster> {
    if !kubectl_is_there() {
        return None;
    }
    let cluster = Plan::new().say(words).up(PROGRAM).unwrap_or_else(|error| panic!("{error:#}"));
    for name in ["box", "hostile"] {
        let file = example(&format!("{name}/{name}.wasm")).display().to_string();
        cluster.coracle(&["push", &file, &format!("{name}:v1")]).ok();
    }
    Some(cluster)
}

/// A pod of a component with these words, these resources, and more of its container.
fn pod(name: &str, image: &str, words: &str, resources: &str, more: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {image}:v1
    {words}
    resources: {{{resources}}}
    env: [{{name: LIMIT, valueFrom: {{resourceFieldRef: {{resource: limits.memory, divisor: 1Mi}}}}}}]
    {more}
"
    )
}

const SLEEP: &str = "command: [sleep, infinity]";

fn get(cluster: &Cluster, name: &str) -> Value {
    serde_json::from_str(&cluster.kubectl(&["get", "pod", name, "-o", "json"]).ok()).expect("JSON")
}

fn runs(cluster: &Cluster, name: &str) {
    cluster.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=120s"]).ok();
}

/// Patches what the main container may have.
fn resize(cluster: &Cluster, name: &str, resources: &str) -> harness::Output {
    let patch = format!(r#"{{"spec":{{"containers":[{{"name":"main","resources":{resources}}}]}}}}"#);
    cluster.kubectl(&["patch", "pod", name, "--subresource", "resize", "--patch", &patch])
}

/// Waits until the main container has this of what is limited, and says whether it was started again.
fn has(cluster: &Cluster, name: &str, path: &str, wanted: &str) -> i64 {
    eventually(60, || {
        let pod = get(cluster, name);
        let main = &pod["status"]["containerStatuses"][0];
        let ready = main["ready"] == true && pod["status"]["observedGeneration"] == pod["metadata"]["generation"];
        if ready && main["resources"].pointer(path).is_some_and(|found| found == wanted) {
            Ok(main["restartCount"].as_i64().unwrap_or_default())
        } else {
            Err(pod["status"].to_string())
        }
    })
}

/// Waits until the pod says this of its resize: the condition's type, reason and message.
fn says(cluster: &Cluster, name: &str, expected: Option<[&str; 3]>) {
    eventually(60, || {
        let pod = get(cluster, name);
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found =
            conditions.iter().find(|one| one["type"].as_str().is_some_and(|kind| kind.starts_with("PodResize")));
        let told =
            found.map(|found| ["type", "reason", "message"].map(|field| found[field].as_str().unwrap_or_default()));
        if told == expected { Ok(()) } else { Err(format!("{told:?} instead of {expected:?}")) }
    });
}

/// Thousandths of a processor that `kubectl top` tells.
fn top(cluster: &Cluster, name: &str) -> Result<u64, String> {
    let told = cluster.kubectl(&["top", "pod", name, "--containers", "--no-headers"]);
    let millis = told.stdout.split_whitespace().find_map(|word| word.strip_suffix('m')?.parse().ok());
    millis.ok_or(told.stderr)
}

#[test]
fn a_busy_guest_gets_more_of_the_processor_while_it_runs() {
    let Some(cluster) = cluster(&[]) else { return };
    let small = "requests: {cpu: 50m}, limits: {cpu: 50m}";
    cluster.kubectl_in(&["apply", "-f", "-"], &pod("busy", "hostile", "args: [spin]", small, "")).ok();
    runs(&cluster, "busy");
    let settled = |least: u64, most: u64| {
        eventually(90, || {
            let found = top(&cluster, "busy")?;
            if (least..=most).contains(&found) { Ok(()) } else { Err(format!("{found}m")) }
        });
    };
    // What it gets of a machine that is loaded is less, and never more.
    settled(1, 60);
    let patched = resize(&cluster, "busy", r#"{"requests":{"cpu":"600m"},"limits":{"cpu":"600m"}}"#).ok();
    assert_eq!(patched, "pod/busy patched\n");
    assert_eq!(has(&cluster, "busy", "/limits/cpu", "600m"), 0);
    assert_eq!(get(&cluster, "busy")["status"]["containerStatuses"][0]["allocatedResources"]["cpu"], "600m");
    settled(75, 660);
    // And back.
    resize(&cluster, "busy", r#"{"requests":{"cpu":"50m"},"limits":{"cpu":"50m"}}"#).ok();
    assert_eq!(has(&cluster, "busy", "/limits/cpu", "50m"), 0);
    settled(1, 60);
}

#[test]
fn memory_comes_without_a_restart_or_with_one_as_the_container_says() {
    let Some(cluster) = cluster(&[]) else { return };
    let small = "requests: {memory: 32Mi}, limits: {memory: 64Mi}";
    let restart = "resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]";
    let pods = [
        pod("live", "hostile", "args: [net-silent-connections]", small, ""),
        pod("again", "box", SLEEP, small, restart),
        pod("still", "box", SLEEP, small, ""),
    ];
    cluster.kubectl_in(&["apply", "-f", "-"], &pods.concat()).ok();
    runs(&cluster, "live");
    // It takes 4 MiB at a time and says so, until it is refused.
    let taken = || {
        let told = cluster.kubectl(&["exec", "live", "--", "hostile", "memory"]);
        assert_ne!(told.code, 0, "{told:?}");
        told.stdout.lines().filter(|line| line.starts_with("limit")).count()
    };
    let before = taken();
    assert!((8..=16).contains(&before), "{before} times 4 MiB of 64 MiB");
    resize(&cluster, "live", r#"{"limits":{"memory":"256Mi"}}"#).ok();
    assert_eq!(has(&cluster, "live", "/limits/memory", "256Mi"), 0);
    let after = taken();
    assert!((40..=64).contains(&after), "{after} times 4 MiB of 256 MiB");
    runs(&cluster, "again");
    let limit = |name: &str| cluster.kubectl(&["exec", name, "--", "sh", "-c", "echo $LIMIT"]).ok();
    assert_eq!(limit("again"), "64\n");
    resize(&cluster, "again", r#"{"limits":{"cpu":"1"},"requests":{"cpu":"100m"}}"#).ok();
    assert_eq!(has(&cluster, "again", "/limits/cpu", "1"), 0, "nothing is said of the processor");
    resize(&cluster, "again", r#"{"limits":{"memory":"48Mi"}}"#).ok();
    assert_eq!(has(&cluster, "again", "/limits/memory", "48Mi"), 1);
    assert_eq!(limit("again"), "48\n");
    // What a container was told when it began stays.
    runs(&cluster, "still");
    resize(&cluster, "still", r#"{"limits":{"memory":"96Mi"}}"#).ok();
    assert_eq!(has(&cluster, "still", "/limits/memory", "96Mi"), 0);
    assert_eq!(limit("still"), "64\n");
    says(&cluster, "again", None);
    let told = cluster.kubectl(&["describe", "pod", "again"]).ok();
    assert!(told.contains("Container main resize requires restart"), "{told}");
}

#[test]
fn a_node_promises_what_it_has() {
    let Some(cluster) = cluster(&["--memory", "512Mi"]) else { return };
    let some = "requests: {memory: 200Mi}";
    let pods = [pod("one", "box", SLEEP, some, ""), pod("two", "box", SLEEP, some, "")];
    cluster.kubectl_in(&["apply", "-f", "-"], &pods.concat()).ok();
    for name in ["one", "two"] {
        runs(&cluster, name);
    }
    resize(&cluster, "one", r#"{"requests":{"memory":"2Gi"}}"#).ok();
    let never = "Node didn't have enough capacity: memory, requested: 2147483648, capacity: 536870912";
    says(&cluster, "one", Some(["PodResizePending", "Infeasible", never]));
    resize(&cluster, "one", r#"{"requests":{"memory":"400Mi"}}"#).ok();
    let later = "Node didn't have enough resource: memory, requested: 419430400, used: 209715200, capacity: 536870912";
    says(&cluster, "one", Some(["PodResizePending", "Deferred", later]));
    let main = &get(&cluster, "one")["status"]["containerStatuses"][0];
    assert_eq!(
        (&main["resources"]["requests"]["memory"], &main["allocatedResources"]["memory"]),
        (&"200Mi".into(), &"200Mi".into())
    );
    // What it wants is kept for it.
    cluster.kubectl_in(&["apply", "-f", "-"], &pod("three", "box", SLEEP, "requests: {memory: 100Mi}", "")).ok();
    eventually(60, || {
        let told = cluster.kubectl(&["describe", "pod", "three"]).ok();
        if told.contains("0/1 nodes are available: 1 Insufficient memory.") { Ok(()) } else { Err(told) }
    });
    cluster.kubectl(&["delete", "pod", "two"]).ok();
    assert_eq!(has(&cluster, "one", "/requests/memory", "400Mi"), 0);
    says(&cluster, "one", None);
    runs(&cluster, "three");

    // Who comes without asking anybody is asked by the node.
    let bound =
        pod("bound", "box", SLEEP, "requests: {memory: 100Mi}", "").replace("spec:\n", "spec:\n  nodeName: node-1\n");
    cluster.kubectl_in(&["apply", "-f", "-"], &bound).ok();
    eventually(60, || {
        let status = get(&cluster, "bound")["status"].clone();
        let told = ["phase", "reason", "message"].map(|field| status[field].as_str().unwrap_or_default().to_owned());
        let why = "Pod was rejected: Node didn't have enough resource: memory, requested: 104857600, used: 524288000, capacity: 536870912";
        if told == ["Failed", "OutOfmemory", why] { Ok(()) } else { Err(format!("{told:?}")) }
    });
}

#[test]
fn a_resize_is_asked_for_and_refused_as_in_kubernetes() {
    let Some(cluster) = cluster(&[]) else { return };
    let k = |words: &[&str]| cluster.kubectl(words);
    let sizes = "requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 100m, memory: 64Mi}";
    cluster.kubectl_in(&["apply", "-f", "-"], &pod("web", "box", SLEEP, sizes, "")).ok();
    runs(&cluster, "web");
    let refused = |resources: &str, why: &str| {
        let told = resize(&cluster, "web", resources).refused();
        assert!(told.contains(why), "{why:?} is missing in\n{told}");
    };
    refused(
        r#"{"limits":{"cpu":"200m"}}"#,
        "The Pod \"web\" is invalid: spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing",
    );
    refused(
        r#"{"requests":{"memory":"32Mi"},"limits":{"memory":"32Mi"}}"#,
        "spec.containers[0].resources.limits[memory]: Forbidden: memory limits cannot be decreased unless resizePolicy is RestartContainer",
    );
    refused(r#"{"limits":{"ephemeral-storage":"1Gi"}}"#, "spec: Forbidden: only cpu and memory resources are mutable");
    let plain = r#"{"spec":{"containers":[{"name":"main","resources":{"limits":{"cpu":"200m"}}}]}}"#;
    let told = k(&["patch", "pod", "web", "-p", plain]).refused();
    assert!(told.contains("pod updates may not change fields other than"), "{told}");

    // Whoever may change pods may not resize them, unless that is said.
    k(&["create", "role", "editor", "--verb=get,patch", "--resource=pods"]).ok();
    k(&["create", "rolebinding", "editor", "--role=editor", "--user=ann"]).ok();
    let patch =
        r#"{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"150m"},"limits":{"cpu":"150m"}}}]}}"#;
    let as_ann = ["patch", "pod", "web", "--subresource", "resize", "--patch", patch, "--as", "ann"];
    let told = k(&as_ann).refused();
    assert!(told.contains("User \"ann\" cannot get resource \"pods/resize\""), "{told}");
    k(&["create", "role", "sizer", "--verb=get,patch", "--resource=pods/resize"]).ok();
    k(&["create", "rolebinding", "sizer", "--role=sizer", "--user=ann"]).ok();
    k(&as_ann).ok();
    assert_eq!(has(&cluster, "web", "/limits/cpu", "150m"), 0);

    // By hand.
    let editor = tempfile::tempdir().expect("a folder");
    let script = editor.path().join("edit");
    std::fs::write(&script, "#!/bin/sh\nsed -i s/150m/170m/ \"$1\"\n").expect("written");
    let made = std::process::Command::new("chmod").arg("+x").arg(&script).status();
    assert!(made.is_ok_and(|made| made.success()));
    let words = ["edit", "pod", "web", "--subresource=resize"];
    let told = cluster.kubectl_with(&words, None, &[("KUBE_EDITOR", &script.display().to_string())]).ok();
    assert!(told.contains("pod/web edited"), "{told}");
    assert_eq!(has(&cluster, "web", "/limits/cpu", "170m"), 0);

    k(&["create", "quota", "team", "--hard=requests.cpu=300m"]).ok();
    let used = || k(&["get", "quota", "team", "-o", "jsonpath={.status.used.requests\\.cpu}"]).ok();
    eventually(30, || if used() == "170m" { Ok(()) } else { Err(used()) });
    refused(
        r#"{"requests":{"cpu":"400m"},"limits":{"cpu":"400m"}}"#,
        "pods \"web\" is forbidden: exceeded quota: team, requested: requests.cpu=230m, used: requests.cpu=170m, limited: requests.cpu=300m",
    );
    resize(&cluster, "web", r#"{"requests":{"cpu":"200m"},"limits":{"cpu":"200m"}}"#).ok();
    assert_eq!(used(), "200m");
    resize(&cluster, "web", r#"{"requests":{"cpu":"50m"},"limits":{"cpu":"50m"}}"#).ok();
    eventually(30, || if used() == "50m" { Ok(()) } else { Err(used()) });
}
