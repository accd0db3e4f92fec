//! The tasks of Kubernetes' documentation about what a container finds in its volumes.

use crate::task::{Desk, has_lines};

const SOURCES: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: game-config}
data: {game.properties: "enemies=aliens\nlives=3\n", ui.properties: "color.good=purple\n"}
binaryData: {raw: AAEC/w==}
---
apiVersion: v1
kind: Secret
metadata: {name: test-secret}
data: {username: bXktYXBw, password: Mzk1MjgkdmRnN0pi}
---
"#;

const CONFIG: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: config}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: box:v1
    command: [sh, -c, "ls /etc/config; cat /etc/config/keys/game /etc/one/ui.properties; ls /etc/one; wc -c /etc/all/raw"]
    volumeMounts:
    - {name: config, mountPath: /etc/config}
    - {name: all, mountPath: /etc/one/ui.properties, subPath: ui.properties}
    - {name: all, mountPath: /etc/all}
  volumes:
  - {name: config, configMap: {name: game-config, items: [{key: game.properties, path: keys/game}]}}
  - {name: all, configMap: {name: game-config}}
---
apiVersion: v1
kind: Pod
metadata: {name: secret}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: box:v1
    command: [sh, -c, "cat /etc/secret/username; echo; cat /etc/items/my-group/my-username; echo; echo x > /etc/secret/new"]
    volumeMounts: [{name: secret, mountPath: /etc/secret, readOnly: true}, {name: items, mountPath: /etc/items}]
  volumes:
  - {name: secret, secret: {secretName: test-secret, defaultMode: 0400}}
  - {name: items, secret: {secretName: test-secret, items: [{key: username, path: my-group/my-username, mode: 0511}]}}
---
"#;

const PROJECTED: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: projected, labels: {zone: us-est-coast}, annotations: {build: two}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: test
    image: box:v1
    command: [sleep, infinity]
    resources: {limits: {cpu: 500m}, requests: {memory: 32Mi}}
    volumeMounts: [{name: all-in-one, mountPath: /projected, readOnly: true}, {name: podinfo, mountPath: /etc/podinfo}]
  volumes:
  - name: all-in-one
    projected:
      defaultMode: 0440
      sources:
      - secret: {name: test-secret, items: [{key: username, path: my-group/my-username, mode: 511}]}
      - downwardAPI: {items: [{path: cpu_limit, resourceFieldRef: {containerName: test, resource: limits.cpu, divisor: 1m}}]}
      - configMap: {name: game-config, items: [{key: ui.properties, path: my-group/my-config}]}
      - serviceAccountToken: {audience: vault, expirationSeconds: 3600, path: token}
  - name: podinfo
    downwardAPI:
      items:
      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
      - {path: build, fieldRef: {fieldPath: "metadata.annotations['build']"}}
      - {path: mem_request, resourceFieldRef: {containerName: test, resource: requests.memory, divisor: 1Ki}}
"#;

#[test]
fn configuration_and_secrets_are_files() {
    let Some(desk) = Desk::open() else { return };
    desk.apply(&format!("{SOURCES}{CONFIG}{PROJECTED}")).ok();
    let told = "keys\nenemies=aliens\nlives=3\ncolor.good=purple\nui.properties\n4\n";
    assert_eq!(desk.ended("config", "Succeeded"), told);
    let refused = "sh: /etc/secret/new: Operation not permitted (os error 63)";
    has_lines(&desk.ended("secret", "Failed"), &["my-app", refused]);
    desk.k(&["wait", "--for=condition=ready", "pod/projected", "--timeout=60s"]).ok();
    let read = |path: &str| desk.k(&["exec", "projected", "--", "cat", path]).ok();
    for (path, text) in [
        ("/projected/my-group/my-username", "my-app"),
        ("/projected/my-group/my-config", "color.good=purple\n"),
        ("/projected/cpu_limit", "500"),
        ("/etc/podinfo/build", "two"),
        ("/etc/podinfo/mem_request", "32768"),
    ] {
        assert_eq!(read(path), text, "{path}");
    }
    assert_eq!(read("/projected/token").split('.').count(), 3, "a signed token");
    desk.k(&["label", "pod", "projected", "zone=moon", "--overwrite"]).ok();
    desk.k(&["annotate", "pod", "projected", "build=three", "--overwrite"]).ok();
    harness::eventually(30, || match (read("/etc/podinfo/labels"), read("/etc/podinfo/build")) {
        (labels, build) if labels.contains("zone=\"moon\"") && build == "three" => Ok(()),
        old => Err(format!("{old:?}")),
    });
}

const SHARED: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: two-containers}
spec:
  restartPolicy: Never
  volumes: [{name: shared-data, emptyDir: {}}]
  initContainers:
  - name: first
    image: box:v1
    env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    command: [sh, -c, "echo from the init container > /logs/index.html"]
    volumeMounts: [{name: shared-data, mountPath: /logs, subPathExpr: $(POD_NAME)}]
  containers:
  - name: reader
    image: box:v1
    command: [cat, /html/two-containers/index.html]
    volumeMounts: [{name: shared-data, mountPath: /html}]
---
"#;

const STORED: &str = r#"apiVersion: v1
kind: PersistentVolume
metadata: {name: task-pv-volume, labels: {type: local}}
spec: {storageClassName: manual, capacity: {storage: 10Gi}, accessModes: [ReadWriteOnce], hostPath: {path: FOLDER}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: task-pv-claim}
spec: {storageClassName: manual, accessModes: [ReadWriteOnce], resources: {requests: {storage: 3Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: task-pv-pod}
spec:
  restartPolicy: Never
  volumes: [{name: storage, persistentVolumeClaim: {claimName: task-pv-claim}}]
  containers:
  - name: main
    image: box:v1
    command: [sh, -c, "cat /usr/share/html/index.html /usr/share/nginx.conf; echo kept > /usr/share/html/new"]
    volumeMounts:
    - {name: storage, mountPath: /usr/share/html, subPath: html}
    - {name: storage, mountPath: /usr/share/nginx.conf, subPath: nginx.conf}
---
apiVersion: v1
kind: Pod
metadata: {name: brings-its-own}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "box:v1", command: [sh, -c, "echo hi > /scratch/x; cat /scratch/x; sleep infinity"], volumeMounts: [{name: scratch, mountPath: /scratch}]}
  volumes:
  - name: scratch
    ephemeral: {volumeClaimTemplate: {metadata: {labels: {of: pod}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}}}
"#;

#[test]
fn volumes_are_shared_and_kept() {
    let Some(desk) = Desk::open() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("html")).expect("made");
    std::fs::write(folder.path().join("html/index.html"), "Hello from storage\n").expect("written");
    std::fs::write(folder.path().join("nginx.conf"), "a setting\n").expect("written");
    desk.apply(&format!("{SHARED}{}", STORED.replace("FOLDER", &folder.path().display().to_string()))).ok();
    assert_eq!(desk.ended("two-containers", "Succeeded"), "from the init container\n");
    assert_eq!(desk.ended("task-pv-pod", "Succeeded"), "Hello from storage\na setting\n");
    let kept = std::fs::read_to_string(folder.path().join("html/new"));
    assert_eq!(kept.expect("what the pod wrote"), "kept\n");
    desk.shows("pvc task-pv-claim", "{.status.phase} {.spec.volumeName}", "Bound task-pv-volume");

    desk.shows("pod brings-its-own", "{.status.phase}", "Running");
    assert_eq!(desk.k(&["logs", "brings-its-own"]).ok(), "hi\n");
    let path = "{.status.phase} {.metadata.labels.of} {.metadata.ownerReferences[0].name}";
    desk.shows("pvc brings-its-own-scratch", path, "Bound pod brings-its-own");
    desk.k(&["delete", "pod", "brings-its-own"]).ok();
    desk.k(&["wait", "--for=delete", "pvc/brings-its-own-scratch", "--timeout=60s"]).ok();
}
