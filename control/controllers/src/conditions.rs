//! Conditions that keep the time of their last change.

use k8s_openapi::api::apps::v1::{DeploymentCondition, ReplicaSetCondition};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerCondition;
use k8s_openapi::api::batch::v1::JobCondition;
use k8s_openapi::api::core::v1::{NamespaceCondition, NodeCondition, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What a condition says now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Says<'a> {
    pub(crate) kind: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

/// Implements `say` for a list of conditions of one type: the transition time moves only with the status.
macro_rules! conditions {
    ($name:ident, $condition:ident) => {
        /// Lets the list say it; a condition that says so already stays untouched.
        pub(crate) fn $name(list: &mut Option<Vec<$condition>>, says: Says<'_>, now: &Time) {
            let list = list.get_or_insert_default();
            let known = list.iter().position(|condition| condition.type_ == says.kind);
            let since =
                known.filter(|at| list[*at].status == says.status).and_then(|at| list[at].last_transition_time.clone());
            let mut next = known.map_or_else($condition::default, |at| list[at].clone());
            next.type_ = says.kind.into();
            next.status = says.status.into();
            next.reason = Some(says.reason.into());
            next.message = Some(says.message.into());
            next.last_transition_time = Some(since.unwrap_or_else(|| now.clone()));
            match known {
                Some(at) => list[at] = next,
                None => list.push(next),
            }
        }
    };
}

conditions!(pod_says, PodCondition);
conditions!(deployment_says, DeploymentCondition);
conditions!(replica_set_says, ReplicaSetCondition);
conditions!(node_says, NodeCondition);
conditions!(namespace_says, NamespaceCondition);
conditions!(job_says, JobCondition);
conditions!(scaler_says, HorizontalPodAutoscalerCondition);
