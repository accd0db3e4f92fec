//! StatefulSets as the basics of Kubernetes' documentation have them: pods with names that stay, one after the other.

use std::net::Ipv4Addr;

use harness::{Cluster, eventually, kubectl_is_there};
use serde_json::Value;

use crate::names::{A, ask};
use crate::{example, with};

const WEB: &str = "apiVersion: v1
kind: Service
metadata: {name: nginx, labels: {app: nginx}}
spec: {clusterIP: None, selector: {app: nginx}, ports: [{name: web, port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: nginx
  replicas: 2
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: nginx
        image: probe:v1
        ports: [{name: web, containerPort: 80}]
        env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        readinessProbe: {httpGet: {path: /, port: web}, initialDelaySeconds: 1, periodSeconds: 1}
";

/// The pods with their images: `web-0 probe:v1, web-1 probe:v1`.
fn pods(cluster: &Cluster) -> String {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.spec.containers[0].image}, {end}";
    let told = cluster.kubectl(&["get", "pods", "-l", "app=nginx", "-o", path]).ok();
    told.trim_end_matches(", ").to_owned()
}

fn rolled_out(cluster: &Cluster, words: &str) {
    let told = cluster.kubectl(&["rollout", "status", "sts/web", "--timeout=90s"]).ok();
    assert!(told.ends_with(&format!("{words}\n")), "{told}");
}

/// A cluster with two versions of an image, and `web` on its way.
fn with_web(manifest: &str) -> Cluster {
    let cluster = with(&[]);
    let file = example("probe/probe.wasm").display().to_string();
    for name in ["probe:v1", "probe:v2"] {
        cluster.coracle(&["push", &file, name]).ok();
    }
    cluster.kubectl_in(&["apply", "-f", "-"], manifest).ok();
    cluster
}

#[test]
fn pods_come_in_order_and_are_found_by_their_names() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_web(WEB);
    let k = |words: &[&str]| cluster.kubectl(words);
    eventually(60, || {
        let told: Value = serde_json::from_str(&k(&["get", "pods", "-o", "json"]).ok()).expect("JSON");
        let pods = told["items"].as_array().expect("a list");
        let is_ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
        };
        if pods.iter().any(|pod| pod["metadata"]["name"] == "web-1") {
            assert!(pods.iter().any(|pod| pod["metadata"]["name"] == "web-0" && is_ready(pod)), "{told:#}");
        }
        if pods.iter().filter(|pod| is_ready(pod)).count() == 2 { Ok(()) } else { Err(format!("{told:#}")) }
    });
    rolled_out(&cluster, "partitioned roll out complete: 2 new pods have been updated...");
    assert_eq!(pods(&cluster), "web-0 probe:v1, web-1 probe:v1");
    let found = |pod: &str| {
        let address = k(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"]).ok();
        let address: Ipv4Addr = address.parse().expect("an address");
        let name = format!("{pod}.nginx.default.svc.cluster.local");
        eventually(20, || match ask(cluster.dns(), &name, A) {
            (0, told) if told == [address.octets().to_vec()] => Ok(()),
            told => Err(format!("{name}: {told:?}, not {address}")),
        });
    };
    ["web-0", "web-1"].into_iter().for_each(found);
    let label = k(&["get", "pods", "-l", "apps.kubernetes.io/pod-index=1", "-o", "name"]).ok();
    assert_eq!(label, "pod/web-1\n");

    // Who is deleted comes again under its name, and only when the old one is gone.
    let uid = || k(&["get", "pods", "-o", "jsonpath={.items[*].metadata.uid}"]).ok();
    let before = uid();
    k(&["delete", "pod", "-l", "app=nginx", "--timeout=60s"]).ok();
    eventually(60, || match k(&["get", "sts", "web", "-o", "jsonpath={.status.availableReplicas}"]).ok().as_str() {
        "2" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert!(uid().split(' ').all(|uid| !before.contains(uid)), "{before} and {}", uid());
    ["web-0", "web-1"].into_iter().for_each(found);

    k(&["scale", "sts", "web", "--replicas=4"]).ok();
    rolled_out(&cluster, "partitioned roll out complete: 4 new pods have been updated...");
    assert_eq!(pods(&cluster), "web-0 probe:v1, web-1 probe:v1, web-2 probe:v1, web-3 probe:v1");
    k(&["patch", "sts", "web", "-p", r#"{"spec":{"replicas":2}}"#]).ok();
    eventually(60, || match pods(&cluster).as_str() {
        "web-0 probe:v1, web-1 probe:v1" => Ok(()),
        other => Err(other.to_owned()),
    });
    let told = k(&["describe", "sts", "web"]).ok();
    for words in ["create Pod web-3 in StatefulSet web successful", "delete Pod web-2 in StatefulSet web successful"] {
        assert!(told.contains(words), "{words:?} is missing in\n{told}");
    }

    // Set free, the pods stay; a new set of the name takes them back.
    let before = uid();
    k(&["delete", "sts", "web", "--cascade=orphan"]).ok();
    assert_eq!(uid(), before);
    cluster.kubectl_in(&["apply", "-f", "-"], WEB).ok();
    rolled_out(&cluster, "partitioned roll out complete: 2 new pods have been updated...");
    assert_eq!(uid(), before);
    k(&["delete", "sts", "web"]).ok();
    eventually(60, || if pods(&cluster).is_empty() { Ok(()) } else { Err(pods(&cluster)) });
}

#[test]
fn an_update_goes_from_the_highest_pod_to_the_partition_and_back() {
    if !kubectl_is_there() {
        return;
    }
    let cluster = with_web(&WEB.replace("replicas: 2", "replicas: 3\n  podManagementPolicy: Parallel"));
    let k = |words: &[&str]| cluster.kubectl(words);
    rolled_out(&cluster, "partitioned roll out complete: 3 new pods have been updated...");
    k(&["set", "image", "sts/web", "nginx=probe:v2"]).ok();
    rolled_out(&cluster, "partitioned roll out complete: 3 new pods have been updated...");
    assert_eq!(pods(&cluster), "web-0 probe:v2, web-1 probe:v2, web-2 probe:v2");

    let partition = r#"{"spec":{"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}}}}"#;
    k(&["patch", "sts", "web", "-p", partition]).ok();
    k(&["set", "env", "sts/web", "MARK=canary"]).ok();
    k(&["set", "image", "sts/web", "nginx=probe:v1"]).ok();
    eventually(60, || {
        k(&["rollout", "status", "sts/web", "--timeout=60s"]).ok();
        match pods(&cluster).as_str() {
            "web-0 probe:v2, web-1 probe:v2, web-2 probe:v1" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    rolled_out(&cluster, "partitioned roll out complete: 1 new pods have been updated...");
    // One below the partition comes again as it was.
    k(&["delete", "pod", "web-0"]).ok();
    rolled_out(&cluster, "partitioned roll out complete: 1 new pods have been updated...");
    assert_eq!(pods(&cluster), "web-0 probe:v2, web-1 probe:v2, web-2 probe:v1");

    let history = || {
        let told = k(&["rollout", "history", "sts/web"]).ok();
        told.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect::<Vec<u32>>()
    };
    assert_eq!(history(), [1, 2, 3, 4]);
    let shown = k(&["rollout", "history", "sts/web", "--revision=2"]).ok();
    assert!(shown.contains("probe:v2"), "{shown}");
    assert!(k(&["rollout", "undo", "sts/web", "--to-revision=2"]).ok().contains("rolled back"));
    eventually(60, || match pods(&cluster).as_str() {
        "web-0 probe:v2, web-1 probe:v2, web-2 probe:v2" => Ok(()),
        other => Err(other.to_owned()),
    });
    // Those below the partition have been of this revision all along.
    rolled_out(&cluster, "partitioned roll out complete: 3 new pods have been updated...");
    let status = "jsonpath={.status.currentRevision}={.status.updateRevision}";
    eventually(20, || match k(&["get", "sts", "web", "-o", status]).ok().split_once('=') {
        Some((current, update)) if current == update => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // What was gone back to is the same revision under a new number.
    assert_eq!(history(), [1, 3, 4, 5]);
    assert!(k(&["rollout", "restart", "sts/web"]).ok().contains("restarted"));
    rolled_out(&cluster, "partitioned roll out complete: 1 new pods have been updated...");
}
