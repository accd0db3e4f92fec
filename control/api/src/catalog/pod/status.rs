//! What kubectl says a pod is doing: a summary of its containers' states.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodSpec, PodStatus,
};

use crate::duration;

/// The cells that follow from a pod's status.
pub(super) struct Shown {
    pub(super) ready: String,
    pub(super) status: String,
    pub(super) restarts: String,
    pub(super) gates: Option<String>,
}

/// How often containers were started again, and when one last ended.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i32,
    last: Option<Timestamp>,
}

/// What `kubectl get` says of the pod.
pub(super) fn shown(pod: &Pod, now: Timestamp) -> Shown {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let phase = status.phase.as_deref().unwrap_or_default();
    let sidecars: Vec<&str> =
        spec.init_containers.iter().flatten().filter(|one| is_sidecar(one)).map(|one| one.name.as_str()).collect();
    let is_sidecar = |one: &ContainerStatus| sidecars.contains(&one.name.as_str());

    let mut text = status.reason.clone().filter(|reason| !reason.is_empty()).unwrap_or_else(|| phase.to_owned());
    if condition(status, "PodScheduled").is_some_and(|one| one.reason.as_deref() == Some("SchedulingGated")) {
        text = "SchedulingGated".into();
    }
    let inits: Vec<&ContainerStatus> = status.init_container_statuses.iter().flatten().collect();
    let mut ready = inits.iter().filter(|one| is_sidecar(one) && one.started == Some(true) && one.ready).count();
    let mut restarts = Restarts::default();
    let mut sidecar_restarts = Restarts::default();
    let total_inits = spec.init_containers.as_ref().map_or(0, Vec::len);
    let mut initializing = None;
    for (index, one) in inits.iter().enumerate() {
        restarts.add(one);
        if is_sidecar(one) {
            sidecar_restarts.add(one);
        }
        if let Some(told) = initialization(one, is_sidecar(one), index, total_inits) {
            initializing = Some(told);
            break;
        }
    }
    let initialized = condition(status, "Initialized").is_some_and(|one| one.status == "True");
    match initializing {
        Some(told) if !initialized => text = told,
        _ => {
            restarts = sidecar_restarts;
            let mut running = false;
            for one in status.container_statuses.iter().flatten().rev() {
                restarts.add(one);
                if let Some(told) = told(one.state.as_ref()) {
                    text = told;
                } else if one.ready && one.state.as_ref().is_some_and(|state| state.running.is_some()) {
                    running = true;
                    ready += 1;
                }
            }
            if text == "Completed" && running {
                let is_ready = condition(status, "Ready").is_some_and(|one| one.status == "True");
                text = if is_ready { "Running" } else { "NotReady" }.into();
            }
        }
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason.as_deref() == Some("NodeLost") {
            text = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            text = "Terminating".into();
        }
    }
    let total = spec.containers.len() + sidecars.len();
    Shown { ready: format!("{ready}/{total}"), status: text, restarts: restarts.text(now), gates: gates(spec, status) }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What an init container that has not done its work says.
fn initialization(one: &ContainerStatus, sidecar: bool, index: usize, total: usize) -> Option<String> {
    let state = one.state.as_ref();
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        return (ended.exit_code != 0).then(|| format!("Init:{}", end(ended)));
    }
    if sidecar && one.started == Some(true) {
        return None;
    }
    let waiting = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.as_deref());
    match waiting {
        Some(reason) if !reason.is_empty() && reason != "PodInitializing" => Some(format!("Init:{reason}")),
        _ => Some(format!("Init:{index}/{total}")),
    }
}

/// What a container that does not run says.
fn told(state: Option<&ContainerState>) -> Option<String> {
    let state = state?;
    if let Some(reason) = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone()).filter(|it| !it.is_empty())
    {
        return Some(reason);
    }
    state.terminated.as_ref().map(end)
}

fn end(ended: &ContainerStateTerminated) -> String {
    match (ended.reason.as_deref(), ended.signal) {
        (Some(reason), _) if !reason.is_empty() => reason.into(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", ended.exit_code),
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn gates(spec: &PodSpec, status: &PodStatus) -> Option<String> {
    let gates = spec.readiness_gates.as_ref().filter(|gates| !gates.is_empty())?;
    let holds = |kind: &str| condition(status, kind).is_some_and(|one| one.status == "True");
    let true_ones = gates.iter().filter(|gate| holds(&gate.condition_type)).count();
    Some(format!("{true_ones}/{}", gates.len()))
}

// === impl Restarts ===

impl Restarts {
    fn add(&mut self, one: &ContainerStatus) {
        self.count += one.restart_count;
        let ended = one.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let ended = ended.and_then(|ended| ended.finished_at.as_ref()).map(|time| time.0);
        self.last = self.last.max(ended);
    }

    fn text(self, now: Timestamp) -> String {
        match self.last {
            Some(last) if self.count != 0 => format!("{} ({} ago)", self.count, duration::age(Some(last), now)),
            _ => self.count.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, status: Value, expect: &str) {
        let pod: Pod = serde_json::from_value(json!({"spec": spec, "status": status})).expect("a pod");
        let now = "2026-11-21T10:00:00Z".parse().expect("a time");
        let Shown { ready, status, restarts, gates } = shown(&pod, now);
        assert_eq!(format!("{ready} {status} {restarts} {}", gates.unwrap_or("-".into())), expect);
    }

    #[test]
    fn a_pod_says_what_its_containers_do() {
        let one = json!({"containers": [{"name": "a"}]});
        let state = |state: Value, ready: bool| {
            json!({"phase": "Running", "containerStatuses": [{"name": "a", "ready": ready, "restartCount": 2, "state": state,
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-21T09:55:00Z"}}}]})
        };
        check(one.clone(), json!({"phase": "Pending"}), "0/1 Pending 0 -");
        check(one.clone(), state(json!({"running": {}}), true), "1/1 Running 2 (5m ago) -");
        check(
            one.clone(),
            state(json!({"waiting": {"reason": "CrashLoopBackOff"}}), false),
            "0/1 CrashLoopBackOff 2 (5m ago) -",
        );
        check(
            one.clone(),
            state(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), false),
            "0/1 Completed 2 (5m ago) -",
        );
        check(one.clone(), state(json!({"terminated": {"exitCode": 3}}), false), "0/1 ExitCode:3 2 (5m ago) -");
        check(one, json!({"phase": "Failed", "reason": "Evicted"}), "0/1 Evicted 0 -");
    }

    #[test]
    fn an_initialising_pod_says_how_far_it_is() {
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]});
        let status = |init: Value| {
            json!({"phase": "Pending", "initContainerStatuses": init,
            "containerStatuses": [{"name": "a", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}]})
        };
        check(spec.clone(), status(json!([{"name": "i", "state": {"running": {}}}])), "0/2 Init:0/2 0 -");
        check(
            spec.clone(),
            status(
                json!([{"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "s", "state": {"waiting": {"reason": "ErrImagePull"}}}]),
            ),
            "0/2 Init:ErrImagePull 0 -",
        );
        check(
            spec.clone(),
            status(json!([{"name": "i", "state": {"terminated": {"exitCode": 7}}}])),
            "0/2 Init:ExitCode:7 0 -",
        );
        check(
            spec,
            status(
                json!([{"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "s", "started": true, "ready": true, "state": {"running": {}}}]),
            ),
            "1/2 PodInitializing 0 -",
        );
    }

    #[test]
    fn a_completed_container_beside_a_running_one_is_told_by_readiness() {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "readinessGates": [{"conditionType": "x"}]});
        let status = |ready: &str| {
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}, {"type": "x", "status": "True"}], "containerStatuses": [
            {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, {"name": "b", "ready": true, "state": {"running": {}}}]})
        };
        check(spec.clone(), status("True"), "1/2 Running 0 1/1");
        check(spec, status("False"), "1/2 NotReady 0 1/1");
    }
}
