//! The two kinds that ask for so many pods: ReplicaSets, and the ReplicationControllers that they come from.
//!
//! A ReplicationController is read as the ReplicaSet that it would be, and only its status is written in its own words.

use std::sync::Arc;

use api::{Object, kinds};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerSpec, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::edit::edited;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ReplicaSet,
    ReplicationController,
}

// === impl Kind ===

impl Kind {
    pub(super) fn of(object: &Object) -> Self {
        if object.key().kind() == kinds::REPLICATION_CONTROLLER {
            Self::ReplicationController
        } else {
            Self::ReplicaSet
        }
    }

    /// Who tells the events.
    pub(super) fn component(self) -> &'static str {
        match self {
            Self::ReplicaSet => "replicaset-controller",
            Self::ReplicationController => "replication-controller",
        }
    }
}

/// The object as a ReplicaSet.
pub(super) fn read(object: &Object) -> Option<Arc<ReplicaSet>> {
    match Kind::of(object) {
        Kind::ReplicaSet => object.decode().ok(),
        Kind::ReplicationController => object.decode::<ReplicationController>().ok().map(|it| Arc::new(set(&it))),
    }
}

/// The object with another status; nothing if it says so already.
pub(super) fn with_status(object: &Object, edit: impl FnOnce(&mut ReplicaSetStatus)) -> Option<Object> {
    match Kind::of(object) {
        Kind::ReplicaSet => edited::<ReplicaSet>(object, |set| edit(set.status.get_or_insert_default())),
        Kind::ReplicationController => edited::<ReplicationController>(object, |controller| {
            let mut status = controller.status.as_ref().map(status).unwrap_or_default();
            edit(&mut status);
            controller.status = Some(own_words(status));
        }),
    }
}

fn set(controller: &ReplicationController) -> ReplicaSet {
    let spec = controller.spec.as_ref().map(|spec: &ReplicationControllerSpec| ReplicaSetSpec {
        min_ready_seconds: spec.min_ready_seconds,
        replicas: spec.replicas,
        selector: LabelSelector { match_labels: spec.selector.clone(), match_expressions: None },
        template: spec.template.clone(),
    });
    ReplicaSet { metadata: controller.metadata.clone(), spec, status: controller.status.as_ref().map(status) }
}

fn status(status: &ReplicationControllerStatus) -> ReplicaSetStatus {
    let condition = |condition: &ReplicationControllerCondition| ReplicaSetCondition {
        last_transition_time: condition.last_transition_time.clone(),
        message: condition.message.clone(),
        reason: condition.reason.clone(),
        status: condition.status.clone(),
        type_: condition.type_.clone(),
    };
    ReplicaSetStatus {
        available_replicas: status.available_replicas,
        conditions: status.conditions.as_ref().map(|conditions| conditions.iter().map(condition).collect()),
        fully_labeled_replicas: status.fully_labeled_replicas,
        observed_generation: status.observed_generation,
        ready_replicas: status.ready_replicas,
        replicas: status.replicas,
        ..ReplicaSetStatus::default()
    }
}

fn own_words(status: ReplicaSetStatus) -> ReplicationControllerStatus {
    let condition = |condition: ReplicaSetCondition| ReplicationControllerCondition {
        last_transition_time: condition.last_transition_time,
        message: condition.message,
        reason: condition.reason,
        status: condition.status,
        type_: condition.type_,
    };
    ReplicationControllerStatus {
        available_replicas: status.available_replicas,
        conditions: status.conditions.map(|conditions| conditions.into_iter().map(condition).collect()),
        fully_labeled_replicas: status.fully_labeled_replicas,
        observed_generation: status.observed_generation,
        ready_replicas: status.ready_replicas,
        replicas: status.replicas,
    }
}
