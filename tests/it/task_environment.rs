//! The tasks of Kubernetes' documentation about what a container is told by its command line and its environment.

use crate::task::{Desk, has_lines};

const SOURCES: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: special-config}
data: {SPECIAL_LEVEL: very, SPECIAL_TYPE: charm, special.how: often}
---
apiVersion: v1
kind: Secret
metadata: {name: backend-user}
stringData: {backend-username: backend-admin}
";

/// A pod of one container that prints its environment, under this name and with this of its spec.
fn pod(name: &str, container: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{purpose: show}}, annotations: {{note: two words}}}}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: box:v1
    command: [env]
    {container}
"
    )
}

const DEPENDENT: &str = r#"env:
    - {name: SERVICE_PORT, value: "80"}
    - {name: SERVICE_IP, value: 172.17.0.1}
    - {name: UNCHANGED_REFERENCE, value: "$(PROTOCOL)://$(SERVICE_IP):$(SERVICE_PORT)"}
    - {name: PROTOCOL, value: https}
    - {name: SERVICE_ADDRESS, value: "$(PROTOCOL)://$(SERVICE_IP):$(SERVICE_PORT)"}
    - {name: ESCAPED_REFERENCE, value: "$$(PROTOCOL)://$(SERVICE_IP):$(SERVICE_PORT)"}
"#;

const FROM_OBJECTS: &str = "envFrom:
    - configMapRef: {name: special-config}
    - {prefix: CONFIG_, configMapRef: {name: special-config}}
    - configMapRef: {name: not-there, optional: true}
    - secretRef: {name: backend-user}
    env:
    - {name: HOW, valueFrom: {configMapKeyRef: {name: special-config, key: special.how}}}
    - {name: NEVER, valueFrom: {configMapKeyRef: {name: special-config, key: never, optional: true}}}
    - {name: WHO, valueFrom: {secretKeyRef: {name: backend-user, key: backend-username}}}
";

const FROM_FIELDS: &str = "env:
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: POD_ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: PURPOSE, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['purpose']\"}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['note']\"}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
";

const FROM_RESOURCES: &str = "resources: {requests: {cpu: 125m, memory: 32Mi}, limits: {cpu: 250m, memory: 64Mi}}
    env:
    - {name: CPU_REQUEST, valueFrom: {resourceFieldRef: {containerName: main, resource: requests.cpu}}}
    - {name: CPU_LIMIT, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: MEMORY_REQUEST, valueFrom: {resourceFieldRef: {containerName: main, resource: requests.memory}}}
    - {name: MEMORY_LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
";

#[test]
fn a_container_is_told_by_its_environment() {
    let Some(desk) = Desk::open() else { return };
    let pods =
        [("dependent", DEPENDENT), ("objects", FROM_OBJECTS), ("fields", FROM_FIELDS), ("resources", FROM_RESOURCES)];
    let pods: String = pods.iter().map(|(name, container)| pod(name, container)).collect();
    desk.apply(&format!("{SOURCES}{pods}")).ok();
    has_lines(
        &desk.ended("dependent", "Succeeded"),
        &[
            "UNCHANGED_REFERENCE=$(PROTOCOL)://172.17.0.1:80",
            "SERVICE_ADDRESS=https://172.17.0.1:80",
            "ESCAPED_REFERENCE=$(PROTOCOL)://172.17.0.1:80",
        ],
    );
    let told = desk.ended("objects", "Succeeded");
    let lines =
        ["SPECIAL_LEVEL=very", "special.how=often", "CONFIG_SPECIAL_TYPE=charm", "backend-username=backend-admin"];
    has_lines(&told, &lines);
    has_lines(&told, &["HOW=often", "WHO=backend-admin"]);
    assert!(!told.contains("NEVER"), "{told}");
    let told = desk.ended("fields", "Succeeded");
    has_lines(
        &told,
        &["POD_NAME=fields", "POD_NAMESPACE=default", "POD_ACCOUNT=default", "PURPOSE=show", "NOTE=two words"],
    );
    let of = |path: &str| desk.k(&["get", "pod", "fields", "-o", &format!("jsonpath={path}")]).ok();
    let (node, host) = (of("{.spec.nodeName}"), of("{.status.hostIP}"));
    has_lines(
        &told,
        &[&format!("NODE={node}"), &format!("HOST={host}"), &format!("ADDRESS={}", of("{.status.podIP}"))],
    );
    has_lines(
        &desk.ended("resources", "Succeeded"),
        &["CPU_REQUEST=1", "CPU_LIMIT=250", "MEMORY_REQUEST=33554432", "MEMORY_LIMIT=64"],
    );
}

#[test]
fn a_command_line_is_told_by_the_environment() {
    let Some(desk) = Desk::open() else { return };
    let greeting = r#"command: [echo]
    args: ["$(GREETING) to", "$(NAME)", "$(NOBODY)", "$$(NAME)"]
    env: [{name: GREETING, value: Warm greetings}, {name: NAME, value: Kubernetes}]
"#;
    let greeting = pod("print-greeting", greeting).replace("    command: [env]\n", "");
    desk.apply(&greeting).ok();
    assert_eq!(desk.ended("print-greeting", "Succeeded"), "Warm greetings to Kubernetes $(NOBODY) $(NAME)\n");
}

#[test]
fn a_pod_waits_for_what_it_is_to_be_told() {
    let Some(desk) = Desk::open() else { return };
    let key = "env: [{name: A, valueFrom: {configMapKeyRef: {name: late, key: a}}}]\n";
    desk.apply(&pod("waits", key)).ok();
    let waiting = "{.status.containerStatuses[0].state.waiting}";
    let why = r#"{"message":"configmap \"late\" not found","reason":"CreateContainerConfigError"}"#;
    desk.shows("pod waits", waiting, why);
    desk.k(&["create", "configmap", "late", "--from-literal=b=1"]).ok();
    let why = r#"{"message":"couldn't find key a in ConfigMap default/late","reason":"CreateContainerConfigError"}"#;
    desk.shows("pod waits", waiting, why);
    desk.describes("pod waits", &["Error: couldn't find key a in ConfigMap default/late"]);
    desk.k(&["patch", "configmap", "late", "-p", r#"{"data":{"a":"come"}}"#]).ok();
    has_lines(&desk.ended("waits", "Succeeded"), &["A=come"]);
}
