//! The tasks of Kubernetes' documentation about what a pod asks for, where it may go, and what of it has no meaning here.

use crate::task::Desk;

/// A pod that sleeps, with this of its container and of its spec.
fn pod(name: &str, container: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  {spec}
  containers: [{{name: main, image: 'box:v1', command: [sleep, infinity], {container}}}]
"
    )
}

#[test]
fn pods_are_given_what_they_ask_for_or_wait() {
    let Some(desk) = Desk::open() else { return };
    let both = "resources: {limits: {memory: 64Mi, cpu: 100m}, requests: {memory: 64Mi, cpu: 100m}}";
    let more = "resources: {limits: {memory: 64Mi}, requests: {memory: 32Mi}}";
    let dongle = "resources: {limits: {example.com/dongle: 2}, requests: {example.com/dongle: 2}}";
    let text = [
        pod("qos-demo", both, ""),
        pod("qos-demo-2", more, ""),
        pod("qos-demo-3", "", ""),
        pod("memory-demo-3", "resources: {limits: {memory: 100000Gi}}", ""),
        pod("cpu-demo-2", "resources: {requests: {cpu: 1000}}", ""),
        pod("extended", dongle, ""),
    ];
    desk.apply(&text.concat()).ok();
    let path = "{.status.qosClass} {.status.phase}";
    desk.shows("pod qos-demo", path, "Guaranteed Running");
    desk.shows("pod qos-demo-2", path, "Burstable Running");
    desk.shows("pod qos-demo-3", path, "BestEffort Running");
    desk.shows("pod memory-demo-3", "{.spec.containers[0].resources.requests.memory}", "100000Gi");
    desk.describes("pod memory-demo-3", &["FailedScheduling", "0/1 nodes are available: 1 Insufficient memory."]);
    desk.describes("pod cpu-demo-2", &["0/1 nodes are available: 1 Insufficient cpu."]);
    desk.describes("pod extended", &["0/1 nodes are available: 1 Insufficient example.com/dongle."]);

    // Somebody who knows counts what the node has.
    let node = desk.k(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).ok();
    let four = r#"[{"op": "add", "path": "/status/capacity/example.com~1dongle", "value": "4"}]"#;
    desk.k(&["patch", "node", &node, "--subresource=status", "--type=json", "-p", four]).ok();
    desk.shows(&format!("node {node}"), r"{.status.allocatable.example\.com/dongle}", "4");
    desk.shows("pod extended", "{.status.phase}", "Running");
    desk.apply(&pod("extended-2", &dongle.replace('2', "3"), "")).ok();
    desk.describes("pod extended-2", &["1 Insufficient example.com/dongle."]);
    desk.k(&["delete", "pod", "extended"]).ok();
    desk.shows("pod extended-2", "{.status.phase}", "Running");
}

#[test]
fn pods_go_where_they_want_to() {
    let Some(desk) = Desk::open() else { return };
    let wants = "[{matchExpressions: [{key: disktype, operator: In, values: [ssd]}]}]";
    let required = format!("requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: {wants}}}");
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: disktype, operator: In, values: [hdd]}]}}]";
    let class = "---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high-priority}
value: 1000000
";
    let text = [
        class.to_owned(),
        pod("selects", "", "nodeSelector: {disktype: ssd}"),
        pod("requires", "", &format!("affinity: {{nodeAffinity: {{{required}}}}}")),
        pod("prefers", "", &format!("affinity: {{nodeAffinity: {{{preferred}}}}}")),
        pod("important", "", "priorityClassName: high-priority"),
        pod("private", "", "imagePullSecrets: [{name: regcred}]"),
        pod("elsewhere", "", "schedulerName: my-scheduler"),
        pod("gated", "", "schedulingGates: [{name: example.com/quota}]"),
    ];
    desk.apply(&text.concat()).ok();
    for name in ["prefers", "important", "private"] {
        desk.shows(&format!("pod {name}"), "{.status.phase}", "Running");
    }
    desk.shows("pod important", "{.spec.priority} {.spec.preemptionPolicy}", "1000000 PreemptLowerPriority");
    let why = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    desk.describes("pod selects", &[why]);
    desk.describes("pod requires", &[why]);
    assert!(desk.k(&["get", "pod", "gated"]).ok().contains("SchedulingGated"));
    desk.k(&["label", "nodes", "--all", "disktype=ssd"]).ok();
    desk.k(&["patch", "pod", "gated", "--type=json", "-p", r#"[{"op":"remove","path":"/spec/schedulingGates"}]"#]).ok();
    for name in ["selects", "requires", "gated"] {
        desk.shows(&format!("pod {name}"), "{.status.phase}", "Running");
    }
    desk.shows("pod elsewhere", "{.status.phase} {.spec.nodeName}", "Pending ");
}

#[test]
fn what_means_nothing_here_is_said_so() {
    let Some(desk) = Desk::open() else { return };
    let check = |name: &str, container: &str, spec: &str, warning: &str| {
        let told = desk.apply(&pod(name, container, spec)).stderr;
        assert!(told.contains(warning), "{warning:?} is missing in\n{told}");
        desk.shows(&format!("pod {name}"), "{.status.phase}", "Running");
    };
    check("share", "", "shareProcessNamespace: true", "Warning: spec.shareProcessNamespace: has no effect here");
    check(
        "user",
        "",
        "securityContext: {runAsUser: 1000, fsGroup: 2000}",
        "Warning: spec.securityContext: has no effect",
    );
    let power = "securityContext: {capabilities: {add: [NET_ADMIN, SYS_TIME]}}";
    check("power", power, "", "Warning: spec.containers[0].securityContext.capabilities: has no effect here");
    let profile = "securityContext: {seccompProfile: {type: RuntimeDefault}}";
    let told = desk.apply(&pod("profile", profile, ""));
    assert_eq!(told.code, 0, "{}", told.stderr);
}
