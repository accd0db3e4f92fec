//! Volumes that change while the pod runs, and those that must not.

use harness::{Cluster, Fleet, Server, eventually, get};
use serde_json::Value;

use crate::{PROGRAM, apply, manifest, with};

const CONFIG: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {mode: MODE, other: MODE}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {token: MODE}
";

const POD: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: fixed}
immutable: true
data: {mode: fixed}
---
apiVersion: v1
kind: Pod
metadata: {name: reader, labels: {app: reader, mode: MODE}}
spec:
  containers:
  - name: main
    image: EXAMPLES/probe/probe.wasm
    ports: [{containerPort: 8080}]
    volumeMounts:
    - {name: config, mountPath: /config}
    - {name: config, mountPath: /one/mode.conf, subPath: mode}
    - {name: all, mountPath: /all}
  volumes:
  - {name: config, configMap: {name: config}}
  - name: all
    projected:
      sources:
      - secret: {name: secret}
      - configMap: {name: fixed}
      - configMap: {name: later, optional: true}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
---
apiVersion: v1
kind: Service
metadata: {name: reader}
spec: {selector: {app: reader}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: reader}
spec: {rules: [{host: reader.localhost, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: reader, port: {number: 80}}}}]}}]}
";

/// Waits until the pod reads this in the file.
fn reads(cluster: &Cluster, path: &str, expected: &str) {
    eventually(30, || {
        let answer = get(cluster.ingress(), "reader.localhost", &format!("/read?path={path}"));
        let answer = answer.map_err(|error| error.to_string())?;
        let found = format!("{} {}", answer.status, answer.body.trim());
        if found == format!("200 {expected}") { Ok(()) } else { Err(format!("{path}: {found}")) }
    });
}

#[test]
fn a_running_pod_sees_new_configuration() {
    let cluster = with(&[]);
    apply(&cluster, &CONFIG.replace("MODE", "slow"));
    apply(&cluster, &POD.replace("MODE", "slow"));
    for (path, expected) in [
        ("/config/mode", "slow"),
        ("/one/mode.conf", "slow"),
        ("/all/token", "slow"),
        ("/all/labels", "app=\"reader\"\nmode=\"slow\""),
    ] {
        reads(&cluster, path, expected);
    }
    apply(&cluster, &CONFIG.replace("MODE", "fast"));
    apply(&cluster, &POD.replace("MODE", "fast"));
    apply(&cluster, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: later}\ndata: {late: come}\n");
    for (path, expected) in [
        ("/config/mode", "fast"),
        ("/config/other", "fast"),
        ("/all/token", "fast"),
        ("/all/labels", "app=\"reader\"\nmode=\"fast\""),
        ("/all/late", "come"),
        ("/all/mode", "fixed"),
    ] {
        reads(&cluster, path, expected);
    }
    // A subPath is as it was, and nothing was restarted for all this.
    reads(&cluster, "/one/mode.conf", "slow");
    let pod: Value =
        serde_json::from_str(&cluster.coracle(&["get", "pod", "reader", "-o", "json"]).ok()).expect("JSON");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    // What is gone stays with those who have it.
    cluster.coracle(&["delete", "configmap/config"]).ok();
    eventually(30, || {
        let told = cluster.coracle(&["describe", "pod/reader"]).ok();
        if told.contains("FailedMount") && told.contains("configmap \"config\" not found") { Ok(()) } else { Err(told) }
    });
    reads(&cluster, "/config/mode", "fast");
}

/// A node on a machine of its own watches what its pods use, one by one, and is told of no more.
#[test]
fn a_pod_on_another_machine_sees_new_configuration() {
    let fleet = Fleet::on_loopback(PROGRAM, Server::Alone, 1);
    let apply = |text: &str| fleet.coracle(&["apply", "-f", &manifest(fleet.folder(), text)]).ok();
    let reads = |path: &str, expected: &str| {
        eventually(60, || match fleet.get(1, 1, "reader.localhost", &format!("/read?path={path}"))? {
            (200, found) if found.trim() == expected => Ok(()),
            other => Err(format!("{path}: {other:?}")),
        });
    };
    apply(&CONFIG.replace("MODE", "slow"));
    apply(&POD.replace("MODE", "slow"));
    reads("/config/mode", "slow");
    reads("/all/token", "slow");
    apply(&CONFIG.replace("MODE", "fast"));
    apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: later}\ndata: {late: come}\n");
    for (path, expected) in [("/config/mode", "fast"), ("/all/token", "fast"), ("/all/late", "come")] {
        reads(path, expected);
    }
    fleet.coracle(&["delete", "configmap/config"]).ok();
    eventually(60, || match fleet.coracle(&["describe", "pod/reader"]).ok() {
        told if told.contains("configmap \"config\" not found") => Ok(()),
        told => Err(told),
    });
}
