//! What a pod's status tells of the runs before this agent was started.
//!
//! After a restart of the agent, as after a restart of a node, every run of before is over. They count as restarts, the address
//! is asked for again, and a pod that had ended stays so.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState as State, ContainerStateTerminated, ContainerStatus, PodStatus};

use super::container::{ContainerState, Ended, Phase, Role};
use super::{PodState, Stage, Verdict};

/// What a kubelet says of a run whose end nobody saw.
const UNSEEN_CODE: i32 = 255;
const UNSEEN_REASON: &str = "Unknown";

impl PodState {
    pub(super) fn inherit(&mut self, now: Timestamp) {
        let pod = self.pod.clone();
        let Some(status) = &pod.status else { return };
        if let Some(start) = &status.start_time {
            self.started_at = start.0;
        }
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        for container in &mut self.containers {
            if let Some(told) = told(status, &container.name) {
                inherit_container(container, told, now);
            }
            // It runs once.
            let is_done = container.role == Role::Ephemeral && container.ended.is_some();
            if over || is_done {
                container.phase = Phase::Over;
            }
        }
        if over {
            self.address = status.pod_ip.as_deref().and_then(|address| address.parse().ok());
            self.stage = Stage::Over;
            self.verdict = status.reason.clone().map(|reason| Verdict {
                reason: reason.into(),
                message: status.message.clone().unwrap_or_default().into(),
            });
        }
    }
}

fn told<'a>(status: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|told| told.name == name)
}

fn inherit_container(container: &mut ContainerState, told: &ContainerStatus, now: Timestamp) {
    container.image_id = Some(told.image_id.clone()).filter(|id| !id.is_empty());
    container.ended_before = told.last_state.as_ref().and_then(|last| last.terminated.as_ref()).map(seen);
    let ended = match &told.state {
        Some(State { running: Some(running), .. }) => Some(Ended {
            code: UNSEEN_CODE,
            reason: UNSEEN_REASON.to_owned(),
            message: None,
            began: running.started_at.as_ref().map(|time| time.0),
            ended: Some(now),
            id: told.container_id.clone(),
        }),
        Some(State { terminated: Some(terminated), .. }) => Some(seen(terminated)),
        // It waited for another run: the one before is the last there was.
        _ => container.ended_before.take(),
    };
    let ran = ended.is_some() || told.restart_count > 0;
    container.runs = u32::try_from(told.restart_count).unwrap_or(0) + u32::from(ran);
    container.ended = ended;
}

fn seen(told: &ContainerStateTerminated) -> Ended {
    Ended {
        code: told.exit_code,
        reason: told.reason.clone().unwrap_or_default(),
        message: told.message.clone(),
        began: told.started_at.as_ref().map(|time| time.0),
        ended: told.finished_at.as_ref().map(|time| time.0),
        id: told.container_id.clone(),
    }
}
