//! What keeps pods from coming up, in a line.

use std::time::Duration;

use api::selector::LabelSelector;
use api::{Key, kinds};
use client::{Client, ClientError, ListOptions};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

/// How often pods are looked at. A pod that comes up as it should is there long before the second look.
const LOOK: Duration = Duration::from_secs(1);

/// Reasons to wait that pass by themselves.
const ON_THE_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Tells of every new trouble of a deployment's pods; never returns but with an error.
pub(crate) async fn watch(client: &Client, deployment: &Key, mut tell: impl FnMut(&str)) -> Result<(), ClientError> {
    let mut told = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(object) = client.get(deployment).await?.decode::<Deployment>() else { continue };
        let selector = LabelSelector::of(object.spec.as_ref().map(|spec| &spec.selector));
        let labels = selector.unwrap_or_else(|_| LabelSelector::nothing()).to_string();
        let options = ListOptions { labels: Some(labels), fields: None };
        let (pods, _) = client.list(kinds::POD, Some(deployment.namespace()), &options).await?;
        let found = pods.iter().find_map(|pod| {
            let decoded = pod.decode::<Pod>().ok()?;
            Some(format!("pod {}: {}", pod.key().name(), of(decoded.status.as_ref()?)?))
        });
        // A pod that backs off and tries again has the same trouble, in turns under two names.
        let Some(found) = found.filter(|found| told.as_ref() != Some(found)) else { continue };
        tell(&found);
        told = Some(found);
    }
}

/// What keeps this pod, if something does.
fn of(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.iter().flatten();
    let unscheduled = conditions.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let unscheduled = unscheduled.map(|condition| (condition.reason.as_deref(), condition.message.as_deref()));
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let (reason, message) = unscheduled.chain(containers.filter_map(waits_for)).next()?;
    Some([reason, message].into_iter().flatten().collect::<Vec<_>>().join(": "))
}

fn waits_for(container: &ContainerStatus) -> Option<(Option<&str>, Option<&str>)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    (!ON_THE_WAY.contains(&reason)).then_some((Some(reason), waiting.message.as_deref()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(status: Value, expect: Option<&str>) {
        let status = serde_json::from_value(status).expect("a pod's status");
        assert_eq!(of(&status).as_deref(), expect);
    }

    #[test]
    fn what_keeps_a_pod_is_said_with_its_reason() {
        let waiting = |reason: &str, message: &str| {
            let state = json!({"waiting": {"reason": reason, "message": message}});
            json!({"name": "web", "image": "web", "imageID": "", "ready": false, "restartCount": 0, "state": state})
        };
        check(json!({}), None);
        check(json!({"containerStatuses": [waiting("ContainerCreating", "")]}), None);
        check(
            json!({"containerStatuses": [waiting("ErrImagePull", "no such image")]}),
            Some("ErrImagePull: no such image"),
        );
        check(
            json!({"initContainerStatuses": [waiting("CrashLoopBackOff", "back-off 10s")],
                "containerStatuses": [waiting("PodInitializing", "")]}),
            Some("CrashLoopBackOff: back-off 10s"),
        );
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient cpu."});
        check(json!({"conditions": [condition]}), Some("Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."));
    }
}
