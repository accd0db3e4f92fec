//! Pods: how they run, fail, log and end.

use harness::{Cluster, eventually, get};
use serde_json::Value;

use crate::{manifest, with};

fn pod(cluster: &Cluster, name: &str) -> Value {
    serde_json::from_str(&cluster.coracle(&["get", "pod", name, "-o", "json"]).ok()).expect("JSON")
}

/// Runs a pod of the ticker with these arguments and waits until its status is as wanted.
fn check(cluster: &Cluster, name: &str, more: &str, args: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  {more}\n  containers:\n  - name: main\n    image: EXAMPLES/ticker/ticker.wasm\n    args: {args}\n    resources: {{limits: {{memory: 32Mi}}}}\n"
    );
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &text)]).ok();
    eventually(40, || {
        let pod = pod(cluster, name);
        if wanted(&pod["status"]) { Ok(pod["status"].clone()) } else { Err(pod["status"].to_string()) }
    })
}

fn terminated(status: &Value) -> &Value {
    &status["containerStatuses"][0]["state"]["terminated"]
}

#[test]
fn ends_are_told_as_they_were() {
    let cluster = with(&[]);
    let ended = |status: &Value| terminated(status).is_object();
    let status = check(&cluster, "fine", "", r#"["--every", "1", "--count", "2"]"#, ended);
    assert_eq!((&status["phase"], &terminated(&status)["reason"]), (&"Succeeded".into(), &"Completed".into()));
    let status = check(&cluster, "seven", "", r#"["--every", "1", "--count", "1", "--exit", "7"]"#, ended);
    assert_eq!(
        (&status["phase"], &terminated(&status)["exitCode"], &terminated(&status)["reason"]),
        (&"Failed".into(), &7.into(), &"Error".into())
    );
    let status = check(&cluster, "panic", "", r#"["--every", "1", "--count", "1", "--panic"]"#, ended);
    assert_eq!(status["phase"], "Failed");
    assert_ne!(terminated(&status)["exitCode"], 0);
    let status = check(&cluster, "eater", "", r#"["--every", "1", "--count", "1", "--eat"]"#, ended);
    assert_eq!((&terminated(&status)["reason"], &terminated(&status)["exitCode"]), (&"OOMKilled".into(), &137.into()));
}

#[test]
fn a_pod_that_keeps_failing_backs_off() {
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: loop}\nspec:\n  containers:\n  - name: main\n    image: EXAMPLES/ticker/ticker.wasm\n    args: [\"--every\", \"1\", \"--count\", \"1\", \"--exit\", \"3\"]\n";
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
    eventually(60, || {
        let status = pod(&cluster, "loop")["status"]["containerStatuses"][0].clone();
        let waiting = status["state"]["waiting"]["reason"] == "CrashLoopBackOff";
        let counted = status["restartCount"].as_i64() >= Some(1) && status["lastState"]["terminated"]["exitCode"] == 3;
        if waiting && counted { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(cluster.coracle(&["get", "pods"]).ok().contains("CrashLoopBackOff"));
    assert!(cluster.coracle(&["logs", "loop", "--previous"]).ok().contains("tick"));
    let told = cluster.coracle(&["describe", "pod/loop"]).ok();
    assert!(told.contains("Back-off restarting failed container"), "{told}");
}

#[test]
fn what_is_not_wasm_is_refused_in_words() {
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("script.wasm"), "#!/bin/sh\necho no\n").expect("written");
    let refused =
        cluster.coracle(&["push", &folder.path().join("script.wasm").display().to_string(), "script:v1"]).refused();
    assert!(refused.contains("is not WebAssembly"), "{refused}");
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: missing}\nspec:\n  containers:\n  - {name: main, image: \"nothing:v1\"}\n";
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
    eventually(30, || {
        let waiting = pod(&cluster, "missing")["status"]["containerStatuses"][0]["state"]["waiting"].clone();
        let reason = waiting["reason"].as_str().unwrap_or_default().to_owned();
        if matches!(reason.as_str(), "ErrImagePull" | "ImagePullBackOff") { Ok(()) } else { Err(waiting.to_string()) }
    });
    // A module that is WebAssembly, but nothing that a pod could run.
    std::fs::write(folder.path().join("empty.wasm"), b"\0asm\x0d\0\x01\0").expect("written");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: empty}}\nspec:\n  containers:\n  - {{name: main, image: {}/empty.wasm}}\n",
        folder.path().display()
    );
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), &text)]).ok();
    eventually(30, || {
        let waiting = pod(&cluster, "empty")["status"]["containerStatuses"][0]["state"]["waiting"].clone();
        if waiting["message"].as_str().is_some_and(|message| message.contains("wasi:http")) {
            Ok(())
        } else {
            Err(waiting.to_string())
        }
    });
}

#[test]
fn logs_can_be_cut_and_followed() {
    let cluster = with(&[]);
    check(&cluster, "talker", "", r#"["--every", "1", "--count", "50", "--text", "line"]"#, |status| {
        status["phase"] == "Succeeded"
    });
    let all = cluster.coracle(&["logs", "talker"]).ok();
    assert!(all.lines().count() >= 50, "{all}");
    assert_eq!(cluster.coracle(&["logs", "talker", "--tail", "3"]).ok().lines().count(), 3);
    let stamped = cluster.coracle(&["logs", "talker", "--tail", "1", "--timestamps"]).ok();
    assert!(stamped.starts_with("20") && stamped.contains('Z'), "{stamped}");
    assert_eq!(cluster.coracle(&["logs", "-f", "talker"]).ok(), all, "following an ended container ends");
    assert_eq!(cluster.coracle(&["logs", "talker", "--since", "1h"]).ok(), all);
    let refused = cluster.coracle(&["logs", "talker", "-c", "other"]).refused();
    assert!(refused.contains("container other is not valid for pod talker"), "{refused}");
}

#[test]
fn configuration_reaches_the_container() {
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let text = "apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {ONE: \"1\", file.txt: from a file}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {TWO: \"2\"}
---
apiVersion: v1
kind: Pod
metadata: {name: configured, labels: {app: configured}}
spec:
  containers:
  - name: main
    image: EXAMPLES/probe/probe.wasm
    args: [\"$(ONE)\", plain]
    ports: [{containerPort: 8080}]
    envFrom: [{configMapRef: {name: config}}, {secretRef: {name: secret}}]
    env:
    - {name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: BOTH, value: \"$(ONE)-$(WHO)\"}
    volumeMounts: [{name: files, mountPath: /etc/config, readOnly: true}]
  volumes: [{name: files, configMap: {name: config}}]
---
apiVersion: v1
kind: Service
metadata: {name: configured}
spec: {selector: {app: configured}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: configured}
spec: {rules: [{host: configured.localhost, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: configured, port: {number: 80}}}}]}}]}
";
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
    let ask = |path: &str| get(cluster.ingress(), "configured.localhost", path).expect("an answer");
    let env = eventually(30, || {
        let answer = ask("/env");
        if answer.status == 200 { Ok(answer.body) } else { Err(answer.body) }
    });
    for line in ["ONE=1", "TWO=2", "WHO=configured", "BOTH=1-configured", "HOSTNAME=configured"] {
        assert!(env.lines().any(|other| other == line), "{line} is missing in\n{env}");
    }
    assert!(ask("/args").body.contains("1\nplain"), "{}", ask("/args").body);
    assert_eq!(ask("/read?path=/etc/config/file.txt").body.trim(), "from a file");
}

#[test]
fn probes_decide_who_is_asked() {
    let cluster = with(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let text = "apiVersion: v1
kind: Pod
metadata: {name: never-ready}
spec:
  containers:
  - name: main
    image: EXAMPLES/probe/probe.wasm
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {path: /status?code=500, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: never-alive}
spec:
  containers:
  - name: main
    image: EXAMPLES/probe/probe.wasm
    ports: [{containerPort: 8080}]
    livenessProbe: {httpGet: {path: /status?code=500, port: 8080}, periodSeconds: 1, failureThreshold: 2}
";
    cluster.coracle(&["apply", "-f", &manifest(folder.path(), text)]).ok();
    eventually(40, || {
        let status = pod(&cluster, "never-alive")["status"]["containerStatuses"][0].clone();
        if status["restartCount"].as_i64() >= Some(1) { Ok(()) } else { Err(status.to_string()) }
    });
    let status = pod(&cluster, "never-ready")["status"].clone();
    assert_eq!(
        (&status["phase"], &status["containerStatuses"][0]["ready"]),
        (&"Running".into(), &false.into()),
        "{status}"
    );
    let told = cluster.coracle(&["describe", "pod/never-ready"]).ok();
    assert!(told.contains("Unhealthy") && told.contains("Readiness probe failed"), "{told}");
}
