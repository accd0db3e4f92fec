//! The tasks of Kubernetes' documentation about how a container comes up, how it is asked for its health, and how it ends.

use crate::task::Desk;

const PROBED: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: liveness-exec}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: tmp, emptyDir: {}}]
  containers:
  - name: liveness
    image: box:v1
    command: [sh, -c, "touch /tmp/healthy; sleep 3; rm /tmp/healthy; sleep 600"]
    volumeMounts: [{name: tmp, mountPath: /tmp}]
    livenessProbe: {exec: {command: [cat, /tmp/healthy]}, initialDelaySeconds: 1, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: goproxy}
spec:
  containers:
  - name: goproxy
    image: probe:v1
    ports: [{name: web, containerPort: 8080}]
    startupProbe: {httpGet: {path: /healthz, port: web}, failureThreshold: 30, periodSeconds: 1}
    readinessProbe: {tcpSocket: {port: web}, periodSeconds: 1}
    livenessProbe: {httpGet: {path: /healthz, port: web, httpHeaders: [{name: X-Custom-Header, value: Awesome}]}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: nobody-there}
spec:
  containers:
  - name: main
    image: probe:v1
    ports: [{containerPort: 8080}]
    livenessProbe: {tcpSocket: {port: 9999}, periodSeconds: 1, failureThreshold: 2}
---
apiVersion: v1
kind: Pod
metadata: {name: slow-start}
spec:
  containers:
  - name: main
    image: probe:v1
    ports: [{containerPort: 8080}]
    startupProbe: {httpGet: {path: "/status?code=503", port: 8080}, failureThreshold: 2, periodSeconds: 1}
    livenessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: etcd-with-grpc}
spec:
  containers:
  - name: main
    image: probe:v1
    ports: [{containerPort: 2379}]
    livenessProbe: {grpc: {port: 2379}, periodSeconds: 1, failureThreshold: 2}
"#;

#[test]
fn who_is_not_well_is_started_again() {
    let Some(desk) = Desk::open() else { return };
    desk.apply(PROBED).ok();
    let killed = "failed liveness probe, will be restarted";
    let said = "Liveness probe failed: cat: /tmp/healthy: No such file or directory";
    desk.describes("pod liveness-exec", &[said, &format!("Container liveness {killed}")]);
    desk.describes("pod nobody-there", &["Liveness probe failed: dial tcp", "connect: connection refused", killed]);
    desk.describes("pod etcd-with-grpc", &["Liveness probe failed: service unhealthy", killed]);
    let startup =
        ["Startup probe failed: HTTP probe failed with statuscode: 503", "failed startup probe, will be restarted"];
    desk.describes("pod slow-start", &startup);
    let ready = "{.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount}";
    desk.shows("pod goproxy", ready, "true 0");
}

const ENDS: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: termination-demo}
spec:
  restartPolicy: Never
  containers: [{name: main, image: "box:v1", command: [sh, -c, "sleep 1 && echo Sleep expired > /dev/termination-log"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: msg-path-demo}
spec:
  restartPolicy: Never
  volumes: [{name: tmp, emptyDir: {}}]
  containers:
  - name: main
    image: box:v1
    command: [sh, -c, "echo its own path > /tmp/my-log; exit 3"]
    terminationMessagePath: /tmp/my-log
    volumeMounts: [{name: tmp, mountPath: /tmp}]
---
apiVersion: v1
kind: Pod
metadata: {name: last-lines}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: "box:v1", command: [sh, -c, "echo one; echo two; exit 4"], terminationMessagePolicy: FallbackToLogsOnError}
---
apiVersion: v1
kind: Pod
metadata: {name: says-nothing}
spec:
  restartPolicy: Never
  containers: [{name: main, image: "box:v1", command: [sh, -c, "echo one; exit 4"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: init-fails}
spec:
  restartPolicy: Never
  containers: [{name: main, image: "box:v1", command: ["true"]}]
  initContainers: [{name: bad, image: "box:v1", command: [sh, -c, "echo no > /dev/termination-log; exit 2"]}]
"#;

#[test]
fn what_a_container_says_at_its_end_is_told() {
    let Some(desk) = Desk::open() else { return };
    desk.apply(ENDS).ok();
    let ended = "{.status.containerStatuses[0].state.terminated.exitCode} {.status.containerStatuses[0].state.terminated.message}";
    desk.shows("pod termination-demo", ended, "0 Sleep expired\n");
    desk.shows("pod msg-path-demo", ended, "3 its own path\n");
    desk.shows("pod last-lines", ended, "4 one\ntwo\n");
    desk.shows("pod says-nothing", ended, "4 ");
    let first = "{.status.phase} {.status.initContainerStatuses[0].state.terminated.message}";
    desk.shows("pod init-fails", first, "Failed no\n");
    desk.describes("pod termination-demo", &["Message:  Sleep expired"]);
}

const SIDECAR: &str = r#"apiVersion: batch/v1
kind: Job
metadata: {name: myjob}
spec:
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 2
      volumes: [{name: data, emptyDir: {}}]
      initContainers:
      - name: logshipper
        image: box:v1
        restartPolicy: Always
        command: [sh, -c, "touch /opt/ready; sleep infinity"]
        volumeMounts: [{name: data, mountPath: /opt}]
        startupProbe: {exec: {command: [cat, /opt/ready]}, periodSeconds: 1}
      containers:
      - name: main
        image: box:v1
        command: [sh, -c, "ls /opt; echo done"]
        volumeMounts: [{name: data, mountPath: /opt}]
---
apiVersion: v1
kind: Pod
metadata: {name: lifecycle-demo}
spec:
  terminationGracePeriodSeconds: 10
  volumes: [{name: share, hostPath: {path: FOLDER}}]
  containers:
  - name: main
    image: box:v1
    command: [sleep, infinity]
    volumeMounts: [{name: share, mountPath: /share}]
    lifecycle:
      postStart: {exec: {command: [sh, -c, "echo Hello from the postStart handler > /share/message"]}}
      preStop: {exec: {command: [sh, -c, "echo bye >> /share/message"]}}
"#;

#[test]
fn what_comes_before_beside_and_after_a_container_is_run() {
    let Some(desk) = Desk::open() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    desk.apply(&SIDECAR.replace("FOLDER", &folder.path().display().to_string())).ok();
    desk.k(&["wait", "--for=condition=complete", "job/myjob", "--timeout=60s"]).ok();
    assert_eq!(desk.k(&["logs", "job/myjob", "-c", "main"]).ok(), "ready\ndone\n");
    desk.shows("pods -l job-name=myjob", "{.items[0].status.initContainerStatuses[0].restartCount}", "0");
    desk.k(&["wait", "--for=condition=ready", "pod/lifecycle-demo", "--timeout=60s"]).ok();
    desk.k(&["delete", "pod", "lifecycle-demo"]).ok();
    let message = std::fs::read_to_string(folder.path().join("message")).expect("what the hooks wrote");
    assert_eq!(message, "Hello from the postStart handler\nbye\n");
}
